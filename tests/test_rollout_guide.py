"""docs/rollout.md, typed in order: each command of its numbered sections does what the page says, on made-up CTs."""

from __future__ import annotations

import glob
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from fake_members import fake_tools
from stock import Stock

from nnactive_ext.cli import phantom
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.loop.cycles import run_cycles

PAGE = Path(__file__).parent.parent / "docs" / "rollout.md"
CLASSES = {1: "liver", 2: "vessel", 3: "tumour"}


def lines() -> list[str]:
    """The commands of ours in the sections 1 to 7, in order."""
    numbered = PAGE.read_text(encoding="utf-8").split("\n## 8.")[0]
    blocks = re.findall(r"```sh\n(.*?)```", numbered, re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("nnactive_")]


def last_blocks(language: str) -> list[list[str]]:
    """The lines of section 8, block by block."""
    section = PAGE.read_text(encoding="utf-8").split("\n## 8.")[1].split("\n## ")[0]
    blocks = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return [[line.split("  #")[0].rstrip() for line in block.splitlines()] for block in blocks]


@pytest.fixture
def hospital(nnunet_folders, tmp_path, monkeypatch) -> Path:
    """A folder with ``cts``, ``new_cts`` and ``points.csv``; the label maps (as organ, vessel, lesion) lie in ``anatomy``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e6)
    phantom.main("-d 900 -n 8".split())
    raw = next(nnunet_folders.raw.glob("Dataset900_*"))
    for name in ("cts", "new_cts", "anatomy"):
        (tmp_path / name).mkdir()
    for number, file in enumerate(sorted((raw / "imagesTr").iterdir())):
        case = file.name.replace("phantom", "patient").replace("_0000", "")
        shutil.copy(file, tmp_path / ("cts" if number < 7 else "new_cts") / case)
        shutil.copy(raw / "labelsTr" / file.name.replace("_0000", ""), tmp_path / "anatomy" / case)
    shutil.rmtree(raw)
    _mark(tmp_path, sorted((tmp_path / "cts").iterdir()))
    return tmp_path


def _mark(folder: Path, files: list[Path]) -> None:
    """Two points of each class, as a person clicks them."""
    rng, rows = np.random.default_rng(0), ["case,class,i,j,k"]
    for value, name in CLASSES.items():
        shown = [(f, sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "anatomy" / f.name)))) for f in files]
        for file, labels in [(f, a) for f, a in shown if (a == value).any()][:2]:
            z, y, x = rng.choice(np.argwhere(labels == value))
            rows.append(f"{file.name.removesuffix('.nii.gz')},{name},{x},{y},{z}")
    (folder / "points.csv").write_text("\n".join(rows) + "\n")


def _type(line: str) -> None:
    command, *words = shlex.split(line)
    words = [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]
    importlib.import_module(f"nnactive_ext.cli.{command.removeprefix('nnactive_')}").main(words)


def _answer(folder: Path) -> None:
    for task in expert.look(folder, lambda case: Path("anatomy") / f"{case}.nii.gz"):
        expert.in_place(task)


def _follow(commands: list[str], run, small: str) -> Experiment:
    for line in commands:
        if line.startswith("nnactive_plan"):
            _type(f"{line} {small} --disable_progress_bar")
        elif "--watch" in line:
            continue  # it waits for people: test_watch.py
        elif line.startswith("nnactive_run"):
            run()
        else:
            _type(line)
        if "export" in line and "--pseudonyms" not in line:  # whose cases the expert's reference does not know
            _answer(Path(line.split()[-1]))
    return Experiment.find(601)


def _check(experiment: Experiment) -> None:
    assert experiment.state["cycle"] == 1
    assert experiment.last_loop == 2, "the next boxes are not chosen"
    assert (experiment.plan.cycles, experiment.plan.expert, experiment.plan.seed) == (6, "bert", 7)
    assert "patient_003" not in experiment.plan.pool
    assert "patient_007" in experiment.plan.pool
    ledger = [line for line in (experiment.annotation / "ledger.jsonl").read_text().splitlines() if '"withdraw"' in line]
    assert len(ledger) == 1
    answered = set(read_json(experiment.preprocessed.folder / "nnactive_state.json")["annotated"])
    assert answered
    assert answered <= set(experiment.plan.pool)


SMALL = "-starting_budget 12 -query_size 4 -folds 2 --preset cpu -np 1"
TRAINER = "nnActiveTrainer_1epochs_NoMirroring"
QUICK = {"nnactive_iterations_per_epoch": "2", "nnactive_val_iterations_per_epoch": "1", "nnUNet_n_proc_DA": "0"}
FOLDS = "-f 0 1 2 3 4"
"""On the page; here are two."""


@pytest.mark.slow
def test_the_guide(hospital, monkeypatch):
    # A prediction needs real members; the next test has them.
    commands = [f"{line} --blank" if " -o tasks_1" in line else line for line in lines()]
    commands = [line.replace(" -o tasks_1 --blank", " --blank -o tasks_1") for line in commands]

    def run() -> None:
        experiment = Experiment.find(601)
        with experiment.lock():
            run_cycles(experiment, fake_tools(), progress=False, say=lambda text: None)

    _check(_follow(commands, run, SMALL))


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")
def test_the_guide_with_real_training(hospital, monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    commands = [line.replace("export", "export -device cpu") for line in lines()]

    def run() -> None:
        _type("nnactive_run -d 601 -device cpu --disable_progress_bar")

    experiment = _follow(commands, run, f"{SMALL} -tr {TRAINER}")
    _check(experiment)
    leave, elsewhere, here = last_blocks("sh")
    for line in leave:
        _type(f"{line} -device cpu" if "labels" in line else line)
    _check_labels(experiment)
    Path("new_cts_nnunet").mkdir()
    exec("\n".join(last_blocks("python")[0]).replace("patient_9", "patient_007"), {})
    predicted = [_elsewhere(elsewhere), _here(here)]
    assert predicted[0].shape == sitk.GetArrayFromImage(sitk.ReadImage("new_cts_nnunet/patient_007_0000.nii.gz")).shape
    np.testing.assert_array_equal(*predicted)


def _check_labels(experiment: Experiment) -> None:
    """Of all images, on their own voxels; what the expert annotated is kept."""
    files = sorted(Path("labels").glob("*.nii.gz"))
    assert [file.name for file in files] == sorted(f"{case}.nii.gz" for case in experiment.plan.pool)
    ignore, kept = experiment.dataset.labels.ignore, 0
    for file in files:
        case = file.name.removesuffix(".nii.gz")
        own = next(folder / file.name for folder in (Path("cts"), Path("new_cts")) if (folder / file.name).is_file())
        labels, from_expert = (sitk.ReadImage(str(f)) for f in (file, file.parent / "from_expert" / file.name))
        for found in (labels, from_expert):
            found.CopyInformation(sitk.ReadImage(str(own)))  # an error if it has another size
        known = experiment.dataset.label_map(case)
        if case not in experiment.plan.turned:
            annotated = known != ignore
            np.testing.assert_array_equal(sitk.GetArrayFromImage(from_expert), annotated)
            np.testing.assert_array_equal(sitk.GetArrayFromImage(labels)[annotated], known[annotated])
        kept += int(sitk.GetArrayFromImage(from_expert).sum() == (known != ignore).sum() > 0)
    assert kept >= 2


def _elsewhere(typed: list[str]) -> np.ndarray:
    """What nnU-Net predicts without this package."""
    stock, here = Stock(Path("stock").absolute()), Path.cwd()
    install, predict = (shlex.split(line) for line in typed)
    stock.typed(install[0], f"{here / install[1]}")
    words = " ".join(predict[1:]).replace("FOLDER", f"{here}/new_cts_nnunet").replace("PREDICTED", f"{here}/elsewhere")
    stock.typed(predict[0], f"{words.replace(FOLDS, '-f 0 1')} -device cpu -npp 1 -nps 1")
    return sitk.GetArrayFromImage(sitk.ReadImage("elsewhere/patient_007.nii.gz"))


def _here(typed: list[str]) -> np.ndarray:
    """What nnU-Net predicts with our trainer."""
    *others, predict = typed
    assert predict.endswith("-tr nnActiveTrainer")
    predict = predict.replace(FOLDS, "-f 0 1").replace("-tr nnActiveTrainer", f"-tr {TRAINER} -device cpu -npp 1 -nps 1")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("nnUNet_extTrainer", None)
    script = "\n".join(["set -e", *others, predict])
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return sitk.GetArrayFromImage(sitk.ReadImage("predicted/patient_007.nii.gz"))
