"""Workers and steps in the jobs of a real SLURM that runs on this machine: ended, requeued, preempted, out of time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from folders import folders_below, set_folders
from real_slurm import Job, Slurm, slurm, why_not
from same_files import begun_again, written

from nnactive_ext.cli import phantom, plan
from nnactive_ext.cluster.dask_runner import OnWorkers, anywhere
from nnactive_ext.cluster.steps import TRAIN, Step
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json

pytest.importorskip("distributed")
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_not()), reason=f"no SLURM here: {why_not()}")]
TESTS = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SCRIPT = str(TESTS / "fake_step.py")
FAKED = {"PYTHONPATH": f"{TESTS / 'faked'}{os.pathsep}{TESTS}"}
QUICK = {"nnactive_iterations_per_epoch": "2", "nnactive_val_iterations_per_epoch": "1", "nnUNet_n_proc_DA": "0"}
PLAN = "-d 900 -o 901 -patch_size 8 16 16 -query_size 6 -cycles 2 -folds 2 --preset cpu -np 1 --disable_progress_bar"
NAME = "Dataset901_Phantom"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm() as made:
        made.environment["PATH"] = f"{BIN}{os.pathsep}{made.environment['PATH']}"
        yield made


@pytest.fixture(autouse=True)
def no_jobs(cluster: Slurm) -> Iterator[None]:
    """No job outlives its test."""
    yield
    cluster.call("scancel", "--user=root")
    cluster.wait(lambda: all(job.ended for job in cluster.jobs()))


def started(cluster: Slurm, file: Path, words: str, environment: dict[str, str] | None = None) -> str:
    """Submit what ``nnactive_worker FILE --print slurm`` prints; the number of the array."""
    command = [str(BIN / "nnactive_worker"), str(file), "--print", "slurm", *words.split()]
    script = file.with_name(f"workers_{time.monotonic_ns()}.sh")
    script.write_text(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return cluster.sbatch(script, environment=environment)


class Watched:
    """Steps that write into a journal, carried out by workers; ``run`` returns when they are done."""

    def __init__(self, cluster: Slurm, client, experiment: Experiment, folder: Path):
        self.cluster, self.client, self.experiment, self.journal = cluster, client, experiment, folder / "journal"

    def run(self, folds: range, seconds: float, meanwhile=None) -> None:
        failed: list[BaseException] = []

        def call() -> None:
            try:
                meanwhile()
            except BaseException as error:
                failed.append(error)

        def arguments(step: Step) -> list[str]:
            return [SCRIPT, str(self.journal), step.name, str(seconds)]

        thread = threading.Thread(target=call, daemon=True)
        if meanwhile:
            thread.start()
        OnWorkers(self.client, 2, arguments, {}).run(self.experiment, [Step(TRAIN, fold) for fold in folds], lambda step: None)
        if meanwhile:
            thread.join()
        assert not failed, failed

    def noted(self, what: str) -> list[dict]:
        lines = self.journal.read_text().splitlines() if self.journal.is_file() else []
        return [line for line in map(json.loads, lines) if line["what"] == what]

    def wait_for(self, what: str, number: int) -> list[dict]:
        self.cluster.wait(lambda: len(self.noted(what)) >= number)
        return self.noted(what)

    def assert_taken_over(self, lost: dict, folds: int) -> None:
        """The step that was lost began once more, in another process, and every step ended once."""
        begun = [one["name"] for one in self.noted("begin")]
        assert begun.count(lost["name"]) == 2
        assert len(begun) == folds + 1, "a finished step is not begun again"
        assert sorted(one["name"] for one in self.noted("end")) == [f"train_{fold}" for fold in range(folds)]
        assert lost["pid"] not in {one["pid"] for one in self.noted("end")}
        assert not Path(f"/proc/{lost['pid']}").exists(), "the step of the job that was ended goes on"


@pytest.fixture
def watched(cluster: Slurm, planned, tmp_path) -> Iterator[SimpleNamespace]:
    """A run that waits for workers: ``file`` and ``steps``."""
    with anywhere(tmp_path / "liver.json", planned) as client:
        yield SimpleNamespace(file=tmp_path / "liver.json", steps=Watched(cluster, client, planned, tmp_path))


def job_of(cluster: Slurm, noted: dict) -> Job:
    """The job in which a step was carried out. Its number may be that of its array, too, and then stands for all of it."""
    (found,) = [job for job in cluster.jobs() if job.number == noted["job"]]
    return found


def test_an_array_of_two_workers_one_of_which_is_cancelled(cluster, watched):
    """Each job has a GPU of its own; the step of the cancelled one begins in the other one."""
    array, steps, lost = started(cluster, watched.file, "-n 2 -cpus 1 -time 1:00:00"), watched.steps, dict[str, str]()

    def cancel() -> None:
        lost.update(steps.wait_for("begin", 2)[0])
        cluster.call("scancel", job_of(cluster, lost).id)

    steps.run(range(4), 8, cancel)
    steps.assert_taken_over(lost, 4)
    begun = steps.noted("begin")
    assert {one["gpu"] for one in begun[:2]} == {"0", "1"}
    assert {one["gpu"] for one in begun[2:]} == {"0", "1"} - {lost["gpu"]}
    states = {job.number: job.state for job in cluster.jobs(array)}
    assert states.pop(lost["job"]) == "CANCELLED"
    assert set(states.values()) == {"RUNNING"}


def test_a_requeued_worker_comes_back(cluster, watched):
    """SLURM starts it again after two minutes; its log goes on in the same file."""
    array, steps, lost = started(cluster, watched.file, "-n 2 -cpus 1 -device cpu"), watched.steps, dict[str, str]()

    def requeue() -> None:
        lost.update(steps.wait_for("begin", 2)[0])
        cluster.call("scontrol", "requeue", job_of(cluster, lost).id)

    steps.run(range(3), 8, requeue)
    steps.assert_taken_over(lost, 3)
    cluster.wait(lambda: len(steps.client.scheduler_info(n_workers=-1)["workers"]) == 2)
    assert job_of(cluster, lost).restarts == 1
    steps.run(range(3, 7), 4)
    assert lost["job"] in {one["job"] for one in steps.noted("begin")[4:]}
    (log,) = watched.file.parent.glob(f"liver_{array}_{job_of(cluster, lost).index}.log")
    assert log.read_text().count("for the run on") == 2


@pytest.mark.parametrize(("minutes", "state"), [(1, "TIMEOUT"), (3, "COMPLETED")])
def test_a_worker_whose_time_is_up(cluster, watched, minutes, state):
    """SLURM ends it, or it ends two minutes before; the next one begins its step."""
    first, steps, lost = started(cluster, watched.file, f"-cpus 1 -device cpu -time {minutes}"), watched.steps, dict[str, str]()

    def replace() -> None:
        lost.update(steps.wait_for("begin", 1)[0])
        started(cluster, watched.file, "-cpus 1 -device cpu")

    steps.run(range(1), 75, replace)
    steps.assert_taken_over(lost, 1)
    cluster.wait(lambda: all(job.ended for job in cluster.jobs(first)))
    assert [job.state for job in cluster.jobs(first)] == [state]


def test_workers_that_an_urgent_job_preempts(cluster, watched, tmp_path):
    """Both are requeued, and the run sees no failure."""
    steps, lost, urgent = watched.steps, list[dict](), tmp_path / "urgent.sh"
    array = started(cluster, watched.file, "-n 2 -cpus 1 -device cpu -partition main")
    urgent.write_text("#!/bin/bash\nsleep 2\n")

    def preempt() -> None:
        lost.extend(steps.wait_for("begin", 2))
        cluster.sbatch(urgent, "--partition=urgent", "-n2", f"--output={tmp_path}/urgent.log")

    steps.run(range(2), 15, preempt)
    assert sorted(one["name"] for one in steps.noted("end")) == ["train_0", "train_1"]
    assert {one["pid"] for one in lost}.isdisjoint(one["pid"] for one in steps.noted("end"))
    assert {job.restarts for job in cluster.jobs(array)} == {1}


@pytest.fixture(scope="module")
def phantom_template(built_once) -> SimpleNamespace:
    def build(root: Path) -> None:
        with pytest.MonkeyPatch.context() as monkeypatch:
            set_folders(monkeypatch, root)
            monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
            phantom.main("-d 900 -n 8".split())
            plan.main([*PLAN.split(), "-tr", "nnActiveTrainer_1epochs"])

    return folders_below(built_once("phantom_slurm", build))


@pytest.fixture
def on_phantom(nnunet_folders, phantom_template) -> Callable[[], Experiment]:
    """``on_phantom()`` is the experiment as it was planned, again and again."""

    def again() -> Experiment:
        return begun_again(Experiment(NAME), nnunet_folders, phantom_template)

    for name in ("raw", "preprocessed"):
        shutil.copytree(getattr(phantom_template, name), getattr(nnunet_folders, name), dirs_exist_ok=True)
    return again


def typed(line: str, environment: dict[str, str], meanwhile=None) -> str:
    """The output of a command; ``meanwhile()`` is called when it has begun."""
    words = line.split()
    whole = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment}
    process = subprocess.Popen(
        [str(BIN / words[0]), *words[1:]], env=whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        if meanwhile:
            meanwhile()
        output, _ = process.communicate(timeout=1500)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output[-3000:]
    return output


def on_workers(cluster: Slurm, file: Path, environment: dict[str, str]) -> str:
    """A run on two workers in jobs."""
    words = "-n 2 -cpus 1 -device cpu"
    return typed(
        f"nnactive_run -d 901 -device cpu --disable_progress_bar -workers {file}",
        environment,
        lambda: started(cluster, file, words, {**environment, **folders()}),
    )


def folders() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}


def test_whoever_carries_out_the_steps_the_files_are_the_same(cluster, on_phantom, tmp_path):
    """One process, two local workers, two workers in jobs, and array jobs that depend on each other: byte for byte."""
    environment, found = {**FAKED, "OMP_NUM_THREADS": "1"}, dict[str, dict[str, bytes]]()
    experiment = on_phantom()
    typed("nnactive_run -d 901 -device cpu --disable_progress_bar", environment)
    found["one"] = written(experiment)
    assert set(found["one"]) == {"loop_000.json", "loop_001.json", "cycle_000.json", "cycle_001.json"}
    experiment = on_phantom()
    typed("nnactive_run -d 901 -device cpu -np 2 --disable_progress_bar", environment)
    found["local"] = written(experiment)
    experiment = on_phantom()
    on_workers(cluster, tmp_path / "liver.json", environment)
    found["jobs"] = written(experiment)
    experiment = on_phantom()
    submit_steps(cluster, tmp_path, environment)
    found["steps"] = written(experiment)
    for who, files in found.items():
        assert files == found["one"], who


def submit_steps(cluster: Slurm, folder: Path, environment: dict[str, str]) -> None:
    """Submit the scripts of ``--steps slurm`` until the experiment is done, each when the jobs before it are."""
    for cycle in range(2):
        text = typed("nnactive_run -d 901 -device cpu --steps slurm -parts 3 -cpus 1 -time 30", environment)
        script = folder / f"cycle_{cycle}.sh"
        script.write_text(text)
        before = {job.id for job in cluster.jobs()}
        cluster.call("bash", script, environment={**environment, **folders()})
        new = [job for job in cluster.jobs() if job.id not in before]
        assert [job.reason for job in new if job.name.endswith("finish")] == ["Dependency"]
        cluster.wait(lambda: all(job.ended for job in cluster.jobs()), 900)
        assert {job.state for job in cluster.jobs() if job.id not in before} == {"COMPLETED"}


def test_dependent_steps_wait_for_ever_when_a_training_fails(cluster, on_phantom, tmp_path):
    """``afterok``: nothing is chosen with a member missing; the script can be submitted again."""
    experiment = on_phantom()
    environment = {**FAKED, "OMP_NUM_THREADS": "1"}
    text = typed("nnactive_run -d 901 -device cpu --steps slurm -parts 3 -cpus 1", environment)
    script = tmp_path / "steps.sh"
    script.write_text(text)
    cluster.call("bash", script, environment={**environment, **folders(), "FAKE_FAIL": "1"})
    cluster.wait(lambda: [job.state for job in cluster.jobs() if "train" in job.name].count("FAILED") >= 1)
    cluster.wait(lambda: all(job.ended or job.reason == "DependencyNeverSatisfied" for job in cluster.jobs()))
    assert not (experiment.raw / "loop_001.json").exists()
    cluster.call("scancel", "--user=root")
    cluster.wait(lambda: all(job.ended for job in cluster.jobs()))
    cluster.call("bash", script, environment={**environment, **folders()})
    cluster.wait(lambda: all(job.ended for job in cluster.jobs()), 900)
    assert (experiment.raw / "loop_001.json").is_file()


def structure(content: object) -> object:
    """Keys and types of a file's content, without its values; the HD95 of a class that was not predicted is None."""
    if isinstance(content, dict):
        return {key: structure(value) for key, value in sorted(content.items())}
    return [structure(content[0])] * len(content) if isinstance(content, list) and content else _type(content)


def _type(value: object) -> str:
    return "float or None" if value is None or isinstance(value, float) else type(value).__name__


def test_real_trainings_in_jobs_leave_the_same_files_as_one_process(cluster, on_phantom, tmp_path):
    found = []
    for run in (
        lambda: typed("nnactive_run -d 901 -device cpu --disable_progress_bar", QUICK),
        lambda: on_workers(cluster, tmp_path / "liver.json", QUICK),
    ):
        experiment = on_phantom()
        run()
        files = {path.name: path for folder in (experiment.raw, experiment.results) for path in folder.glob("*_0*.json")}
        assert {"loop_001.json", "cycle_001.json"} <= set(files)
        marks = sorted(experiment.model_folder.glob("fold_*/nnactive_member.json"))
        assert [read_json(mark)["finished"] for mark in marks] == [True, True]
        contents = {name: read_json(path) for name, path in files.items()}
        loop = contents["loop_001.json"]
        assert len(loop["patches"]) == 6
        contents["loop_001.json"] = {**loop, "patches": loop["patches"][:1]}
        found.append({name: structure(content) for name, content in contents.items()})
    assert found[0] == found[1]
