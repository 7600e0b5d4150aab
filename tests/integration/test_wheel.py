"""docs/tutorial.md, typed where only the built wheel is installed, with an expert who sends what the pages send."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from browser_commands import QUICK, printed, running
from built import build, install
from page_walker import Walker

from nnactive_ext import __version__
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results
from nnactive_ext.labelling.tasks import all_tasks

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("organ", "vessel", "lesion")
FEWER = {"nnactive_iterations_per_epoch": "1", "nnactive_val_iterations_per_epoch": "1", **QUICK}
"""Where a training is as short as can be, and else as in the tutorial."""


def shown() -> list[str]:
    """Our commands of the tutorial, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("nnactive_")]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the wheel's commands; folders and variables as section 2 of the tutorial makes them."""
    build(ROOT, tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    commands = install(wheel, tmp_path / "env")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    for name in ("raw", "preprocessed", "results"):
        (home / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(home / name))
    for name in ("PYTHONPATH", "nnUNet_extTrainer"):
        monkeypatch.delenv(name, raising=False)
    for name, value in FEWER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    return commands


def typed(commands: Path, *words: str | Path) -> str:
    done = subprocess.run([commands / words[0], *words[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def anatomy(case: str) -> Path:
    return Path("raw/Dataset900_Phantom/labelsTr", f"{case}.nii.gz")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the server ends by SIGINT")
def test_the_tutorial_from_the_wheel(commands, tmp_path):
    assert Path(typed(commands, "python", "-c", "import nnactive_ext as one; print(one.__file__)")).is_relative_to(tmp_path)
    assert __version__ in typed(commands, "nnactive_env", "--version")
    *before, serve = shown()[:3]
    for line in before:
        typed(commands, *shlex.split(line))
    with running(f"{serve} --no_browser", tmp_path / "serve.log", commands) as server:
        one = Walker.enter(printed(server, tmp_path / "serve.log", "http", 300).split()[-1], anatomy, tmp_path)
        one.mark(CLASSES, 2)
        first = one.answer()
        one.train("cycle 1")
        second = one.answer()
        one.train("All 2 cycles are done")
    experiment = Experiment.find(901)
    assert [result.cycle for result in read_results(experiment.results)] == [0, 1]
    tasks = all_tasks(experiment)
    assert sorted(first + second) == sorted(task.id for task in tasks)
    for task in tasks:
        labels, truth = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
            for file in (experiment.dataset.cases[task.patch.case].label, anatomy(task.patch.case))
        )
        np.testing.assert_array_equal(labels[task.patch.slices], truth[task.patch.slices], err_msg=task.id)
    after = [typed(commands, *shlex.split(line)) for line in shown()[3:]]
    assert len(after) == 2
    report = (experiment.results / "report.html").read_text(encoding="utf-8")
    assert "Dataset901_First" in report
    assert all(name in report for name in CLASSES)
