"""Train now in the page: what it would do, the run that it starts, how that ends, and what comes in meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import scripted_expert as expert
from fake_run import Forked
from html_page import Page
from rollouts import assert_simulated
from serving import client
from test_serve_answers import packed, put

from nnactive_ext.experiment.locks import LockHeld
from nnactive_ext.experiment.result import read_results
from nnactive_ext.labelling.closing import close_cycle, noted
from nnactive_ext.labelling.ledger import LEDGER
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.loop.stages import stages
from nnactive_ext.serve import training, training_pages
from nnactive_ext.serve.crops import Cache
from nnactive_ext.serve.run_note import Note

pytestmark = pytest.mark.skipif(os.name == "nt", reason="stops runs by signals")


@pytest.fixture
def faked(monkeypatch, planned_template: SimpleNamespace, tmp_path) -> Iterator[SimpleNamespace]:
    """Members cost nothing in the process that a page starts; ``wait`` and ``fail``: see fake_run.py."""
    made = SimpleNamespace(wait=tmp_path / "wait", fail=tmp_path / "fail")
    # A fork must not begin while another thread of this process makes a crop: it would wait for that thread's locks for ever.
    monkeypatch.setattr(Cache, "ahead", lambda *given: None)
    monkeypatch.setattr(training, "_start", Forked)
    monkeypatch.setenv("FAKE_PLANS", str(planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json"))
    monkeypatch.setenv("FAKE_WAIT", str(made.wait))
    monkeypatch.setenv("FAKE_FAIL", str(made.fail))
    yield made
    made.wait.unlink(missing_ok=True)


def shown(server) -> str:
    """The text of the training part, as the page is polled."""
    return " ".join(Page(server.get("/now").json()["parts"]["training"]).text.split())


def until(server, found: Callable[[str], bool], seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while not found(text := shown(server)):
        assert time.monotonic() < end, text
        time.sleep(0.05)
    return text


def train(server, cycle: int = 0, **more):
    return server.post("/train", data={"cycle": cycle, **more})


def answer(server, tasks, numbers, tmp_path) -> None:
    for number in numbers:
        seen = tasks.seen[number]
        assert put(server, seen.id, packed(seen.answer(), seen.shown, tmp_path)).json()["taken"]


@contextmanager
def answered(tasks, tmp_path, numbers=range(7)) -> Iterator:
    with client(601) as server:
        answer(server, tasks, numbers, tmp_path)
        yield server


def test_from_the_answers_to_the_next_queue(tasks, faked, tmp_path):
    with answered(tasks, tmp_path, range(6)) as server:
        assert "6 of 7 tasks are done" in shown(server)
        assert "Training waits for 7" in shown(server)
        assert train(server).status_code == 422, "too few are done"
        answer(server, tasks, [6], tmp_path)
        seen = server.get("/now").json()
        assert "Train now" in seen["parts"]["training"]
        assert "disabled" not in seen["parts"]["training"]
        assert train(server, 1).status_code == 409, "of another cycle"
        faked.wait.touch()
        assert train(server).status_code == 200
        assert train(server).status_code == 409, "two pressed at once"
        text = until(server, lambda text: "training 2 of 2: epoch" in text)
        assert "training 2 of 2: epoch 2" in text
        assert "Started by anna" in text
        assert "Stop" in text
        assert train(server).status_code == 409
        # An answer in the middle of it.
        first = tasks.seen[0]
        late = first.answer()
        late[first.box] = 0
        reply = put(server, first.id, packed(late, first.shown, tmp_path)).json()
        assert "The cycle is closed" in reply["text"]
        faked.wait.unlink()
        text = until(server, lambda text: "Train on the answers of cycle 1" in text)
        assert "0 of 4 tasks are done" in text
        now = server.get("/now", params={"seen": seen["stamp"]}).json()
        assert now["title"].endswith("cycle 1")
        assert "c001_001" in now["parts"]["tasks"]
        assert "tasks" not in server.get("/now", params={"seen": now["stamp"]}).json()["parts"], "nothing is new"
        until(server, lambda text: "Another cycle:" in text)
        # The page of a task of the cycle before still works.
        assert server.get(f"/tasks/{first.id}").status_code == 200
        assert server.get(f"/tasks/{first.id}/crop").json()["status"] == "done"
    experiment = tasks.experiment
    assert [result.cycle for result in read_results(experiment.results)] == [0]
    assert Note.read(server.site.folder).status == 0
    # The answer during the run is a correction of the next cycle.
    case = tasks.patch(first).case
    assert noted(experiment) == [case]
    assert tasks.labels(case)[tasks.patch(first).slices].any()
    with experiment.lock():
        close_cycle(open_experiment(601, locked=True), 1, share=0, progress=False)
    assert_simulated(tasks, tmp_path, [first.id, *(t.id for t in server.site.tasks(experiment))])
    np.testing.assert_array_equal(tasks.labels(case)[tasks.patch(first).slices], 0)


def test_the_line_on_another_cycle_follows_the_answers(monkeypatch, tmp_path):
    """What is left is in it, so it is asked for again when an answer came; a failure is not kept."""
    where, said, failing = [1, 1, 1], [], []
    ledger = tmp_path / LEDGER

    def answered_once_more() -> None:
        ledger.touch()
        os.utime(ledger, ns=(0, 10**9 * (len(said) + 1)))

    def answers(experiment) -> str:
        if failing:
            raise failing.pop()
        said.append(experiment)
        return f"line {len(said)}"

    monkeypatch.setattr(training_pages, "worth", answers)
    monkeypatch.setattr(training_pages, "place", lambda experiment: list(where))
    page, experiment = training_pages.TrainingPages(None, None, None), SimpleNamespace(annotation=tmp_path)

    def line() -> str:
        page._worth_it(experiment)
        page._asking.submit(lambda: None).result()
        return page._worth_it(experiment)

    assert line() == "line 1"
    assert line() == "line 1"
    answered_once_more()
    failing.append(OSError("it is being written"))
    assert page._worth_it(experiment) == "line 1", "until the new one is there"
    page._asking.submit(lambda: None).result()
    assert line() == "line 2", "it had failed"
    where[0] = 2
    assert page._worth_it(experiment) == "", "not that of the cycle before"
    assert line() == "line 3"


@pytest.mark.slow
def test_fewer_tasks_than_the_plan_wants(tasks, faked, tmp_path):
    with client(601) as server:
        assert "Train on what there is" not in shown(server)
        assert "training needs 2" in train(server, anyway="yes").json()["error"]
        answer(server, tasks, [2, 3, 4], tmp_path)
        expert.half(tasks.seen[5])
        tasks.hand_in(tasks.seen[5].label)
        assert "Train on what there is" in shown(server)
        assert train(server).status_code == 422
        assert train(server, anyway="yes").status_code == 200
        until(server, lambda text: "cycle 1" in text and "0 of 4 tasks" in text)
    assert_simulated(tasks, tmp_path, [tasks.seen[n].id for n in (0, 1, 5, 6)])


@pytest.mark.slow
def test_what_failed_is_shown_and_goes_on(tasks, faked, tmp_path):
    faked.fail.touch()
    with answered(tasks, tmp_path) as server:
        assert train(server).status_code == 200
        text = until(server, lambda text: "failed" in text)
        assert "no <space> left" in text
        assert "Continue the training" in text
        assert tasks.experiment.under_way() == ""
        faked.fail.unlink()
        trained = (tasks.experiment.model_folder / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns
        assert train(server).status_code == 200
        text = until(server, lambda text: "answers of cycle 1" in text)
        assert "failed" not in text
        assert (tasks.experiment.model_folder / "fold_0" / "checkpoint_final.pth").stat().st_mtime_ns == trained


@pytest.mark.slow
def test_another_server_shows_the_run_and_stops_it(tasks, faked, tmp_path):
    faked.wait.touch()
    with answered(tasks, tmp_path) as server:
        assert train(server).status_code == 200
        until(server, lambda text: "training 2 of 2: epoch" in text)
    with client(601, "bert") as server:
        assert "Started by anna" in shown(server)
        assert train(server).status_code == 409
        assert server.post("/stop").status_code == 200
        text = until(server, lambda text: "was stopped" in text)
        assert "Continue the training" in text
        assert tasks.experiment.under_way() == ""
        assert server.post("/stop").status_code == 409, "nothing is at work"
        faked.wait.unlink()
        train(server)
        until(server, lambda text: "answers of cycle 1" in text)


@pytest.mark.slow
def test_a_killed_run_is_told(tasks, faked, tmp_path):
    faked.wait.touch()
    with answered(tasks, tmp_path) as server:
        train(server)
        until(server, lambda text: "training 2 of 2: epoch" in text)
        os.kill(Note.read(server.site.folder).owner.pid, signal.SIGKILL)
        assert "Continue the training" in until(server, lambda text: "without a message" in text)
        faked.wait.unlink()
        tasks.run()  # in a shell
        assert "without a message" not in shown(server)


@pytest.mark.slow
def test_two_servers_start_one_run(tasks, faked, tmp_path):
    faked.wait.touch()
    with answered(tasks, tmp_path) as one, client(601, "bert") as two:
        assert {train(one).status_code, train(two).status_code} <= {200, 409}
        texts = [until(server, lambda text: "training 2 of 2: epoch" in text) for server in (one, two)]
        assert texts[0] == texts[1]
        with pytest.raises(LockHeld), tasks.experiment.running():
            pass
        faked.wait.unlink()
        for server in (one, two):
            until(server, lambda text: "answers of cycle 1" in text)
    assert [result.cycle for result in read_results(tasks.experiment.results)] == [0]
    assert [stage.done for stage in stages(tasks.experiment)] == [False] * 5


@pytest.mark.slow
def test_the_last_cycle_says_what_comes_next(tasks, faked, tmp_path):
    from nnactive_ext.cli import change

    change.main("-d 601 -cycles 1 --disable_progress_bar".split())
    with answered(tasks, tmp_path) as server:
        train(server)
        text = until(server, lambda text: "The only cycle is done" in text)
        assert "nnUNetv2_predict" in text
        assert "nnactive_report -d 601" in text
        assert train(server).status_code in (409, 422)


@pytest.mark.parametrize("address", ["/train", "/stop"])
def test_nobody_without_the_token_trains(tasks, faked, address):
    with client(601, inside=False) as server:
        assert server.post(address, data={"cycle": 0}).status_code == 403
    with client(601) as server:
        assert server.post(address, data={"cycle": 0}, headers={"origin": "http://elsewhere"}).status_code == 403
        assert server.get(address).status_code == 405
    assert tasks.experiment.under_way() == ""
