"""Label maps that were there before, dense, partial, by names, stored otherwise: used as they are, never asked for again."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from rollouts import OPTIONS, Rollout

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.spaces import space_and_properties
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.given import boxes_of, given_cases, given_labels, given_patches, keep_given
from nnactive_ext.labelling.tasks import all_tasks, tasks_of

IGNORE = 3
BOX = Patch("tiny_2", (8, 8, 3), (9, 10, 8))
"""What is labelled of the partly labelled case, about a quarter of it."""
WITHOUT_BUDGET = OPTIONS.replace("-starting_budget 6 ", "")


def write_as_slicer(truth: sitk.Image, file: Path) -> None:
    """Segments called organ and lesion with the other's values, the array cut to what is painted."""
    array = sitk.GetArrayFromImage(truth)
    found = np.argwhere(array)
    low, high = found.min(0), found.max(0) + 1
    cut = np.array([0, 2, 1], np.uint8)[array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]]
    axes = np.reshape(truth.GetDirection(), (3, 3)) * np.asarray(truth.GetSpacing())
    header = {
        "Segment0_ID": "a",
        "Segment0_Name": "lesion",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment1_ID": "b",
        "Segment1_Name": "Organ",
        "Segment1_LabelValue": "2",
        "Segment1_Layer": "0",
        "space": "left-posterior-superior",
        "space origin": np.asarray(truth.TransformIndexToPhysicalPoint(low[::-1].tolist())),
        "space directions": axes.T,
    }
    nrrd.write(str(file), cut.T, header, index_order="F")


@pytest.fixture
def given(rollout: Rollout, tmp_path: Path) -> Path:
    """A folder with label maps of five of the eight cases."""
    folder = tmp_path / "label maps"
    folder.mkdir()
    for case in ("tiny_0", "tiny_1"):
        shutil.copy(rollout.label(case), folder)
    truth = sitk.ReadImage(str(rollout.label("tiny_2")))
    partial = np.full(sitk.GetArrayViewFromImage(truth).shape, IGNORE, np.uint8)
    partial[BOX.slices] = sitk.GetArrayFromImage(truth)[BOX.slices]
    image = sitk.GetImageFromArray(partial)
    image.CopyInformation(truth)
    sitk.WriteImage(image, str(folder / "tiny_2.nii.gz"))
    write_as_slicer(sitk.ReadImage(str(rollout.label("tiny_3"))), folder / "tiny_3.seg.nrrd")
    sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(rollout.label("tiny_4"))), "SAR"), str(folder / "tiny_4.mha"))
    return folder


def plan(rollout: Rollout, folder: Path, options: str = WITHOUT_BUDGET) -> Experiment:
    from nnactive_ext.cli import plan as command

    words = ["-i", str(rollout.images), "-o", "601", "-name", "Tiny", "-label_maps", str(folder), *options.split()]
    command.main(words)
    return rollout.experiment


def expected(rollout: Rollout, case: str) -> np.ndarray:
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(rollout.label(case))))
    labels = np.full(truth.shape, IGNORE, np.uint8)
    if case in ("tiny_0", "tiny_1", "tiny_3", "tiny_4"):
        labels[...] = truth
    elif case == "tiny_2":
        labels[BOX.slices] = truth[BOX.slices]
    return labels


