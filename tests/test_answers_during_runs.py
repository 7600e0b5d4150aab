"""People hand in answers while a run is at work: nothing under a training changes, and the next cycle has the answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rollout_states
import scripted_expert as expert
from forked import PROCESSES
from rollout_states import SMALL_OPTIONS, State, some_of
from rollouts import assert_simulated
from test_rollout_killed import POINTS, Killer, answer_all_but_two, result

from nnactive_ext.experiment import locks
from nnactive_ext.labelling.closing import noted
from nnactive_ext.labelling.labels import count_voxels
from nnactive_ext.labelling.ledger import Ledger

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork, to start a command without importing nnU-Net anew")
OPTIONS = f"{SMALL_OPTIONS} -share 0.5"
QUIET = ["--disable_progress_bar"]


def _run(folders: dict[str, str], plans: str, step: str, reached, go_on) -> None:
    """``nnactive_run`` with members that cost nothing; it waits before ``step`` until it may go on."""
    os.environ.update(folders)
    from fake_members import fake_tools, fake_train

    from nnactive_ext.cli import run
    from nnactive_ext.experiment.result import CycleResult, result_file
    from nnactive_ext.labelling import prepare, relabel
    from nnactive_ext.members.tools import Tools
    from nnactive_ext.nnunet import environment, fingerprint
    from nnactive_ext.querying import query

    made = fake_tools(classes=3)

    def before(name: str) -> None:
        if name == step and not reached.is_set():
            reached.set()
            assert go_on.wait(120)

    def then(name, function):
        def call(*arguments, **more):
            before(name(*arguments) if callable(name) else name)
            return function(*arguments, **more)

        return call

    def train(experiment, fold):
        before(f"training {fold}")
        fake_train(experiment, fold)

    def open_ensemble(experiment, folds):
        evaluated = result_file(experiment.results, experiment.state["cycle"]).is_file()
        before("querying" if evaluated else "evaluating")
        return made.open_ensemble(experiment, folds)

    def quick_plans(experiment):
        shutil.copy(plans, experiment.preprocessed.folder / "nnUNetOtherPlans.json")
        return "nnUNetOtherPlans"  # not what a plan says before the cycle is closed

    prepare.nnunet_plans, fingerprint._SAMPLES = quick_plans, 1e5
    environment.check_torchvision = lambda: None
    Tools.of_nnunet = lambda device: Tools(train, open_ensemble)
    relabel.move_label = then("labels", relabel.move_label)
    relabel.write_json = then(lambda file, _: "splits" if file.name.startswith("splits") else "state", relabel.write_json)
    CycleResult.write = then("result", CycleResult.write)
    query.write_loop = then("loop", query.write_loop)
    run.main(["-d", "601", "-device", "cpu", *QUIET])


class Runner:
    """A run in a process of its own that waits at a step."""

    def __init__(self, folders: SimpleNamespace, plans: Path, step: str = ""):
        environment = {f"nnUNet_{name}": str(folder) for name, folder in vars(folders).items()}
        environment["nnactive_lock"] = os.environ.get("nnactive_lock", "system")
        self.go_on, self.reached = PROCESSES.Event(), PROCESSES.Event()
        self.process: BaseProcess = PROCESSES.Process(
            target=_run, args=(environment, str(plans), step, self.reached, self.go_on)
        )
        self.process.start()
        assert not step or self.reached.wait(120), "it never came to this step"

    def end(self) -> None:
        self.go_on.set()
        self.process.join()
        assert self.process.exitcode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture(scope="module")
def plans(planned_template) -> Path:
    return planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json"


@pytest.fixture(scope="module")
def killer(plans) -> Killer:
    return Killer(plans)


@pytest.fixture(scope="module")
def answered(tmp_path_factory, tiny_template, killer) -> State:
    """Of three patients; all but the last two painted tasks are answered."""
    small = some_of(tiny_template, tmp_path_factory.mktemp("small"), range(3, 8))
    with pytest.MonkeyPatch.context() as patch:
        made = rollout_states.exported(small, tmp_path_factory.mktemp("exported"), patch, OPTIONS, POINTS)
    answer_all_but_two(made, killer)
    return made


@pytest.fixture(scope="module")
def closed(answered, tmp_path_factory, killer) -> State:
    with pytest.MonkeyPatch.context() as patch:
        made = answered.copy(tmp_path_factory.mktemp("closed"), patch)
    killer.call(made.folders, ["close"])
    return made


@pytest.fixture(scope="module")
def undisturbed(closed, tmp_path_factory, plans) -> dict[str, object]:
    """What a run leaves that nobody disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        copy = closed.copy(tmp_path_factory.mktemp("undisturbed"), patch)
        Runner(copy.folders, plans).end()
        return trained_on(copy)


