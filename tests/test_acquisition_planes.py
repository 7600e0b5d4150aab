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
from rollouts import NUMBER, Rollout

from nnactive_ext.bench.clone import clone
from nnactive_ext.cli import change, plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import image_and_space, space_of
from nnactive_ext.intake.label_maps import on_lattice
from nnactive_ext.labelling.annotators import HumanAnnotator
from nnactive_ext.labelling.given import given_labels
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.nnunet.dataset import nnunet_folder
from nnactive_ext.planning import turned_like_pool

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
        grid = experiment.preprocessed.load(case)[1]
        assert sorted(grid.network_shape) == sorted(grid.crop_size), "voxels were interpolated"
        np.testing.assert_allclose(np.array(geometry.spacing)[transpose], mm, rtol=1e-4)


def assert_same_place(made: Rollout, case: str, experiment: Experiment | None = None) -> None:
    """The array that is trained on shows, at each place in the patient, what the user's own file shows there."""
    experiment = experiment or made.experiment
    ours = sitk.ReadImage(str(experiment.dataset.entries[case].images[0]))
    theirs = sitk.ReadImage(str(made.images / f"{case}.nii.gz"))
    assert sorted(ours.GetSize()) == sorted(theirs.GetSize())
    back = sitk.Resample(ours, theirs, sitk.Transform(), sitk.sitkNearestNeighbor, -1)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_simulation_plans_slices(kind, nnunet_folders, capsys):
    make, mm = KINDS[kind]
    cases = make()
    experiment = simulation(cases)
    thick = max(next(iter(cases.values())).spacing)
    assert_planned_as_slices(experiment, (thick, mm, mm))
    warned = "nnUNetv2_predict does not turn images" in " ".join(capsys.readouterr().out.split())
    assert warned == bool(experiment.plan.turned)


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


def test_patches_points_and_label_maps_of_turned_copies(nnunet_folders, tmp_path):
    """Before nnU-Net plans: points are voxels of the user's own files, label maps lie on them, and answers come back."""
    made = rollout(hearts([(0, 1, 2), (1, 0, 2), (2, 1, 0)]), tmp_path)
    plan = made.experiment.plan
    assert 0 < len(plan.turned) < len(plan.pool)
    marked = {}
    for case in plan.pool:
        anatomy = sitk.ReadImage(str(made.label(case)))
        inside = np.argwhere(sitk.GetArrayFromImage(anatomy) == 3)
        marked[case] = inside[len(inside) // 3][::-1].tolist()
    table = tmp_path / "points.csv"
    rows = [f"{case},right_ventricle,{i},{j},{k}" for case, (i, j, k) in marked.items()]
    table.write_text("\n".join(["case,class,i,j,k", *rows]) + "\n")
    made.annotate(f"points {table}")
    answered(made, tmp_path / "out")
    experiment = made.experiment
    annotator = HumanAnnotator(experiment)
    for case in plan.pool:
        patches = [patch for patch in experiment.annotated_patches() if patch.case == case]
        partial, _ = annotator.annotate(case, patches)
        space = space_of(experiment, case)
        theirs = sitk.ReadImage(str(made.label(case)))
        anatomy = on_lattice(made.label(case), dict(experiment.dataset.labels.names), space)
        annotated = partial != experiment.dataset.labels.ignore
        np.testing.assert_array_equal(partial[annotated], anatomy[annotated])
        there = space.to_index(theirs.TransformIndexToPhysicalPoint(marked[case]))
        voxel = tuple(round(at) for at in there)
        assert np.abs(np.subtract(voxel, there)).max() < 0.01
        assert annotated[voxel], case
        assert anatomy[voxel] == 3


def test_label_maps_from_the_start_lie_on_turned_copies(nnunet_folders, tmp_path):
    cases = hearts([(1, 0, 2), (0, 1, 2), (2, 1, 0)])
    options = f"-label_maps {tmp_path / 'anatomy'} -patch_size 8mm 20mm 20mm -starting_budget 3"
    made = rollout(cases, tmp_path, options)
    experiment = made.experiment
    for case in experiment.plan.pool:
        expected = on_lattice(made.label(case), dict(experiment.dataset.labels.names), space_of(experiment, case))
        np.testing.assert_array_equal(given_labels(experiment, case), expected)
        assert experiment.plan.pool[case].shape == expected.shape
        assert experiment.plan.pool[case].spacing[0] == 8


@pytest.mark.parametrize("turned", [True, False])
def test_images_that_come_later_are_turned_like_the_pool(turned, nnunet_folders, tmp_path):
    """In a pool with turned copies, and in one whose images are all stored alike: theirs have another orientation."""
    orders = [(0, 1, 2), (1, 0, 2), (2, 1, 0)] if turned else [(0, 1, 2)]
    made = rollout(hearts(orders, FLIPS if turned else FLIPS[:1]), tmp_path)
    assert bool(made.experiment.plan.turned) == turned
    later = {f"late_{i}": cardiac(50 + i, NORMALS[0]).stored((1, 2, 0), FLIPS[3 + i]) for i in range(2)}
    later["late_2"] = cardiac(60, NORMALS[0])
    second = Rollout(phantoms.write_folder(tmp_path / "later", later, tmp_path / "later_anatomy"), tmp_path)
    command = f"-d {NUMBER} -who boss -add {second.images} --disable_progress_bar".split()
    change.main(command)
    change.main(command)  # as after a kill
    experiment = made.experiment
    assert {"late_0", "late_1"} <= set(experiment.plan.turned)
    assert len(experiment.plan.changes) == 1
    frames = {case: np.reshape(space_of(experiment, case).direction, (3, 3)) for case in (*later, "heart_0")}
    for case in later:
        assert experiment.plan.pool[case].spacing == (8, 1.25, 1.25)
        assert_same_place(second, case, made.experiment)
        assert (frames[case] * frames["heart_0"]).sum(0).min() > 0.7
        image, warnings = turned_like_pool(experiment, sitk.ReadImage(str(second.images / f"{case}.nii.gz")))
        assert not warnings
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), image_and_space(experiment, case)[0][0])
    image, _ = image_and_space(experiment, "late_0")
    assert image.shape[1:] == experiment.plan.pool["late_0"].shape


