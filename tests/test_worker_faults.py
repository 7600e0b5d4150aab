"""What a run does about workers that are broken, run out of memory, or do not come, and about steps of an older run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_members import fake_tools, fake_train

from nnactive_ext.cluster.blame import Blame
from nnactive_ext.cluster.carrying_out import carry_out
from nnactive_ext.cluster.children import Outcome, pause
from nnactive_ext.cluster.crew import Limits
from nnactive_ext.cluster.dask_runner import OnWorkers, anywhere, gpu_environments, here
from nnactive_ext.cluster.steps import TRAIN, Step
from nnactive_ext.cluster.under_way import others_end
from nnactive_ext.errors import ChildKilled, NnActiveError
from nnactive_ext.experiment import locks
from nnactive_ext.experiment.locks import LockHeld, run_file
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members import training
from nnactive_ext.members.tools import Tools

pytest.importorskip("distributed")
SCRIPT = str(Path(__file__).with_name("fake_step.py"))
WORKER = [sys.executable, "-m", "nnactive_ext.cli.worker"]
posix = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each with a GPU that is a name only."""
    with here(gpu_environments(["good", "broken"])) as client:
        yield client


@pytest.fixture
def two(cluster):
    """None of them is paused."""
    yield cluster
    cluster.run(pause, paused=False)


class Steps:
    """Steps that write into a journal."""

    def __init__(self, folder: Path, seconds: float, *how: str):
        self.journal, self.seconds, self.how = folder / "journal", seconds, how
        self.said: list[str] = []

    def arguments(self, step: Step) -> list[str]:
        return [SCRIPT, str(self.journal), step.name, str(self.seconds), *self.how]

    def on(self, client, limits: Limits | None = None, **more) -> OnWorkers:
        return OnWorkers(client, 1, self.arguments, {}, self.said.append, limits=limits or Limits(), **more)

    def noted(self, what: str) -> list[dict]:
        lines = self.journal.read_text().splitlines() if self.journal.is_file() else []
        return [line for line in map(json.loads, lines) if line["what"] == what]

    def names(self, what: str) -> list[str]:
        return [line["name"] for line in self.noted(what)]


def trainings(number: int, first: int = 0) -> list[Step]:
    return [Step(TRAIN, fold) for fold in range(first, first + number)]


def run(runner: OnWorkers, experiment, steps) -> None:
    runner.run(experiment, steps, lambda step: None)


@pytest.mark.slow
def test_steps_that_fail_at_once_on_one_gpu_go_to_the_other(two, planned, tmp_path):
    steps = Steps(tmp_path, 1, "broken:broken")
    runner = steps.on(two)
    run(runner, planned, trainings(6))
    assert sorted(steps.names("end")) == [step.name for step in trainings(6)]
    assert [one["gpu"] for one in steps.noted("begin")].count("broken") == 2
    (said,) = steps.said
    assert "GPU broken" in said
    run(runner, planned, trainings(3, first=6))
    assert [one["gpu"] for one in steps.noted("begin")].count("broken") == 2, "nor in the steps after these"
    assert len(steps.names("end")) == 9


def test_where_every_worker_is_broken_the_run_ends(two, planned, tmp_path):
    steps = Steps(tmp_path, 0, "broken:broken", "broken:good")
    with pytest.raises(NnActiveError, match="did not begin") as error:
        run(steps.on(two), planned, trainings(8))
    assert "GPU broken" in str(error.value)
    assert "GPU good" in str(error.value)
    assert len(steps.names("begin")) == len(set(steps.names("begin"))), "none was tried twice"
    assert len(steps.names("begin")) < 8


class Pauses:
    """Blame without workers."""

    def __init__(self) -> None:
        self.paused: list[tuple[str, bool]] = []
        self.said: list[str] = []
        self.blame = Blame(lambda worker, paused: self.paused.append((worker, paused)), self.said.append)
        self.blame.begin()

    def fail(self, fold: int, worker: str, seconds: float = 3.0, workers: int = 2) -> None:
        self.blame.fails(Step(TRAIN, fold), Outcome(status=1, seconds=seconds, worker=worker), f"text {fold}", workers)

    def succeed(self, fold: int, worker: str) -> None:
        self.blame.succeeded(Step(TRAIN, fold), worker)


def test_a_failure_among_successes_is_the_steps_own():
    made = Pauses()
    made.succeed(0, "b")
    for fold in (1, 3, 5):
        made.fail(fold, "a")
        made.succeed(fold + 1, "a")
    assert not made.paused
    assert not made.blame.again()
    assert dict(made.blame.end()) == {f"train_{fold}": f"text {fold}" for fold in (1, 3, 5)}