def assert_labels(rollout: Rollout, annotated=()) -> None:
    """The partial labels are the given ones, and the anatomy in ``annotated`` patches; on the images' own grids."""
    experiment = rollout.experiment
    for case in experiment.plan.pool:
        labels = expected(rollout, case)
        truth = sitk.ReadImage(str(rollout.label(case)))
        for patch in annotated:
            if patch.case == case:
                labels[patch.slices] = sitk.GetArrayFromImage(truth)[patch.slices]
        written = sitk.ReadImage(str(experiment.raw / "labelsTr" / f"{case}.nii.gz"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), labels, err_msg=case)
        np.testing.assert_allclose(written.GetOrigin(), truth.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(written.GetDirection(), truth.GetDirection(), atol=1e-6)


def test_enough_of_them_and_training_starts_at_once(rollout, given, tmp_path, capsys):
    """No starting budget, no task of cycle 0, and no query of what is labelled; answers come beside them."""
    experiment = plan(rollout, given)
    assert any("no starting budget is needed" in why for _, _, why in experiment.plan.decisions)
    assert "Next: nnactive_run -d 601" in capsys.readouterr().out
    assert experiment.plan.starting_budget == 0
    assert tasks_of(experiment, 0) == []
    assert given_cases(experiment) == [f"tiny_{i}" for i in range(5)]
    assert BOX in given_patches(experiment)
    assert_labels(rollout)

    rollout.run()
    experiment = rollout.experiment
    assert experiment.state["cycle"] == 0
    assert set(experiment.state["annotated"]) == {f"tiny_{i}" for i in range(5)}
    assert sum(experiment.state["annotated"]["tiny_2"].values()) == BOX.voxels
    rng = np.random.default_rng(0)
    for cycle in (1, 2):
        asked = [task.patch for task in tasks_of(experiment, cycle)]
        assert len(asked) == experiment.plan.query_size
        assert not any(patch.overlaps_any(given_patches(experiment)) for patch in asked)
        assert {patch.case for patch in asked} <= {"tiny_2", "tiny_5", "tiny_6", "tiny_7"}
        answer(rollout, tmp_path / f"out{cycle}", rng)
        rollout.run()
        experiment = rollout.experiment
        assert experiment.state["cycle"] == cycle
        assert_labels(rollout, [task.patch for task in all_tasks(experiment) if task.cycle <= cycle])


def answer(rollout: Rollout, folder: Path, rng) -> None:
    import scripted_expert as expert

    for number, task in enumerate(rollout.export(folder)):
        expert.seg_nrrd(task, rng) if number % 2 else expert.in_place(task)
    # A box that is background as it was exported is saved as the very same file.
    rollout.annotate(f"import {folder} -who anna --accept_unchanged --disable_progress_bar")


def test_beside_a_starting_budget(rollout, given, tmp_path):
    """Asked for all the same: the first boxes lie beside what is labelled, and both are trained on."""
    experiment = plan(rollout, given, OPTIONS)
    first = [task.patch for task in tasks_of(experiment, 0)]
    assert first
    assert not any(patch.overlaps_any(given_patches(experiment)) for patch in first)
    answer(rollout, tmp_path / "out", np.random.default_rng(0))
    rollout.annotate("close --disable_progress_bar")
    assert_labels(rollout, first)


@pytest.mark.parametrize("more", ["--blank", ""])
def test_they_show_in_boxes_around_points_that_lie_at_them(rollout, given, tmp_path, more):
    """Whoever answers such a box sees what is labelled in it, and does not overwrite it unseen."""
    experiment = plan(rollout, given, OPTIONS)
    points = tmp_path / "points.csv"
    whole = expected(rollout, "tiny_2")
    near = np.full(whole.shape, IGNORE)  # of what is labelled, slices from which a box reaches beyond it
    edge = (slice(BOX.stop[0] - 2, BOX.stop[0]), *BOX.slices[1:])
    near[edge] = whole[edge]
    z, y, x = np.argwhere(near == 1)[0]
    points.write_text(f"case,class,i,j,k\ntiny_2,organ,{x},{y},{z}\n")
    rollout.annotate(f"points {points}")
    task = tasks_of(experiment, 0)[-1]
    known = whole[task.patch.slices]
    assert 0 < (known == IGNORE).sum() < known.size
    assert (known[known != IGNORE] != 0).any()
    (seen,) = (seen for seen in rollout.export(tmp_path / "out", more) if seen.id == task.id)
    shown = sitk.GetArrayFromImage(seen.shown)
    np.testing.assert_array_equal(shown[seen.box], np.where(known == IGNORE, 0, known))
    shown[seen.box] = IGNORE
    assert (shown == IGNORE).all()


@pytest.mark.parametrize("how", ["cut", "cut and packed again", "gone"])
def test_a_kept_one_that_is_damaged_is_told(rollout, given, how):
    """ITK takes what a file cut short lacks for zeros: background that nobody labelled."""
    experiment = plan(rollout, given)
    file = experiment.annotation / "given" / "tiny_1.nii.gz"
    np.testing.assert_array_equal(given_labels(experiment, "tiny_1"), expected(rollout, "tiny_1"))
    content = file.read_bytes()
    voxels = gzip.decompress(content)
    damaged = {"cut": content[: len(content) // 2], "gone": b""}
    file.write_bytes(damaged.get(how, gzip.compress(voxels[: len(voxels) // 2])))
    with pytest.raises(NnActiveError, match=r"tiny_1\.nii\.gz.*copy the label map of tiny_1 there anew"):
        given_labels(experiment, "tiny_1")
    file.write_bytes(content)
    np.testing.assert_array_equal(given_labels(experiment, "tiny_1"), expected(rollout, "tiny_1"))


@pytest.mark.skipif(os.name == "nt", reason="no limits on the size of files")
def test_one_that_does_not_fit_on_the_disk_is_told(rollout, given):
    import resource

    experiment = plan(rollout, given)
    file = experiment.annotation / "given" / "tiny_1.nii.gz"
    before = file.read_bytes()
    labels = np.random.default_rng(0).choice(3, expected(rollout, "tiny_1").shape).astype(np.uint8)
    space, limits = space_and_properties(experiment, "tiny_1")[0], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(NnActiveError, match=r"tiny_1\.nii\.gz.*space"):
            keep_given(experiment, "tiny_1", labels, space)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".nnactive_tmp_*"))


def test_too_few_of_them_leave_the_starting_budget(rollout, given):
    """Each class is in one label map only: the budget stays, and what is there is used."""
    for file in sorted(given.iterdir())[1:]:
        file.unlink()
    options = WITHOUT_BUDGET.replace("-query_size 4", "-query_size 6")
    experiment = plan(rollout, given, options)
    assert any("used as they are, beside the starting budget" in why for _, _, why in experiment.plan.decisions)
    assert experiment.plan.starting_budget == experiment.plan.query_size == 6
    assert given_cases(experiment) == ["tiny_0"]


@pytest.mark.parametrize(
    ("what", "words"),
    [("shifted", "its origin"), ("cut", "covers only a part"), ("value", "no label of the dataset"), ("name", "to no case")],
)
def test_one_that_does_not_fit_makes_no_experiment(rollout, given, capsys, what, words):
    file = given / "tiny_1.nii.gz"
    image = sitk.ReadImage(str(file))
    if what == "shifted":
        image.SetOrigin([v + 0.5 for v in image.GetOrigin()])
    elif what == "cut":
        image = image[:, :-1, :]
    elif what == "value":
        image = image * 3
    else:
        file = given / "tiny_11.nii.gz"
    sitk.WriteImage(image, str(file))
    with pytest.raises(SystemExit):
        plan(rollout, given)
    said = capsys.readouterr().err
    assert str(file) in said
    assert words in said
    with pytest.raises(Exception, match="no dataset with the number 601"):
        _ = rollout.experiment


def test_which_regions_are_not_asked_for_again():
    """Two boxes and a whole slice are; a diagonal line, which hardly fills its box, is not."""
    labels = np.full((12, 12, 12), IGNORE, np.uint8)
    labels[0] = 0
    labels[3:6, 2:5, 1:4] = 1
    labels[3:6, 8:10, 1:4] = 2
    for i in range(7, 11):  # each voxel shares a face with the next
        labels[i, i, i : i + 2] = 0
        labels[i, i + 1, i + 1] = 0
    found = boxes_of("a", labels, IGNORE)
    assert found == [
        Patch("a", (0, 0, 0), (1, 12, 12)),
        Patch("a", (3, 2, 1), (3, 3, 3)),
        Patch("a", (3, 8, 1), (3, 2, 3)),
    ]