def trained_on(state: State) -> dict[str, object]:
    """Queries, labels, preprocessed labels, splits and state: everything but what people said."""
    return {name: content for name, content in result(state.folders).items() if not name.startswith(("answers/", "book"))}


def late_files(state: State) -> list[Path]:
    return [expert.in_place(task) for task in state.painted[-2:]]


def late_import(state: State, killer: Killer, die_at: int = 0) -> int:
    return killer.call(state.folders, ["import", *late_files(state), "-who", "bert"], die_at)


def close_next(state: State, killer: Killer) -> None:
    killer.call(state.folders, ["close", "-share", "0"])


def assert_all_answers_are_in(state: State, tmp_path: Path) -> None:
    """The labels are those of all answers, voxel for voxel, and what the state and the preprocessed cases count agrees."""
    experiment = state.rollout.experiment
    ids = {event["task"] for event in Ledger(experiment.annotation).events() if event["what"] == "answer"}
    unanswered = [task for task in all_ids(state) if task not in ids]
    assert all(task.startswith("c001") for task in unanswered)
    assert_simulated(state.rollout, tmp_path, unanswered)
    dataset = experiment.dataset
    for case in experiment.plan.pool:
        labels = dataset.reader_writer.read_seg(str(dataset.cases[case].label))[0][0]
        counts = {str(label): number for label, number in count_voxels(labels, dataset.labels.ignore).items()}
        assert experiment.state["annotated"].get(case, {}) == counts
    assert noted(experiment) == []


def all_ids(state: State) -> list[str]:
    from nnactive_ext.labelling.tasks import all_tasks

    return [task.id for task in all_tasks(state.rollout.experiment)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["system", "file"])
@pytest.mark.parametrize("step", ["training 1", "training 0", "evaluating", "querying"])
def test_an_import_during_a_run_counts_in_the_next_cycle(closed, undisturbed, killer, plans, tmp_path, monkeypatch, kind, step):
    monkeypatch.setenv("nnactive_lock", kind)
    copy = closed.copy(tmp_path, monkeypatch)
    run = Runner(copy.folders, plans, step)
    before = trained_on(copy)
    late_import(copy, killer)
    assert trained_on(copy) == before, "labels changed under a training"
    assert len(Ledger(copy.rollout.experiment.annotation).folder.joinpath("corrections.json").read_text()) > 2
    run.end()
    assert trained_on(copy) == undisturbed
    close_next(copy, killer)
    assert_all_answers_are_in(copy, tmp_path)


@pytest.mark.parametrize(
    ("step", "open_cycle"),
    [
        pytest.param(*pair, marks=pytest.mark.slow)
        for pair in [("state", True), ("labels", True), ("splits", True), ("result", False), ("loop", False)]
    ],
)
def test_an_import_waits_for_a_step_of_a_run(answered, closed, killer, plans, tmp_path, monkeypatch, step, open_cycle):
    """It comes after the step, whole, and meets the cycle that is open or closed then."""
    copy = (answered if open_cycle else closed).copy(tmp_path, monkeypatch)
    run = Runner(copy.folders, plans, step)
    ledger = Ledger(copy.rollout.experiment.annotation)
    events = list(ledger.events())
    files = late_files(copy)
    importing = PROCESSES.Process(target=_import, args=(_environment(copy.folders), files))
    importing.start()
    time.sleep(1.5)
    assert importing.is_alive()
    assert list(ledger.events()) == events
    run.go_on.set()
    importing.join(60)
    assert importing.exitcode == 0
    run.end()
    assert len([event for event in ledger.events() if event["who"] == "bert"]) == len(files)
    close_next(copy, killer)
    assert_all_answers_are_in(copy, tmp_path)


def _environment(folders: SimpleNamespace) -> dict[str, str]:
    return {f"nnUNet_{name}": str(folder) for name, folder in vars(folders).items()}


def _import(environment: dict[str, str], files: list[Path]) -> None:
    os.environ.update(environment)
    from nnactive_ext.cli import annotate

    annotate.main(["import", "-d", "601", *map(str, files), "-who", "bert", *QUIET])


@pytest.mark.slow
def test_at_any_moment(answered, killer, plans, tmp_path, monkeypatch):
    """An import and a run that begin together: the answers are in the labels of cycle 0, or noted and in those of cycle 1."""
    copy = answered.copy(tmp_path / "before", monkeypatch)
    late_import(copy, killer)
    Runner(copy.folders, plans).end()
    seen = {"labels": 0, "later": 0, "refused": 0}
    for number, delay in enumerate(np.linspace(0, 3, 8)):
        copy = answered.copy(tmp_path / str(number), monkeypatch)
        files = late_files(copy)
        importing = PROCESSES.Process(target=_import, args=(_environment(copy.folders), files))
        run = Runner(copy.folders, plans)
        time.sleep(delay)
        importing.start()
        importing.join()
        run.process.join()
        assert importing.exitcode == 0
        if run.process.exitcode:  # it began while the import was at work
            seen["refused"] += 1
            Runner(copy.folders, plans).end()
        seen["later" if noted(copy.rollout.experiment) else "labels"] += 1
        close_next(copy, killer)
        assert_all_answers_are_in(copy, tmp_path / str(number))
    assert seen["later"] > 0, seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["system", "file"])