def test_a_slow_failure_is_the_steps_own():
    made = Pauses()
    made.fail(1, "a", seconds=61)
    made.fail(2, "a", seconds=3)
    made.fail(3, "a", seconds=61)
    made.fail(4, "a", seconds=3)
    assert not made.paused
    assert set(made.blame.end()) == {"train_1", "train_2", "train_3", "train_4"}


def test_without_another_worker_nobody_is_paused():
    made = Pauses()
    for fold in range(5):
        made.fail(fold, "a", workers=1)
    assert not made.paused
    assert len(made.blame.end()) == 5


def test_no_step_begins_again_before_another_worker_succeeds():
    made = Pauses()
    made.fail(1, "a")
    made.fail(2, "a")
    assert made.paused == [("a", True)]
    assert not made.blame.again()
    made.succeed(0, "b")
    assert [step.index for step in made.blame.again()] == [1, 2]
    assert not made.blame.again()
    made.succeed(1, "b")
    made.fail(2, "b")
    assert dict(made.blame.end()) == {"train_2": "text 2"}
    assert made.paused == [("a", True)], "one of them succeeded elsewhere"


def test_a_worker_gets_steps_again_if_its_steps_fail_elsewhere_too():
    made = Pauses()
    made.succeed(0, "b")
    made.fail(1, "a")
    made.fail(2, "a")
    assert len(made.blame.again()) == 2
    made.fail(1, "b")
    assert made.paused == [("a", True)]
    made.fail(2, "b")
    assert made.paused == [("a", True), ("a", False)]
    assert set(made.blame.end()) == {"train_1", "train_2"}
    assert not made.blame.paused


@posix
@pytest.mark.parametrize("how", ["killed", pytest.param("kills", marks=pytest.mark.slow)])
def test_a_step_that_is_killed_or_kills_its_worker_again_and_again_ends_with_what_to_do(two, planned, tmp_path, how):
    """As the operating system does where memory runs out; the others are carried out."""
    steps = Steps(tmp_path, 0, f"{how}:train_1")
    with pytest.raises(NnActiveError, match="memory") as error:
        run(steps.on(two), planned, trainings(3))
    assert str(Step(TRAIN, 1).log(planned)) in str(error.value)
    assert steps.names("begin").count("train_1") == 4
    assert sorted(steps.names("end")) == ["train_0", "train_2"]


@posix
def test_a_step_that_was_killed_once_is_carried_out(two, planned, tmp_path):
    steps = Steps(tmp_path, 0, "killed_once:train_1")
    run(steps.on(two), planned, trainings(3))
    assert steps.names("begin").count("train_1") == 2
    assert sorted(steps.names("end")) == ["train_0", "train_1", "train_2"]


@pytest.fixture
def anyone(planned, tmp_path):
    """The client of a run for workers that anybody starts, and what starts one."""
    file, started = tmp_path / "liver.json", []

    def start() -> None:
        started.append(subprocess.Popen([*WORKER, str(file), "-device", "cpu"]))

    try:
        with anywhere(file, planned) as client:
            yield client, start
    finally:
        for worker in started:
            worker.terminate()
            worker.wait()


def test_a_job_may_be_preempted_more_often(anyone):
    assert anyone[0].cluster.scheduler.allowed_failures == 10


@pytest.mark.slow
def test_no_worker_comes(anyone, planned, tmp_path):
    """That is said again and again, with what starts one; when one comes, the steps are carried out."""
    client, start = anyone
    steps = Steps(tmp_path, 0)
    runner = steps.on(client, Limits(patience=0.3), how_to_start="nnactive_worker liver.json")
    seen = threading.Event()

    def say(text: str) -> None:
        steps.said.append(text)
        if len(steps.said) == 3:
            start()
            seen.set()

    object.__setattr__(runner, "say", say)
    run(runner, planned, trainings(1))
    assert seen.is_set()
    assert all("nnactive_worker liver.json" in text for text in steps.said)
    assert steps.names("end") == ["train_0"]


def test_files_that_a_network_file_system_shows_late(two, planned, tmp_path):
    steps, looks = Steps(tmp_path, 0), []

    def is_visible(step: Step, experiment) -> bool:
        looks.append(step.name)
        return looks.count(step.name) > 3

    run(steps.on(two, is_visible=is_visible), planned, trainings(2))
    assert looks.count("train_1") == 4


def test_files_that_never_show(two, planned, tmp_path):
    steps = Steps(tmp_path, 0)
    limits = Limits(visible=0.5)
    with pytest.raises(NnActiveError, match="train_0 ended") as error:
        run(steps.on(two, limits, is_visible=lambda step, experiment: step.index > 0), planned, trainings(2))
    assert "train_1" not in str(error.value)
    assert str(Step(TRAIN, 0).log(planned)) in str(error.value)


class NoLock:
    """A lock of a file system that does not lock: whoever asks for it gets it."""

    def __init__(self, file: Path, **options: bool):
        self.file = file

    def acquire(self, timeout: float) -> None:
        Path(self.file).touch()

    def release(self) -> None:
        pass


