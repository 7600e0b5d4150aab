"""Answers that come back as one file for each class: combined where they are one answer, refused where they may not be."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from open_tasks import IGNORE, OpenTasks

from nnactive_ext.cli import annotate

CLASSES = {"organ": 1, "lesion": 2}


def answer(task: expert.Seen, seed: int = 0) -> np.ndarray:
    """Background, organ and lesion by chance in the patch, background around it, as masks can tell them."""
    labels = np.zeros(task.truth.shape, np.uint8)
    labels[task.box] = np.random.default_rng(seed).integers(0, 3, labels[task.box].shape)
    return labels


def masks(task: expert.Seen, labels: np.ndarray, name: str, stored: int = 1, classes=CLASSES) -> list[Path]:
    """A mask of each class; ``name`` says where, below the task's folder, with {task} and {cls}."""
    files = []
    for cls, value in classes.items():
        file = task.folder / name.format(task=task.id, cls=cls)
        file.parent.mkdir(parents=True, exist_ok=True)
        files.append(task.write(np.where(labels == value, stored, 0).astype(np.uint8), file))
    return files


def cut_by_slicer(task: expert.Seen, labels: np.ndarray, name: str) -> Path:
    """A segmentation of one class, cut to what it holds."""
    mask = sitk.GetImageFromArray((labels == CLASSES[name]).astype(np.uint8))
    mask.CopyInformation(task.shown)
    first, last = (edge(np.argwhere(labels == CLASSES[name]), axis=0)[::-1].tolist() for edge in (np.min, np.max))
    cut = mask[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))]
    for key, value in {"ID": "Segment_1", "Name": name, "Layer": "0", "LabelValue": "1"}.items():
        cut.SetMetaData(f"Segment0_{key}", value)
    file = task.folder / f"{task.id}_{name}.seg.nrrd"
    sitk.WriteImage(cut, str(file), True)
    return file


def refused(tasks: OpenTasks, capsys, *paths: Path, more: str = "") -> str:
    capsys.readouterr()
    before = len(tasks.events())
    with pytest.raises(SystemExit):
        tasks.hand_in(*paths, more=more)
    assert len(tasks.events()) == before
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("{task}_{cls}.nii.gz", 255),
        ("{task}-{cls}-mask.nrrd", 1),
        ("{task} {cls} (1).mha", 1),
        ("{cls}.nii", 1),
        ("segmentations/{cls}.nii.gz", 1),
        ("Segmentation_{cls}.nrrd", 7),
        ("{cls}/{task}.nii.gz", 1),
    ],
)
def test_masks_of_all_classes_are_one_answer(tasks, name, stored):
    task = tasks.seen[2]
    files = masks(task, answer(task), name, stored)
    tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), answer(task)[task.box])
    (event,) = tasks.events()
    assert [part["class"] for part in event["class_files"]] == list(CLASSES)
    for part, file in zip(event["class_files"], files, strict=True):
        assert Path(part["file"]) == file.resolve()
        assert (tasks.ledger.folder / part["received"]).read_bytes() == file.read_bytes()
        assert part["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    with contextlib.suppress(SystemExit):
        tasks.hand_in()
        annotate.main(["import", "-d", "601", *map(str, files), "-who", "anna"])
    assert len(tasks.events()) == 1, "the same masks were taken twice"


def test_withdrawn_and_handed_in_again(tasks):
    task = tasks.seen[2]
    files = masks(task, answer(task), "{task}_{cls}.nii.gz")
    tasks.hand_in()
    masks(task, answer(task, 1), "{task}_{cls}.nii.gz")
    tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), answer(task, 1)[task.box])
    tasks.annotate(f"withdraw {task.id} -who anna")
    np.testing.assert_array_equal(tasks.counted(task), answer(task)[task.box])
    with contextlib.suppress(SystemExit):
        tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), answer(task)[task.box])
    tasks.hand_in(*files)
    np.testing.assert_array_equal(tasks.counted(task), answer(task, 1)[task.box])


def test_one_corrected_mask_changes_the_answer(tasks):
    task = tasks.seen[3]
    files = masks(task, answer(task), "{cls}.nii.gz")
    tasks.hand_in()
    labels = answer(task)
    labels[labels == 2] = 0
    task.write((labels == 2).astype(np.uint8), files[1])
    tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), labels[task.box])


