"""New images where the experiment is not at hand: a model folder and an exported reference, in a process that knows no more."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys

import pytest
import SimpleITK as sitk
from test_intake_dicom import write_series
from test_member_kinds_run import QUIET, typed  # noqa: F401
from typed import QUICK

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.members.training import train_member

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")]
TRAINER = "nnActiveTrainer_1epochs_NoMirroring"


@pytest.mark.usefixtures("tiny")
def test_held_out_images_through_a_reference_without_folders_and_experiment(typed, tmp_path, monkeypatch):  # noqa: F811
    typed(
        "nnactive_plan -d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 1 --preset cpu -np 1 "
        f"-folds 2 -tr {TRAINER} --disable_progress_bar"
    )
    experiment = Experiment.find(101)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    for fold in (0, 1):
        train_member(experiment, fold, "cpu")
    (images := tmp_path / "new").mkdir()
    case = experiment.test_cases()[0]
    for channel, file in enumerate(case.images):
        shutil.copy(file, images / f"held_out_{channel:04d}.nii.gz")
    (images / "broken_0000.nii.gz").write_bytes(case.images[0].read_bytes()[:200])
    for channel in ("T1", "T2"):
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(case.images[channel == "T2"])))
        write_series(images / "patient" / channel, voxels.astype(int))
    options = f"-reference all -windows 8 -scores geometry histogram knn disagreement msp {QUIET}"
    typed(f"nnactive_screen -d 101 {options} --export_reference {tmp_path / 'reference.npz'}")
    typed(f"nnactive_screen -d 101 {options} -i {images} -o {tmp_path / 'here'}")
    model = tmp_path / "elsewhere" / "model"
    shutil.copytree(experiment.model_folder, model)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        shutil.rmtree(os.environ[name])
    words = ["-m", "nnactive_ext.cli.screen", "-reference", tmp_path / "reference.npz", "-m", model, "-i", images, "-o", "out"]
    unset = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    done = subprocess.run(
        [sys.executable, *map(str, words), "-device", "cpu", "--disable_progress_bar", "--fail_if_flagged"],
        cwd=model.parent,
        env=unset,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "1 image could not be screened" in done.stdout
    here, there = (rows(folder / "screening.csv") for folder in (tmp_path / "here", model.parent / "out"))
    assert sorted(here) == sorted(there) == ["broken", "held_out", "patient"]
    for name in ("held_out", "patient"):
        assert here[name]["by"] == there[name]["by"]
        for score in ("geometry", "histogram", "knn", "disagreement", "msp"):
            assert float(there[name][score]) == pytest.approx(float(here[name][score]), rel=5e-3, abs=1e-4), (name, score)
    page = (model.parent / "out" / "screening.html").read_text(encoding="utf-8")
    assert not any(case in page for case in experiment.plan.pool), "a name of the pool is in the page"


def rows(file) -> dict[str, dict[str, str]]:
    with open(file, encoding="utf-8") as handle:
        return {row["case"]: row for row in csv.DictReader(handle)}
