"""Thick slices stay slices: in plans of both paths, whatever their tilts and the stored order of their axes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import numpy as np
import phantoms
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from phantoms import NORMALS, Made, cardiac, thick_mri
from rollouts import Rollout

from nnactive_ext.cli import plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.nnunet.dataset import nnunet_folder

ORDERS = list(permutations(range(3)))
FLIPS = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]


def hearts(orders, flips=FLIPS) -> dict[str, Made]:
    """One of each tilt, stored with its axes in those orders in turn, and flipped."""
    made = [cardiac(i, normal, 8 + i % 3) for i, normal in enumerate(NORMALS)]
    stored = [heart.stored(orders[i % len(orders)], flips[i % len(flips)]) for i, heart in enumerate(made)]
    return {f"heart_{i}": heart for i, heart in enumerate(stored)}


def livers() -> dict[str, Made]:
    return {f"liver_{i}": thick_mri(i).stored(order, FLIPS[i]) for i, order in enumerate(ORDERS)}


KINDS = {
    "tilts alone": (lambda: hearts([(0, 1, 2)], [(False,) * 3]), 1.25),
    "slices first": (lambda: hearts([(2, 1, 0)], [(False,) * 3]), 1.25),
    "slices last, in the middle and first": (lambda: hearts([(0, 1, 2), (1, 0, 2), (2, 1, 0)]), 1.25),
    "in-plane orders": (lambda: hearts([(0, 1, 2), (0, 2, 1)]), 1.25),
    "six orders": (livers, 1.6),
}


def simulation(cases: Mapping[str, Made], options: str = "") -> Experiment:
    phantoms.write_raw(nnunet_folder("nnUNet_raw") / "Dataset040_Thick", cases)
    words = "-d 40 -o 41 -cycles 1 -folds 2 -starting_budget 4 -query_size 2 -np 1 --disable_progress_bar"
    plan.main([*words.split(), *options.split()])
    return Experiment.find(41)


def rollout(cases: Mapping[str, Made], folder: Path, options: str = "") -> Rollout:
    images = phantoms.write_folder(folder / "images", cases, folder / "anatomy")
    made = Rollout(images, folder / "anatomy")
    names = " ".join(next(iter(cases.values())).names)
    words = f"--labels {names} -cycles 2 -folds 2 -query_size 2 -np 1 --disable_progress_bar {options}"
    made.plan(words if "-patch_size" in options else f"{words} -starting_budget 5 -patch_size 16mm 20mm 20mm")
    return made


def answered(made: Rollout, folder: Path) -> None:
    """By an expert who saves files with their axes in many orders."""
    for number, task in enumerate(made.export(folder)):
        if number % 3 == 0:
            expert.in_place(task)
        elif number % 3 == 1:
            expert.full_size(task, made.label(task.id.split("_", 2)[2]))
        else:
            labels = sitk.GetImageFromArray(task.answer())
            labels.CopyInformation(task.shown)
            sitk.WriteImage(sitk.DICOMOrient(labels, "SAR"), str(task.folder / f"{task.id}_turned.nrrd"), True)
    made.annotate(f"import {folder} -who anna --disable_progress_bar")


def assert_planned_as_slices(experiment: Experiment, mm: tuple[float, float, float]) -> None:
    plans = experiment.preprocessed.plans
    transpose, network = plans["transpose_forward"], plans["configurations"]["3d_fullres"]["spacing"]
    np.testing.assert_allclose(np.array(plans["original_median_spacing_after_transp"]), mm, rtol=1e-4)
    np.testing.assert_allclose(network, mm, rtol=1e-4)
    for case, geometry in experiment.plan.pool.items():
        image, grid = experiment.preprocessed.load(case)
        assert sorted(grid.network_shape) == sorted(grid.crop_size), "voxels were interpolated"
        np.testing.assert_allclose(np.array(geometry.spacing)[transpose], mm, rtol=1e-4)


def assert_same_place(made: Rollout, case: str) -> None:
    """The array that is trained on shows, at each place in the patient, what the user's own file shows there."""
    experiment = made.experiment
    ours = sitk.ReadImage(str(experiment.dataset.entries[case].images[0]))
    theirs = sitk.ReadImage(str(made.images / f"{case}.nii.gz"))
    assert sorted(ours.GetSize()) == sorted(theirs.GetSize())
    back = sitk.Resample(ours, theirs, sitk.Transform(), sitk.sitkNearestNeighbor, -1)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_simulation_plans_slices(kind, nnunet_folders):
    make, mm = KINDS[kind]
    cases = make()
    experiment = simulation(cases)
    thick = max(next(iter(cases.values())).spacing)
    assert_planned_as_slices(experiment, (thick, mm, mm))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_rollout_plans_slices_and_patches_come_back_to_their_voxels(kind, nnunet_folders, tmp_path):
    make, mm = KINDS[kind]
    cases = make()
    before = {name: made.channels[0].copy() for name, made in cases.items()}
    made = rollout(cases, tmp_path)
    for case in cases:
        assert_same_place(made, case)
    answered(made, tmp_path / "out")
    made.annotate("close --disable_progress_bar")
    thick = max(next(iter(cases.values())).spacing)
    assert_planned_as_slices(made.experiment, (thick, mm, mm))
    assert_right(made)
    for name, image in before.items():
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(made.images / f"{name}.nii.gz"))), image)


def assert_right(made: Rollout) -> None:
    """What is annotated is the anatomy there, voxel for voxel, on the grid of the user's own label maps."""
    experiment, seen = made.experiment, 0
    ignore = experiment.dataset.labels.ignore
    for case in experiment.plan.pool:
        anatomy = sitk.ReadImage(str(made.label(case)))
        label = sitk.ReadImage(str(experiment.raw / "labelsTr" / f"{case}.nii.gz"))
        found = sitk.GetArrayFromImage(sitk.Resample(label, anatomy, sitk.Transform(), sitk.sitkNearestNeighbor, 255))
        assert (found != 255).all()
        annotated = found != ignore
        np.testing.assert_array_equal(found[annotated], sitk.GetArrayFromImage(anatomy)[annotated])
        patches = [patch for patch in experiment.annotated_patches() if patch.case == case]
        assert annotated.sum() == sum(patch.voxels for patch in patches)
        seen += annotated.sum()
    assert seen
