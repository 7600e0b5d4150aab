"""Label maps of the size that was sent come back where they were, or are refused; much paint outside is a question."""

from __future__ import annotations

from collections.abc import Callable

import nibabel
import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from open_tasks import IGNORE, OpenTasks

from nnactive_ext.exchange.place import misplaced
from nnactive_ext.exchange.straying import doubt
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space

UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def moved(voxels: tuple[int, int, int]) -> Callable[[sitk.Image], None]:
    def change(image: sitk.Image) -> None:
        image.SetOrigin(image.TransformIndexToPhysicalPoint(voxels))

    return change


def lost(image: sitk.Image) -> None:
    image.SetOrigin((0, 0, 0))
    image.SetSpacing((1, 1, 1))
    image.SetDirection(UPRIGHT)


def lps_as_ras(image: sitk.Image) -> None:
    turn = np.diag([-1.0, -1.0, 1.0])
    image.SetOrigin((turn @ image.GetOrigin()).tolist())
    image.SetDirection((turn @ np.reshape(image.GetDirection(), (3, 3))).ravel().tolist())


def flipped(axis: int) -> Callable[[sitk.Image], None]:
    def change(image: sitk.Image) -> None:
        direction = np.reshape(image.GetDirection(), (3, 3)).copy()
        direction[:, axis] *= -1
        image.SetDirection(direction.ravel().tolist())

    return change


def respaced(image: sitk.Image) -> None:
    image.SetSpacing([1.1 * mm for mm in image.GetSpacing()])


WRONG = {
    "one voxel along x": moved((1, 0, 0)),
    "two voxels along y": moved((0, -2, 0)),
    "far": moved((40, 50, -60)),
    "geometry lost": lost,
    "LPS as RAS": lps_as_ras,
    "x flipped": flipped(0),
    "z flipped": flipped(2),
    "spacing changed": respaced,
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_of_the_size_that_was_sent_and_elsewhere_is_refused_whatever_the_options(tasks: OpenTasks, capsys, change):
    task = tasks.seen[2]
    image = sitk.GetImageFromArray(task.answer())
    image.CopyInformation(task.shown)
    change(image)
    sitk.WriteImage(image, str(task.label))
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(task.label, more="--accept_unchanged --accept_outside")
    assert str(task.label) in capsys.readouterr().err
    assert tasks.events() == []


def test_axes_in_another_order_are_refused_and_turned_with_their_voxels_are_taken(tasks: OpenTasks):
    task = tasks.seen[2]
    swapped = sitk.GetImageFromArray(task.answer().transpose(2, 1, 0).copy())
    swapped.SetOrigin(task.shown.GetOrigin())
    swapped.SetSpacing(task.shown.GetSpacing())
    swapped.SetDirection(task.shown.GetDirection())
    sitk.WriteImage(swapped, str(task.label))
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(task.label)
    task.write(task.answer())
    nibabel.save(nibabel.as_closest_canonical(nibabel.load(task.label)), task.folder / f"{task.id}_ras.nii.gz")
    tasks.hand_in(task.folder / f"{task.id}_ras.nii.gz")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def test_how_far_is_told_in_voxels_and_mm(tasks: OpenTasks, capsys):
    task = tasks.seen[3]
    image = sitk.GetImageFromArray(task.answer())
    image.CopyInformation(task.shown)
    moved((0, 2, -3))(image)
    sitk.WriteImage(image, str(task.label))
    with pytest.raises(SystemExit):
        tasks.hand_in(task.label)
    told = capsys.readouterr().err
    spacing = task.shown.GetSpacing()
    assert "(0, 2, -3) voxels" in told
    assert f"(0, {2 * spacing[1]:.4g}, {-3 * spacing[2]:.4g}) mm" in told


def test_exported_twice_with_other_margins_both_are_known(tasks: OpenTasks, tmp_path):
    (again,) = (task for task in tasks.export(tmp_path / "wide", "--blank -margin 7") if task.id == tasks.seen[2].id)
    for number, task in enumerate((tasks.seen[2], again)):
        image = sitk.GetImageFromArray(task.answer())
        image.CopyInformation(task.shown)
        moved((1, 0, 0))(image)
        file = tmp_path / f"{task.id}_{number}.nii.gz"
        sitk.WriteImage(image, str(file))
        with pytest.raises(SystemExit):
            tasks.hand_in(file)
    for task in (tasks.seen[2], again):
        tasks.hand_in(task.write(task.answer()))
    np.testing.assert_array_equal(tasks.counted(again), again.answer()[again.box])


@pytest.mark.parametrize("keep", ["task.json", "nothing"])
def test_tasks_that_an_older_commit_exported_are_checked_too(tasks: OpenTasks, keep):
    (tasks.experiment.annotation / "exported_crops.json").unlink()
    task = tasks.seen[2]
    if keep == "nothing":
        for file in tasks.out.glob("*/task.json"):
            file.unlink()
    task_file = task.write(task.answer())
    image = sitk.ReadImage(str(task_file))
    moved((0, 1, 0))(image)
    sitk.WriteImage(image, str(task_file))
    with pytest.raises(SystemExit):
        tasks.hand_in(task_file)
    tasks.hand_in(task.write(task.answer()))
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def test_a_whole_image_moved_by_a_voxel_is_refused(tasks: OpenTasks, tmp_path):
    task = tasks.seen[2]
    case = task.id.split("_", 2)[2]
    image = sitk.ReadImage(str(tasks.label(case)))
    moved((0, 1, 0))(image)
    file = tmp_path / f"{case}.nii.gz"
    sitk.WriteImage(image, str(file))
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(file)
    sitk.WriteImage(sitk.ReadImage(str(tasks.label(case))), str(file))
    tasks.hand_in(file)
    np.testing.assert_array_equal(tasks.counted(task), task.truth[task.box])


# Where it lies is right, but what is in it lies beside the patch.


def rolled(task: expert.Seen, voxels: tuple[int, int, int]) -> np.ndarray:
    """A full answer whose array was shifted, ``ignore`` coming in."""
    labels = task.answer()
    return np.roll(labels, voxels, (0, 1, 2))


@pytest.mark.parametrize("voxels", [(0, 0, 1), (0, -1, 0), (1, 1, -1), (0, 3, 2)])
def test_an_answer_that_lies_beside_the_patch_is_a_question(tasks: OpenTasks, capsys, voxels):
    task = tasks.seen[2]
    file = task.write(rolled(task, voxels))
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(more="--accept_unchanged")
    told = capsys.readouterr().err
    assert "--accept_outside" in told
    assert str(voxels[::-1]) in told
    assert tasks.counted(task) is None
    tasks.hand_in(file, more="--accept_outside")
    np.testing.assert_array_equal(tasks.counted(task), rolled(task, voxels)[task.box])
    tasks.hand_in()  # it is not asked twice


def test_a_little_paint_over_the_edge_is_a_footnote(tasks: OpenTasks, capsys):
    task = tasks.seen[2]
    labels = task.answer()
    z, y, x = task.box
    labels[z, y, x.stop] = np.where(np.indices(labels[z, y, x.stop].shape).sum(0) % 3 == 0, 1, IGNORE)
    stray = int((labels[z, y, x.stop] == 1).sum())
    tasks.hand_in(task.write(labels))
    assert f"{stray} labelled voxels outside" in capsys.readouterr().out
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def test_half_done_with_paint_over_the_edge_is_a_footnote(tasks: OpenTasks):
    task = tasks.seen[2]
    expert.half(task)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(task.label)))
    z, y, x = task.box
    labels[z.start - 1, y.start, x.start : x.start + 2] = 1
    labels[z.start, y.start, x.start - 1] = 2
    tasks.hand_in(task.write(labels))
    np.testing.assert_array_equal(tasks.counted(task), labels[task.box])


