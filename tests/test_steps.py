"""The steps of a cycle as data: whoever carries them out, and in whatever order, the experiment is the same."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from uuid import UUID

import pytest
from fake_members import fake_tools
from same_files import begun_again, written

from nnactive_ext.cli import run as run_command
from nnactive_ext.cluster.carrying_out import carry_out
from nnactive_ext.cluster.scripts import for_slurm
from nnactive_ext.cluster.steps import EVALUATE, FINISH, SCORE, TRAIN, Step, open_steps, shares, trainings
from nnactive_ext.cluster.under_way import noted, running
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import result_file
from nnactive_ext.files import temporary_prefix
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.loop.stages import Stage, stages
from nnactive_ext.loop.status import status, status_text
from nnactive_ext.members.tools import Tools
from nnactive_ext.querying.query import CANDIDATES

QUIET = {"progress": False, "say": lambda text: None}


@pytest.fixture(autouse=True)
def same_trainings(monkeypatch):
    """Each training has a number of its own; here they are the same in every run."""
    monkeypatch.setattr("nnactive_ext.experiment.marks.uuid.uuid4", lambda: UUID(int=7))


class Shuffled:
    """Carries out steps in any order, each with the experiment as its files say."""

    def __init__(self, tools: Tools, parts: int, seed: int):
        self.tools, self.parts, self._random = tools, parts, random.Random(seed)
        self.carried_out: list[str] = []

    def run(self, experiment: Experiment, steps: Sequence[Step], begins: Callable[[Step], None]) -> None:
        for step in self._random.sample(steps, len(steps)):
            begins(step)
            carry_out(experiment.anew(), Step.named(step.name), self.tools)
            self.carried_out.append(step.name)


@pytest.mark.parametrize("parts", [2, 3, 40])
def test_shared_steps_lead_to_the_same_files(planned, parts, nnunet_folders, planned_template):
    run_cycles(planned, fake_tools(), **QUIET)
    expected = written(planned)
    planned = begun_again(planned, nnunet_folders, planned_template)
    runner = Shuffled(fake_tools(), parts, seed=parts)
    run_cycles(planned, fake_tools(), runner=runner, **QUIET)
    assert written(planned) == expected
    kinds = [name.partition("_")[0] for name in runner.carried_out]
    cycles, folds = planned.plan.cycles, len(planned.folds())
    assert kinds.count(TRAIN) == cycles * folds
    assert kinds.count(EVALUATE) == cycles * min(parts, len(planned.plan.test))
    assert kinds.count(SCORE) == (cycles - 1) * min(parts, len(planned.plan.pool))


def test_the_driver_finds_nothing_left_to_predict(planned):
    """After all shares, merging opens no member."""
    made = fake_tools()
    for step in [*trainings(planned), *shares(planned, 3)]:
        carry_out(planned, step, made)

    def refuses(experiment, folds):
        raise AssertionError("a member was opened")

    run_cycles(planned, Tools(made.train, refuses), once=True, **QUIET)
    assert planned.state["cycle"] == 1


def test_what_a_step_leaves_is_visible(planned):
    for step in [*trainings(planned), *shares(planned, 3)]:
        assert not step.is_visible(planned), step
        carry_out(planned, step, fake_tools())
        assert step.is_visible(planned), step


def test_what_is_done_is_not_open(planned):
    made = fake_tools()
    assert [step.kind for step in open_steps(planned, 1)] == [TRAIN] * len(planned.folds()) + [FINISH]
    carry_out(planned, Step(TRAIN, 0), made)
    assert [step.index for step in trainings(planned)] == list(planned.folds())[1:]
    run_cycles(planned, made, once=True, **QUIET)
    assert len(trainings(planned)) == len(planned.folds()), "of the next cycle"
    run_cycles(planned, made, **QUIET)
    assert open_steps(planned, 4) == [Step(FINISH)]


@pytest.mark.parametrize("name", ["train", "train_x", "score_3", "score_4_of_4", "evaluate_0_of_0", "finish_1", "", "train_-1"])
def test_no_step_has_such_a_name(name):
    with pytest.raises(NnActiveError, match="--steps"):
        Step.named(name)


def test_a_fold_that_is_none(planned):
    with pytest.raises(NnActiveError, match="train_99"):
        carry_out(planned, Step(TRAIN, 99), fake_tools())


def test_a_run_whose_steps_are_carried_out_elsewhere_needs_no_gpu(planned, monkeypatch, tmp_path):
    """As on the login node of a cluster."""

    def refuses(device):
        raise NnActiveError(f"there is no {device} here")

    runner = Shuffled(fake_tools(), 3, seed=0)
    monkeypatch.setattr("nnactive_ext.cli.run.prepare", refuses)
    monkeypatch.setattr("nnactive_ext.cli.run.runner_of", lambda *given: nullcontext(runner))
    run_command.main(["-d", "101", "-workers", str(tmp_path / "liver.json"), "--disable_progress_bar"])
    assert planned.anew().state["cycle"] == planned.plan.cycles - 1
    with pytest.raises(SystemExit):
        run_command.main(["-d", "101"])


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(Tools, "of_nnunet", classmethod(lambda cls, device, prepare=None: fake_tools()))
    monkeypatch.setattr("nnactive_ext.cli.run.prepare", lambda device: None)


def typed(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("#")]


@pytest.mark.usefixtures("fakes")
def test_the_printed_steps_are_a_cycle(planned, capsys):
    """The lines that --steps prints, typed one after another, lead to the next cycle; typed again they change nothing."""
    run_command.main(["-d", "101", "--steps", "-parts", "3", "-device", "cpu"])
    lines = typed(capsys)
    assert len(lines) == len(planned.folds()) + 2 + 3 + 1, "two test cases"
    for line in lines:
        run_command.main(shlex.split(line)[1:])
    assert planned.anew().state["cycle"] == 1
    before = written(planned)
    for line in lines:
        run_command.main(shlex.split(line)[1:])
    assert planned.anew().state["cycle"] == 1
    assert written(planned) == before


@pytest.mark.usefixtures("fakes")
def test_steps_of_a_cycle_that_has_not_begun_and_out_of_order(planned, capsys):
    with pytest.raises(SystemExit):
        run_command.main(["-d", "101", "-cycle", "1", "-step", "train_0"])
    assert "cycle 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_command.main(["-d", "101", "-step", "finish"])
    assert "train_0" in capsys.readouterr().err
    assert planned.anew().last_loop == 0


SBATCH = """#!/bin/bash
# Stands for SLURM's: runs the tasks of an array at once, and refuses what waits for a job that it does not know.
for word in "$@"; do case "$word" in
  --array=*) tasks=${word#--array=};;
  --dependency=afterok:*) for job in $(echo "${word#*:}" | tr : ' '); do grep -qx "$job" "$JOBS" || exit 9; done;;
  --wrap=*) command=${word#--wrap=};;
esac; done
for task in $(echo "${tasks:-0}" | tr , ' '); do SLURM_ARRAY_TASK_ID=$task bash -c "$command" >> "$JOBS.log" 2>&1; done
job=$((100 + $(wc -l < "$JOBS"))); echo $job >> "$JOBS"; echo $job
"""


def test_the_script_for_slurm_submits_every_step(planned, capsys, tmp_path):
    """Run with a stand-in of sbatch; tests/integration/test_slurm.py uses SLURM itself."""
    run_command.main(["-d", "101", "--steps", "slurm", "-parts", "3", "-time", "8:00:00", "-partition", "gpu nodes"])
    script = capsys.readouterr().out
    for name, text in (("sbatch", SBATCH), ("nnactive_run", '#!/bin/bash\necho "$@"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    jobs = tmp_path / "jobs"
    jobs.touch()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "JOBS": str(jobs)}
    subprocess.run(["bash", "-c", script], env=environment, check=True, capture_output=True, text=True)
    carried_out = [line.partition("-step ")[2].split()[0] for line in Path(f"{jobs}.log").read_text().splitlines()]
    assert carried_out == [step.name for step in open_steps(planned, 3)]
    assert len(jobs.read_text().splitlines()) == 4
    assert "--gres" not in script, "the CPU preset"
    assert for_slurm(planned, open_steps(planned, 3)).count("--gres=gpu:1") == 3
    assert script.count("--cpus-per-task=8") == 3, "the last step needs no more than one core"
    assert script.count("'--partition=gpu nodes'") == 4


def test_status_shows_what_runs_and_where(planned, monkeypatch, capsys):
    """While a training runs: host, GPU, job and the last epoch; a file that a killed process left behind is passed over."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-7")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    seen: list[dict] = []

    def train(experiment, fold):
        step = Step(TRAIN, fold)
        step.log(experiment).write_text("2026-11-28: Epoch 0 \n2026-11-28: Epoch 12 \n")
        seen.extend(status(experiment)["running"])
        print(status_text(status(experiment)))

    carry_out(planned, Step(TRAIN, 1), Tools(train, fake_tools().open_ensemble))
    (one,) = seen
    assert (one["step"], one["gpu"], one["job"], one["epoch"], one["pid"]) == ("train_1", "MIG-7", "4711", 12, os.getpid())
    assert "epoch 12" in capsys.readouterr().out
    assert status(planned)["running"] == []
    dead = subprocess.Popen(["true"])
    dead.wait()
    folder = planned.results / "cycle_000" / "running"
    (folder / "train_0.json").write_text(json.dumps({**one, "step": "train_0", "pid": dead.pid}))
    elsewhere = folder / "train_2.json"
    elsewhere.write_text(json.dumps({**one, "step": "train_2", "host": "node7", "pid": dead.pid}))
    assert [found["step"] for found in status(planned)["running"]] == ["train_2"], "nobody here knows the processes of node7"
    os.utime(elsewhere, (1, 1))
    assert status(planned)["running"] == []


def test_what_is_being_written_counts_nowhere(trained, monkeypatch):
    """Whoever looks on meets files of processes at work that are half written, and that are gone when they are asked for."""
    monkeypatch.setattr("nnactive_ext.loop.stages.is_evaluated", lambda experiment: True)
    trained.results.mkdir(parents=True, exist_ok=True)
    result_file(trained.results, 0).touch()

    def half_written(file: Path) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / f"{temporary_prefix()}gone.json").symlink_to("nowhere")
        (file.parent / f"{temporary_prefix()}abc.json").write_bytes(file.read_bytes() if file.is_file() else b"{")
        return file

    file = half_written(trained.results / "cycle_000" / CANDIDATES / f"{next(iter(trained.plan.pool))}.json")
    assert stages(trained)[-1] == Stage("query of the next patches", done=False)
    file.write_text("{}")
    assert stages(trained)[-1].detail == f"1 of {len(trained.plan.pool)} images scored"

    step = Step(EVALUATE)
    with noted(trained, step):
        half_written(trained.results / "cycle_000" / "running" / f"{step.name}.json")
        assert [one.step for one in running(trained)] == [step.name]