def test_masks_of_ignore_and_background(tasks):
    task = tasks.seen[2]
    labels = answer(task)
    labels[task.box][0] = IGNORE
    files = masks(task, labels, "{task}_{cls}.nii.gz", classes={**CLASSES, "ignore": IGNORE, "background": 0})
    stray = sitk.GetArrayFromImage(sitk.ReadImage(str(files[1])))
    stray[task.box][0] = 1  # what is a class and ignore is ignore, as in a segmentation by 3D Slicer
    task.write(stray, files[1])
    tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), labels[task.box])


@pytest.mark.parametrize("how", ["folder", "name", "task", "other name"])
def test_a_mask_is_never_read_by_its_value(tasks, capsys, how):
    """1 is the organ's value; the only mask is the lesion's."""
    task = tasks.seen[2]
    (file,) = masks(task, answer(task), "lesion.nii" if how == "other name" else "{task}_{cls}.nii.gz", classes={"lesion": 2})
    capsys.readouterr()
    tasks.hand_in(*([] if how == "folder" else [file]), more=f"-task {task.id}" if how in ("task", "other name") else "")
    np.testing.assert_array_equal(tasks.counted(task), np.where(answer(task) == 2, 2, 0)[task.box])
    assert "no file for 'organ'" in capsys.readouterr().out


def test_one_of_several_masks_by_its_name_is_not_the_whole_answer(tasks, capsys):
    task = tasks.seen[2]
    organ, lesion = masks(task, answer(task), "{task}_{cls}.nii.gz")
    for more in ("", f"-task {task.id}"):
        assert lesion.name in refused(tasks, capsys, organ, more=more)
    tasks.hand_in(organ, lesion)
    np.testing.assert_array_equal(tasks.counted(task), answer(task)[task.box])


def test_a_mask_of_an_unknown_class_is_refused_by_its_name_too(tasks, capsys):
    task = tasks.seen[2]
    _, spleen = masks(task, answer(task), "{task}_{cls}.nii.gz", classes={"organ": 1, "spleen": 2})
    assert "'spleen' is no class" in refused(tasks, capsys, spleen)


@pytest.mark.parametrize("whole", ["organ", "lesion", None])
def test_masks_that_slicer_cut_are_filled_up(tasks, whole):
    """Their extents differ from each other's and from that of a whole mask, which may come before or after them."""
    task = tasks.seen[2]
    labels = answer(task)
    labels[:, :, task.box[2].start][labels[:, :, task.box[2].start] == 1] = 0
    labels[task.box[0].start][labels[task.box[0].start] == 2] = 0
    for name in CLASSES:
        if name == whole:
            masks(task, labels, "{task}_{cls}.nii.gz", classes={name: CLASSES[name]})
        else:
            cut_by_slicer(task, labels, name)
    tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), labels[task.box])


def test_masks_of_whole_images(tasks, tmp_path):
    mine = [task for task in tasks.seen if task.id.endswith("tiny_1")]
    truth = sitk.ReadImage(str(tasks.label("tiny_1")))
    for name in ("segmentations/liver.nii.gz", "ct.nii.gz"):
        (tmp_path / "tiny_1" / name).parent.mkdir(parents=True, exist_ok=True)
    for cls, value in CLASSES.items():
        sitk.WriteImage(truth == value, str(tmp_path / "tiny_1" / "segmentations" / f"{cls}.nii.gz"))
    sitk.WriteImage(truth, str(tmp_path / "tiny_1" / "ct.nii.gz"))
    tasks.hand_in(tmp_path)
    array = sitk.GetArrayFromImage(truth)
    assert len(tasks.events()) == len(mine) == 2
    for task in mine:
        np.testing.assert_array_equal(tasks.counted(task), array[tasks.patch(task).slices])


def _overlapping(task: expert.Seen) -> str:
    organ, lesion = masks(task, answer(task), "{task}_{cls}.nii.gz")
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(lesion)))
    organ_labels = sitk.GetArrayFromImage(sitk.ReadImage(str(organ)))
    labels.flat[np.flatnonzero(organ_labels)[:3]] = 1
    task.write(labels, lesion)
    return f"3 voxels are in {organ.name}"


