"""What is printed last is what to do next, complete: one line, with the device; a missing GPU proposes the CPU."""

from __future__ import annotations

import shlex

import pytest
import scripted_expert
from fake_members import fake_tools
from printed import commands_in, understood
from rollout_states import POINTS
from rollouts import OPTIONS

from conftest import PLAN
from nnactive_ext.cli import annotate, change, plan, report, run, status
from nnactive_ext.experiment.commands import named_device
from nnactive_ext.members.tools import Tools

NO_PRESET = OPTIONS.replace("--preset cpu ", "")


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    named_device.set("")


@pytest.fixture
def quick_members(monkeypatch):
    tools = fake_tools(classes=4)
    monkeypatch.setattr(Tools, "of_nnunet", lambda device: tools)


def last_line(capsys, main, words: str) -> str:
    """Of what a command prints: it begins with "Next:", no other line does, and its command can be parsed."""
    capsys.readouterr()
    main(shlex.split(words))
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line for line in lines if "Next:" in line] == lines[-1:], "\n".join(lines)
    assert lines[-1].startswith("Next: ")
    return understood(lines[-1].replace("FILE...", "a.csv"))[0]


@pytest.mark.usefixtures("without_gpu", "quick_members", "quick_planning")
@pytest.mark.parametrize("preset", ["--preset cpu", ""])
def test_a_simulation(tiny, capsys, preset):
    planning = PLAN.replace("-o 101", "-o 102").replace("--preset cpu", preset)
    typed = last_line(capsys, plan.main, planning)
    assert typed == "nnactive_run -d 102 -device cpu"
    typed = last_line(capsys, run.main, f"{typed.partition(' ')[2]} --disable_progress_bar")
    assert typed == "nnactive_report -d 102 -device cpu"
    assert last_line(capsys, change.main, "-d 102 -cycles 4 -who anna") == "nnactive_run -d 102 -device cpu"


@pytest.mark.usefixtures("without_gpu", "quick_members")
@pytest.mark.parametrize("options", [OPTIONS, NO_PRESET])
def test_a_rollout(rollout, tmp_path, capsys, options):
    """Every command that is printed is typed; those of the first cycle, and of the second after a run on the CPU."""
    planning = f"-i {rollout.images} -o 601 -name Tiny {options}".replace("-starting_budget 6", "-starting_budget 4")
    typed = last_line(capsys, plan.main, planning)
    assert typed == "nnactive_annotate serve -d 601 -device cpu"
    (tmp_path / "a.csv").write_text(POINTS)
    last_line(capsys, annotate.main, f"points -d 601 {tmp_path / 'a.csv'}")
    for task in rollout.export(tmp_path / "tasks"):
        scripted_expert.in_place(task)
    last_line(capsys, annotate.main, f"import -d 601 {tmp_path / 'tasks'} -who anna --accept_unchanged")
    last_line(capsys, annotate.main, "close -d 601 -share 0.5 --disable_progress_bar")
    typed = last_line(capsys, run.main, "-d 601 -device cpu --disable_progress_bar")
    assert typed == "nnactive_annotate serve -d 601 -device cpu"
    assert last_line(capsys, status.main, "-d 601") == typed


@pytest.mark.usefixtures("without_gpu", "quick_members")
@pytest.mark.parametrize(
    ("main", "words"),
    [
        (run.main, "-d 101"),
        (run.main, "-d 101 -device cuda --disable_progress_bar"),
        (report.main, "-d 101 -patches 3"),
        (report.main, "-d 101 -device=mps -o report.html"),
    ],
)
def test_a_missing_gpu_proposes_the_cpu(finished, capsys, main, words):
    with pytest.raises(SystemExit):
        main(words.split())
    (typed,) = commands_in(capsys.readouterr().err.rpartition("On the CPU: ")[2])
    assert typed.endswith("-device cpu")
    assert typed.count("-device") == 1
    assert understood(typed)


@pytest.mark.usefixtures("without_gpu")
def test_points_that_follow_an_export_are_exported_next(rollout, tmp_path, capsys):
    """The page of the export before does not show the tasks that the points add."""
    rollout.plan(OPTIONS)
    typed = last_line(capsys, annotate.main, "export -d 601 --disable_progress_bar")
    assert typed == "nnactive_annotate serve -d 601 -device cpu"
    (tmp_path / "a.csv").write_text(POINTS)
    capsys.readouterr()
    annotate.main(["points", "-d", "601", str(tmp_path / "a.csv")])
    assert "nnactive_annotate export -d 601" in capsys.readouterr().out
    typed = last_line(capsys, annotate.main, "export -d 601 --disable_progress_bar")
    assert typed.startswith("nnactive_annotate import")