def test_a_killed_run_leaves_its_locks_free(closed, killer, plans, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("nnactive_lock", kind)
    copy = closed.copy(tmp_path, monkeypatch)
    run = Runner(copy.folders, plans, "training 1")
    assert "nnactive_run" in copy.rollout.experiment.under_way()
    run.kill()
    assert copy.rollout.experiment.under_way() == ""
    with copy.rollout.experiment.running():
        pass
    late_import(copy, killer)  # it is applied at once
    assert_all_answers_are_in(copy, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 4, 6])
def test_an_import_that_is_killed_during_a_run(closed, killer, plans, tmp_path, monkeypatch, at):
    copy = closed.copy(tmp_path, monkeypatch)
    run = Runner(copy.folders, plans, "training 1")
    before = trained_on(copy)
    assert late_import(copy, killer, at) == 0
    assert locks.holder(locks.step_file(601)) == ""
    assert {name: found for name, found in trained_on(copy).items() if name != "left over"} == {
        name: found for name, found in before.items() if name != "left over"
    }
    run.end()
    late_import(copy, killer)
    close_next(copy, killer)
    assert_all_answers_are_in(copy, tmp_path)


@pytest.mark.slow
def test_what_may_be_done_during_a_run(closed, killer, plans, tmp_path, monkeypatch, capsys):
    from nnactive_ext.cli import annotate, change, query, run, status

    copy = closed.copy(tmp_path, monkeypatch)
    late_import(copy, killer)
    at_work = Runner(copy.folders, plans, "training 1")
    before = trained_on(copy)
    late = copy.painted[-1].id
    for words in (["withdraw", late], ["rule", "first"], ["export", "--blank", "-cycle", "0", "-o", str(tmp_path / "new")]):
        annotate.main([words[0], "-d", "601", *words[1:], *QUIET])
        said = capsys.readouterr().out
        assert str(at_work.process.pid) in said
        assert ("follow in the next cycle" in said) is (words[0] == "withdraw")
    status.main(["-d", "601", "--json"])
    assert str(at_work.process.pid) in json.loads(capsys.readouterr().out)["under_way"]
    for command, words in (
        (run.main, ["-device", "cpu", *QUIET]),
        (query.main, ["--method", "random", "-device", "cpu", *QUIET]),
        (change.main, ["-cycles", "9", "-who", "me"]),
        (lambda line: annotate.main(["close", *line]), QUIET),
    ):
        monkeypatch.setattr("nnactive_ext.nnunet.environment.check_torchvision", lambda: None)
        with pytest.raises(SystemExit) as caught:
            command(["-d", "601", *words])
        assert caught.value.code == 1
        error = capsys.readouterr().err
        assert f"process {at_work.process.pid}" in error
        assert "nnactive_run" in error
    assert trained_on(copy) == before
    at_work.end()
    close_next(copy, killer)
    experiment = copy.rollout.experiment
    assert noted(experiment) == []
    assert_simulated(copy.rollout, tmp_path, [late, *(task for task in all_ids(copy) if task.startswith("c001"))])
    task = next(task for task in copy.painted if task.id == late)
    from nnactive_ext.labelling.tasks import find_task

    patch = find_task(experiment, task.id).patch
    labels = experiment.dataset.reader_writer.read_seg(str(experiment.dataset.cases[patch.case].label))[0][0]
    assert (labels[patch.slices] == task.names["ignore"]).any(), "the answer that was withdrawn is still there"


@pytest.mark.slow
def test_a_run_that_goes_on_after_a_kill_trains_all_folds_on_the_same_labels(
    closed, undisturbed, killer, plans, tmp_path, monkeypatch
):
    copy = closed.copy(tmp_path, monkeypatch)
    run = Runner(copy.folders, plans, "training 1")
    late_import(copy, killer)
    run.kill()
    Runner(copy.folders, plans).end()
    assert trained_on(copy) == undisturbed
    close_next(copy, killer)
    assert_all_answers_are_in(copy, tmp_path)


@pytest.mark.slow
def test_a_signal_reaches_a_run_as_before(closed, plans, tmp_path, monkeypatch):
    copy = closed.copy(tmp_path, monkeypatch)
    run = Runner(copy.folders, plans, "training 0")
    os.kill(run.process.pid, signal.SIGINT)
    run.process.join(30)
    assert run.process.exitcode == 130
    assert copy.rollout.experiment.under_way() == ""