SIDE = 8
PATCH = Patch("", (8, 8, 8), (SIDE,) * 3)
RIM = Patch("", (7, 7, 7), (SIDE + 2,) * 3)


def drawn(inside: int, outside: int, frame: int = 9) -> np.ndarray:
    """So many labelled voxels in the patch and outside of it; ``frame`` is what surrounds the patch, 9 being ignore."""
    labels = np.full((24, 24, 24), frame)
    labels[PATCH.slices] = 0
    flat = labels[PATCH.slices].copy().ravel()
    flat[:inside] = 1
    labels[PATCH.slices] = flat.reshape(PATCH.size)
    corner = labels[:4].copy().ravel()
    corner[:outside] = 1
    labels[:4] = corner.reshape(labels[:4].shape)
    return labels


@pytest.mark.parametrize(
    ("inside", "outside", "frame", "asked"),
    [
        (100, 0, 0, False),
        (4, 9, 0, False),  # a slip of the brush
        (4, 10, 0, True),  # most of it lies outside
        (512, 64, 0, False),  # one face of the patch
        (512, 128, 0, False),  # a fifth
        (512, 129, 0, True),
        (100, 60, 0, False),  # more than a fifth, less than one face
        (100, 65, 0, True),
        (0, 128, 9, False),  # with the frame that was sent, background in the patch is an answer, too
        (0, 129, 9, True),
    ],
)
def test_how_much_outside_is_a_question(inside, outside, frame, asked):
    assert bool(doubt(drawn(inside, outside, frame), PATCH, 9)) == asked


def test_a_brush_that_overshoots_one_face_is_none_and_all_faces_is_one():
    labels = np.full((24, 24, 24), 9)
    labels[PATCH.slices] = 1
    one = labels.copy()
    one[8:16, 8:16, 16] = 1
    assert doubt(one, PATCH, 9) == ""
    labels[RIM.slices] = 1
    assert doubt(labels, PATCH, 9)


@pytest.mark.parametrize("turn", [UPRIGHT, (0.0, -1.0, 0.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0)])
def test_the_distance_is_along_the_axes_of_the_image(turn):
    image = Space((30, 32, 34), (0.5, 1.0, 2.0), (5.0, -7.0, 11.0), turn)
    crop = Patch("", (4, 5, 6), (10, 12, 14))
    there = image.crop(crop)
    assert misplaced(there, image, [("it", crop)]) == ""
    there = image.crop(Patch("", (4, 5, 7), crop.size))
    assert "(1, 0, 0) voxels, (0.5, 0, 0) mm" in misplaced(there, image, [("it", crop)])
    assert misplaced(image.crop(Patch("", (4, 5, 7), (10, 12, 13))), image, [("it", crop)]) == ""