@pytest.mark.slow
def test_a_simulation_with_test_cases_and_its_benchmark_copy(nnunet_folders, monkeypatch):
    """Reference labels of pool and test set lie on the turned images, also of what begins with the same cycle 0."""
    folder, cases = nnunet_folder("nnUNet_raw") / "Dataset040_Thick", hearts([(0, 1, 2), (1, 0, 2), (2, 1, 0)])
    tests = {f"test_{i}": cardiac(70 + i, NORMALS[i]).stored((2, 0, 1), FLIPS[i]) for i in range(2)}
    phantoms.write_raw(folder, tests)
    for name in ("images", "labels"):
        (folder / f"{name}Tr").rename(folder / f"{name}Ts")
    before = simulation(cases)
    assert before.plan.test == ("test_0", "test_1")
    monkeypatch.setattr("nnactive_ext.bench.clone._results", lambda *_: None)  # there are no members yet
    made = clone(before, 42, {"dataset": "Dataset042_Thick"})
    for experiment in (before, made):
        assert experiment.source.name == "Dataset040_Thick"
        for case in experiment.source.cases.values():
            image, properties = experiment.source.reader_writer.read_images([str(file) for file in case.images])
            labels, _ = experiment.source.reader_writer.read_seg(str(case.label))
            anatomy = {**cases, **tests}[case.name]
            assert labels.shape == image.shape
            assert properties["spacing"][0] == 8
            assert np.bincount(labels.astype(int).ravel()).tolist() == np.bincount(anatomy.labels.ravel()).tolist()
            assert set(image[labels == 2].tolist()) == set(anatomy.channels[0][anatomy.labels == 2].tolist())
        assert [case.name for case in experiment.test_cases()] == ["test_0", "test_1"]
        assert open_experiment(experiment.name).plan.turned == before.plan.turned


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
