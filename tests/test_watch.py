"""`nnactive_run --watch`: the next cycle starts by itself when enough tasks are answered, and a signal ends the wait."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import scripted_expert as expert
from fake_members import fake_tools
from forked import PROCESSES
from rollout_states import POINTS
from rollouts import OPTIONS, Rollout, assert_simulated

from nnactive_ext.cli import run as command
from nnactive_ext.experiment.locks import holder, run_file
from nnactive_ext.experiment.result import read_results
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.loop import watching
from nnactive_ext.members.tools import Tools

QUIET = ("-d", "601", "-device", "cpu", "--disable_progress_bar", "--watch")


class Expert:
    """Answers the open tasks, so many each time that the command looks whether something has changed."""

    def __init__(self, rollout: Rollout, folder: Path, at_once: int):
        self.rollout, self.folder, self.at_once = rollout, folder, at_once
        self.left: list[expert.Seen] = []
        self.answered: dict[int, int] = {}
        self.looks = 0

    def __call__(self) -> None:
        self.looks += 1
        assert self.looks < 100, "it waits for something that is there"
        cycle = self.rollout.experiment.last_loop
        if not holder(run_file(601)) and cycle not in self.answered:
            self.left = self.rollout.export(self.folder / str(cycle))
            self.answered[cycle] = 0
        now, self.left = self.left[: self.at_once], self.left[self.at_once :]
        for task in now:
            self.rollout.annotate(f"import {expert.in_place(task)} -who anna --accept_unchanged --disable_progress_bar")
            self.answered[cycle] += 1


@pytest.fixture
def members(monkeypatch) -> list[tuple[int, int]]:
    """Members cost nothing; gives the (cycle, fold) that were trained."""
    trained: list[tuple[int, int]] = []
    made = fake_tools(classes=3)

    def train(experiment, fold):
        trained.append((experiment.state["cycle"], fold))
        made.train(experiment, fold)

    monkeypatch.setattr("nnactive_ext.nnunet.environment.check_torchvision", lambda: None)
    monkeypatch.setattr(Tools, "of_nnunet", lambda device: replace(made, train=train))
    return trained


def planned(rollout: Rollout, folder: Path, options: str) -> None:
    """With 6 tasks of cycle 0: two random patches, and four around points."""
    rollout.plan(options)
    (folder / "points.csv").write_text(POINTS)
    rollout.annotate(f"points {folder / 'points.csv'}")


def watched(monkeypatch, pause) -> None:
    """The command, with ``pause`` where it waits."""
    monkeypatch.setattr(watching, "sleep", lambda seconds: pause())
    command.main([*QUIET])


@pytest.mark.parametrize(("share", "needed", "at_once"), [("1", (6, 4, 4), 5), ("0.5", (3, 2, 2), 1)])
def test_all_cycles_without_another_command(rollout, members, monkeypatch, tmp_path, capsys, share, needed, at_once):
    planned(rollout, tmp_path, f"{OPTIONS} -share {share}")
    answers = Expert(rollout, tmp_path / "out", at_once)
    watched(monkeypatch, answers)
    experiment = rollout.experiment
    assert [result.cycle for result in read_results(experiment.results)] == [0, 1, 2]
    assert members == [(cycle, fold) for cycle in range(3) for fold in range(2)]
    assert answers.answered == {cycle: number for cycle, number in enumerate(needed)}, "no answer more than it needs"
    said = capsys.readouterr().out
    assert said.count("Waiting until") == 3, "once for each cycle"
    for cycle, number in enumerate(needed):
        assert f"Waiting until {number} tasks of the {(6, 4, 4)[cycle]} of cycle {cycle} are done" in said
    assert said.count("Another cycle:") == 3
    assert "All 3 cycles are done" in said
    if share == "1":
        assert_simulated(rollout, tmp_path)


def test_what_is_answered_already_is_not_waited_for(rollout, members, monkeypatch, tmp_path):
    planned(rollout, tmp_path, OPTIONS.replace("-cycles 3", "-cycles 1"))
    answers = Expert(rollout, tmp_path / "out", 6)
    answers()
    watched(monkeypatch, lambda: pytest.fail("there is nothing to wait for"))
    assert members == [(0, 0), (0, 1)]
    watched(monkeypatch, lambda: pytest.fail("all is done"))
    assert len(members) == 2


def test_too_few_annotated_cases_are_waited_for(rollout, members, monkeypatch, tmp_path, capsys):
    """Enough tasks are done for the share, and nothing can be trained on one case."""
    planned(rollout, tmp_path, f"{OPTIONS.replace('-cycles 3', '-cycles 1')} -share 0.1")
    answers = Expert(rollout, tmp_path / "out", 1)
    answers()
    assert answers.answered == {0: 1}
    watched(monkeypatch, answers)
    assert answers.answered[0] == 2 or members
    assert [cycle for cycle, _ in members] == [0, 0]
    assert "training needs 2" in capsys.readouterr().out


def test_a_cycle_that_another_command_ran_is_not_run_again(rollout, members, monkeypatch, tmp_path):
    planned(rollout, tmp_path, OPTIONS.replace("-cycles 3", "-cycles 2"))
    answers = Expert(rollout, tmp_path / "out", 6)
    others = []

    def pause():
        answers()
        if answers.answered == {0: 6} and not others:
            others.append(1)
            command.main([word for word in QUIET if word != "--watch"])

    watched(monkeypatch, pause)
    assert others
    assert members == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_smaller_share_lets_it_go_on(rollout, members, monkeypatch, tmp_path):
    from nnactive_ext.cli import change

    planned(rollout, tmp_path, OPTIONS.replace("-cycles 3", "-cycles 1"))
    answers = Expert(rollout, tmp_path / "out", 1)

    def pause():
        if answers.answered.get(0, 0) < 4:
            answers()
        else:
            change.main(["-d", "601", "-share", "0.6"])

    watched(monkeypatch, pause)
    assert members == [(0, 0), (0, 1)]


def _waits(folders: dict[str, str], sign) -> None:
    os.environ.update(folders)
    from nnactive_ext.nnunet import environment

    environment.check_torchvision = lambda: None
    Tools.of_nnunet = lambda device: fake_tools(classes=3)

    def waiting(seconds):
        sign.set()
        time.sleep(0.05)

    watching.sleep = waiting
    command.main([*QUIET])


@pytest.mark.skipif(os.name == "nt", reason="needs fork, to start a command without importing nnU-Net anew")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_frees_everything(rollout, number, capfd):
    rollout.plan(OPTIONS)
    environment = {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}
    sign = PROCESSES.Event()
    process = PROCESSES.Process(target=_waits, args=(environment, sign))
    process.start()
    assert sign.wait(60)
    assert not holder(run_file(601)), "others may work while it waits"
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == 130
    with open_experiment(601).running():
        pass
    assert not list(rollout.experiment.raw.rglob(".nnactive_tmp_*"))
