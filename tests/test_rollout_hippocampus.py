"""A roll-out on real MRIs treated as unlabelled: images in a plain folder, an expert who sees only exported tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scripted_expert as expert
from rollouts import NUMBER, Rollout, assert_simulated, of_hippocampus

from nnactive_ext.cli import run
from nnactive_ext.experiment.experiment import Experiment

pytestmark = pytest.mark.realdata
PLAN = (
    "--labels anterior posterior -channels MRI -structures anterior=20 posterior=18x20x20 -starting_budget 18 -query_size 8 "
    "-cycles 2 -folds 2 --preset cpu -np 1 --disable_progress_bar"
)


@pytest.fixture
def hospital(hippocampus: Path, tmp_path: Path, nnunet_folders, monkeypatch) -> Rollout:
    """16 real images in a plain folder; their label maps elsewhere."""
    monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e6)
    return of_hippocampus(hippocampus, tmp_path, 16)


def annotate_first_cycle(hospital: Rollout, folder: Path, capsys) -> None:
    """The starting budget: marked points, then every way to answer, one of them wrong and mended."""
    points = folder / "points.csv"
    points.write_text("case,class,i,j,k\n" + "".join(_points(hospital, 6)))
    hospital.annotate(f"points {points}")
    seen = hospital.export(folder / "out")
    assert len(seen) >= 12
    expert.seg_nrrd(seen[0], np.random.default_rng(0))
    expert.full_size(seen[1], hospital.images / f"{seen[1].id.split('_', 2)[2]}.nii.gz")
    expert.in_place(seen[2])
    expert.half(seen[3])
    expert.outside(seen[4])
    wrong = expert.wrong_spacing(seen[5])
    for task in seen[6:]:
        expert.in_place(task)

    capsys.readouterr()
    with pytest.raises(SystemExit):
        hospital.annotate(f"import {folder / 'out'} -who anna --accept_unchanged")
    message = capsys.readouterr().err
    assert str(wrong) in message
    assert "spacing" in message
    hospital.annotate(f"import {seen[4].label} -who anna --accept_outside")  # most of what is painted lies outside
    hospital.annotate("close -share 0.8 --disable_progress_bar")
    assert_simulated(hospital, folder, left_out=[seen[3].id, seen[5].id])

    wrong.unlink()  # mended as the message says
    expert.in_place(seen[5])
    expert.in_place(seen[3])
    hospital.annotate(f"import {folder / 'out'} -who anna --accept_unchanged --disable_progress_bar")
    assert_simulated(hospital, folder)


def _points(hospital: Rollout, each: int) -> list[str]:
    """Voxels of each class that a person would click on."""
    import SimpleITK as sitk

    rng, lines = np.random.default_rng(0), []
    for value, name in ((1, "anterior"), (2, "posterior")):
        for file in sorted(hospital.anatomy.iterdir())[:each]:
            voxels = np.argwhere(sitk.GetArrayFromImage(sitk.ReadImage(str(file))) == value)
            z, y, x = voxels[rng.integers(len(voxels))]
            lines.append(f"{file.name.removesuffix('.nii.gz')},{name},{x},{y},{z}\n")
    return lines


def annotate_second_cycle(hospital: Rollout, folder: Path, more: str) -> None:
    rng = np.random.default_rng(1)
    for number, task in enumerate(hospital.export(folder / "out1", more)):
        expert.seg_nrrd(task, rng) if number % 2 else expert.in_place(task)
    hospital.annotate(f"import {folder / 'out1'} -who bert --accept_unchanged")


@pytest.mark.slow
def test_two_cycles(hospital, tmp_path, capsys):
    hospital.plan(PLAN)
    annotate_first_cycle(hospital, tmp_path, capsys)
    hospital.run()
    annotate_second_cycle(hospital, tmp_path, "--blank")
    hospital.run()
    assert hospital.experiment.state["cycle"] == 1
    assert_simulated(hospital, tmp_path)


@pytest.mark.long
def test_two_cycles_with_real_training(hospital, tmp_path, capsys):
    hospital.plan(PLAN)
    annotate_first_cycle(hospital, tmp_path, capsys)
    run.main(f"-d {NUMBER} -device cpu --disable_progress_bar".split())
    annotate_second_cycle(hospital, tmp_path, "-device cpu")
    run.main(f"-d {NUMBER} -device cpu --disable_progress_bar".split())
    experiment = Experiment.find(NUMBER)
    assert experiment.state["cycle"] == 1
    assert_simulated(hospital, tmp_path)
    for fold in experiment.folds():
        assert (experiment.model_folder / f"fold_{fold}" / "checkpoint_final.pth").is_file()
    # The classes were learnt: the members' prediction of a whole image overlaps with what is there.
    import SimpleITK as sitk

    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.metrics.overlap import dice_per_case

    case = next(iter(experiment.dataset.cases.values()))
    predicted = NnUNetEnsemble(experiment, experiment.folds(), "cpu").segment(case)
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(hospital.label(case.name))))
    dice = dice_per_case(predicted, truth, experiment.dataset.labels.classes)
    print(f"Dice of {case.name} after two cycles: {dice}")
    assert min(dice.values()) > 0.5