def assert_not_proved(client, experiment, folder: Path, monkeypatch) -> None:
    steps = Steps(folder, 0)
    monkeypatch.setattr(locks, "FileLock", NoLock)
    with pytest.raises(NnActiveError, match="does not lock between machines") as error:
        run_cycles(experiment, fake_tools(), progress=False, runner=steps.on(client))
    assert str(run_file(101)) in str(error.value)
    assert not steps.names("begin")


def test_a_file_system_that_does_not_lock(two, planned, tmp_path, monkeypatch):
    assert_not_proved(two, planned, tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_file_system_that_does_not_lock_between_machines(anyone, planned, tmp_path, monkeypatch):
    client, start = anyone
    start()
    assert_not_proved(client, planned, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ["system", "file"])
def test_a_lock_that_holds_is_proved_once_for_each_machine(two, planned, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("nnactive_lock", kind)
    steps = Steps(tmp_path, 0)
    asked = []
    call = two.run
    monkeypatch.setattr(two, "run", lambda *words, **options: asked.append(call(*words, **options)) or call(*words, **options))
    with planned.running():
        run(steps.on(two), planned, trainings(4))
    assert [list(found.values()) for found in asked] == [[False]]
    assert len(steps.names("end")) == 4


def test_a_second_run_does_not_take_the_workers_of_the_first(planned, tmp_path):
    file = tmp_path / "liver.json"
    holds = "import sys, nnactive_ext.experiment.locks as l\nwith l.locked(101, run=True): print(flush=True); sys.stdin.read()"
    first = subprocess.Popen([sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        first.stdout.readline()
        with pytest.raises(LockHeld), anywhere(file, planned):
            pass
        assert not file.exists()
    finally:
        first.communicate()


def test_another_file_is_not_overwritten(planned, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text('{"budget": 3}')
    with pytest.raises(NnActiveError, match=r"plan\.json"), anywhere(file, planned):
        pass
    assert file.read_text() == '{"budget": 3}'


def left_behind(experiment, **more) -> Path:
    """The file of a step that another machine carries out."""
    file = experiment.results / "cycle_000" / "running" / "train_0.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"step": "train_0", "host": "node7", "pid": 4711, "since": 1.0, "log": "x.log", **more}))
    return file


def test_a_step_that_an_older_run_still_carries_out_is_waited_for(planned):
    """And what it has done is not done again."""
    file, said = left_behind(planned), []
    trained: list[int] = []

    def other_machine() -> None:
        while not said:
            time.sleep(0.05)
        fake_train(planned, 0)
        file.unlink()

    thread = threading.Thread(target=other_machine)
    thread.start()
    others_end(planned, Step(TRAIN, 0), said.append, pause=0.05)
    thread.join()
    assert "process 4711 on node7" in said[0]
    tools = Tools(lambda experiment, fold: trained.append(fold), fake_tools().open_ensemble)
    carry_out(planned, Step(TRAIN, 0), tools)
    assert not trained


def test_a_step_whose_file_nobody_renews_is_not_waited_for(planned, capsys):
    file = left_behind(planned)
    os.utime(file, (time.time() - 1000, time.time() - 1000))
    carry_out(planned, Step(TRAIN, 0), fake_tools())
    assert capsys.readouterr().out == ""
    assert not file.exists()
    assert Step(TRAIN, 0).is_visible(planned)


def test_the_run_says_whom_it_waits_for(two, planned, tmp_path):
    left_behind(planned)
    steps = Steps(tmp_path, 0)
    run(steps.on(two), planned, trainings(2))
    (said,) = steps.said
    assert "train_0" in said
    assert "node7" in said


def test_a_training_that_others_killed_may_be_tried_again(planned, monkeypatch):
    """Its status says so to whoever carries the step out, who does not see the training itself."""
    monkeypatch.setattr(training, "_run", lambda command, environment, log: -9)
    monkeypatch.setattr(training.TrainingServer, "possible", lambda device: False)
    with pytest.raises(ChildKilled, match="memory") as error:
        training.train_member(planned, 0, "cpu")
    assert Outcome(status=error.value.status).killed
    assert not Outcome(status=1).killed


@posix
def test_a_child_whose_parent_was_killed_while_it_started_ends(tmp_path):
    """By then its parent is another one, so the child is told whose end is its own."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    watches = "import time; from nnactive_ext.members import training_process as t; t.end_with_parent(); time.sleep(600)"
    environment = {**os.environ, "nnactive_parent": str(gone.pid)}
    child = subprocess.Popen([sys.executable, "-c", watches], env=environment, start_new_session=True)
    try:
        assert child.wait(300) == -9
    finally:
        child.kill()
        child.wait()