def _on_another_grid(task: expert.Seen) -> str:
    organ, lesion = masks(task, answer(task), "{task}_{cls}.nii.gz")
    image = sitk.ReadImage(str(lesion))
    sitk.WriteImage(image[1:, :, :], str(lesion))
    return organ.name


def _cut_beyond_a_whole_one(task: expert.Seen) -> str:
    _, lesion = masks(task, answer(task), "{task}_{cls}.nii.gz")
    (task.folder / f"{task.id}_organ.nii.gz").unlink()
    cut_by_slicer(task, answer(task), "organ")
    sitk.WriteImage(sitk.ReadImage(str(lesion))[:, :, task.box[0].start + 1 :], str(lesion))
    return lesion.name


def _of_other_spacing(task: expert.Seen) -> str:
    organ, lesion = masks(task, answer(task), "{cls}.nii.gz")
    task.write((answer(task) == 2).astype(np.uint8), lesion, spacing=1.5)
    return organ.name


def _of_two_values(task: expert.Seen) -> str:
    organ, _ = masks(task, answer(task), "{task}_{cls}.nii.gz")
    task.write(answer(task), organ)
    return "mask of 'organ'"


def _of_the_other_class(task: expert.Seen) -> str:
    task.write(np.where(answer(task) == 2, 2, 0).astype(np.uint8), task.folder / f"{task.id}_organ.nii.gz")
    return "mask of 'organ'"


def _an_unknown_class(task: expert.Seen) -> str:
    masks(task, answer(task), "{cls}.nii.gz", classes={**CLASSES, "spleen": 3})
    return "'organ', 'lesion'"


def _an_unknown_class_in_a_flat_folder(task: expert.Seen) -> str:
    masks(task, answer(task), "{task}_{cls}.nii.gz", classes={"organ": 1, "spleen": 2})
    return "'spleen' is no class"


def _twice(task: expert.Seen) -> str:
    masks(task, answer(task), "{task}_{cls}.nii.gz")
    masks(task, answer(task), "{task}_{cls}_mask.nrrd")
    return "same class"


def _among_other_words(task: expert.Seen) -> str:
    task.write((answer(task) == 2).astype(np.uint8), task.folder / f"{task.id}_lesion_left.nii.gz")
    return "lesion_left"


def _one_among_other_words(task: expert.Seen) -> str:
    """The other mask is no answer without it."""
    masks(task, answer(task), "{task}_{cls}.nii.gz", classes={"organ": 1, "lesion_left": 2})
    return "lesion_left"


def _of_fractions(task: expert.Seen) -> str:
    task.write(np.where(answer(task) == 2, 0.7, 0).astype(np.float32), task.folder / f"{task.id}_lesion.nii.gz")
    return "0.7"


@pytest.mark.parametrize("more", ["", "--accept_unchanged"])
@pytest.mark.parametrize(
    "make",
    [
        _overlapping,
        _on_another_grid,
        _cut_beyond_a_whole_one,
        _of_other_spacing,
        _of_two_values,
        _of_the_other_class,
        _an_unknown_class,
        _an_unknown_class_in_a_flat_folder,
        _twice,
        _among_other_words,
        _one_among_other_words,
        _of_fractions,
    ],
)
def test_masks_that_make_no_answer_are_refused_and_nothing_else_is_taken_for_it(tasks, capsys, make, more):
    task = tasks.seen[2]
    said = make(task)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        tasks.hand_in(more=more)
    assert said in capsys.readouterr().err
    assert tasks.book.status(task.id) == "open"


def test_the_untouched_export_is_no_answer_beside_a_mask_of_an_unknown_class(tasks, capsys):
    task = tasks.seen[2]
    masks(task, answer(task), "spleen.nii.gz", classes={"organ": 1})
    refused_text = "'spleen'"
    with pytest.raises(SystemExit):
        tasks.hand_in(more="--accept_unchanged")
    assert refused_text in capsys.readouterr().err
    assert tasks.book.status(task.id) == "open"


def test_a_segmentation_that_names_its_segments_is_the_whole_answer_whatever_its_file_is_called(tasks):
    task = tasks.seen[2]
    file = expert.seg_nrrd(task, np.random.default_rng(0))
    file.rename(task.folder / f"{task.id}_organ.seg.nrrd")
    tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])
