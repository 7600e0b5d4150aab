"""Answers in formats that say nothing of their place, in two files, or in DICOM: as their programs write them, or refused."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
import tifffile
from dicom_segmentations import as_dicom
from open_tasks import IGNORE, OpenTasks

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.boxed import cut
from nnactive_ext.exchange.viewers.napari import read_task
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import read_label_file
from nnactive_ext.images.label_images import read_image
from nnactive_ext.images.placeless import read_placed
from nnactive_ext.labelling.tasks import Task


def save_tif(file: Path, labels: np.ndarray) -> None:
    """As napari's own writer of labels does."""
    tifffile.imwrite(file, labels.astype(np.uint32), compression="zlib", compressionargs={"level": 1})


def save_imagej(file: Path, labels: np.ndarray) -> None:
    tifffile.imwrite(file, labels.astype(np.uint8), imagej=True, metadata={"axes": "ZYX"})


def save_pages(file: Path, labels: np.ndarray) -> None:
    """Pages without a word about axes, as most programs write stacks."""
    with tifffile.TiffWriter(file) as tif:
        for plane in labels.astype(np.uint8):
            tif.write(plane, photometric="minisblack", contiguous=True, metadata=None)


PLACELESS = {"napari.tif": save_tif, "imagej.tif": save_imagej, "pages.TIFF": save_pages, "x.npy": np.save}


@pytest.mark.parametrize("name", PLACELESS)
def test_an_array_of_the_crops_shape_is_taken_in_the_order_in_which_napari_shows_it(tasks: OpenTasks, name):
    task = tasks.seen[2]
    image = read_task(str(task.folder))[0][0]
    assert image.shape == task.truth.shape
    PLACELESS[name](task.folder / f"{task.id}_{name}", task.answer())
    tasks.hand_in(more="--accept_unchanged")  # the untouched export lies beside it
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


@pytest.mark.parametrize("endings", [(".tif", ".tif"), (".npy", ".npy"), (".nii.gz", ".npy"), (".tif", ".nrrd")])
def test_masks_of_one_class_without_a_place_are_read_like_one_file(tasks: OpenTasks, capsys, endings):
    task = tasks.seen[2]
    labels = np.where(task.answer() == task.names["ignore"], 0, task.answer())
    for name, ending in zip(("organ", "lesion"), endings, strict=True):
        mask = (labels == task.names[name]).astype(np.uint8)
        save = {".tif": save_tif, ".npy": np.save}.get(ending, lambda file, array: task.write(array, file))
        save(task.folder / f"{task.id}_{name}{ending}", mask)
    tasks.hand_in(more="--accept_unchanged")
    np.testing.assert_array_equal(tasks.counted(task), labels[task.box])
    assert "z, y, x" in capsys.readouterr().out


def test_masks_of_whole_images_without_a_place_are_refused(tasks: OpenTasks, tmp_path, capsys):
    task = tasks.seen[2]
    case = task.id.split("_", 2)[2]
    for name in ("organ", "lesion"):
        np.save(tmp_path / f"{case}_{name}.npy", np.ones_like(task.truth))
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(*tmp_path.glob("*.npy"))
    assert case in capsys.readouterr().err
    assert not tasks.events()


WRONG = {
    "one slice less": lambda task: task.answer()[1:],
    "axes reversed": lambda task: task.answer().T,
    "labels that are none": lambda task: task.answer() * 50,
}


@pytest.mark.parametrize("ending", [".tif", ".npy"])
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_an_array_that_is_not_the_crop_is_refused_and_the_export_is_not_taken_instead(tasks: OpenTasks, capsys, change, ending):
    task = tasks.seen[2]
    file = task.folder / f"{task.id}{ending}"
    (save_tif if ending == ".tif" else np.save)(file, np.ascontiguousarray(change(task)))
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(more="--accept_unchanged --accept_outside")
    assert str(file) in capsys.readouterr().err
    assert {event["task"] for event in tasks.events()} == {other.id for other in tasks.seen} - {task.id}


CROP, PATCH = Patch("a", (2, 3, 4), (24, 24, 24)), Patch("a", (4, 11, 12), (8, 8, 8))
"""The image ends near the patch: it is not in the middle of the crop."""


def of_the_crop(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """What is taken of the patch from an array that was changed before it was saved as .npy."""
    image = place(40, 41, 42)
    labels = np.full(CROP.size, IGNORE, np.uint8)
    start = np.subtract(PATCH.start, CROP.start)
    inside = tuple(slice(a, a + n) for a, n in zip(start, PATCH.size, strict=True))
    labels[inside] = np.random.default_rng(0).integers(0, 3, PATCH.size)
    file = folder / "c000_001_a.npy"
    np.save(file, change(labels))
    names = {"background": 0, "organ": 1, "lesion": 2, "ignore": IGNORE}
    sent = [("the crop", CROP), ("the patch", PATCH), ("the image", Patch("a", (0, 0, 0), image.shape))]
    returned = read_label_file(file, names, [image.crop(box) for _, box in sent[:2]])
    boxes = cut(file, returned, image, [Task("c000_001_a", 0, 1, PATCH)], IGNORE, sent)
    np.testing.assert_array_equal(boxes["c000_001_a"].labels, labels[inside])


def test_equal_sides_with_the_frame_where_it_was_are_taken(tmp_path):
    of_the_crop(tmp_path, lambda labels: labels)

    def strayed(labels: np.ndarray) -> np.ndarray:
        labels = labels.copy()
        labels[2:4, 7, 8:12] = 1
        return labels

    of_the_crop(tmp_path, strayed)


EQUAL = {
    "axes reversed": lambda labels: labels.T,
    "two axes swapped": lambda labels: labels.swapaxes(0, 1),
    "flipped": lambda labels: labels[::-1],
    "one voxel off": lambda labels: np.roll(labels, 1, 2),
    "no frame": lambda labels: np.where(labels == IGNORE, 0, labels),
    "the patch alone": lambda labels: labels[2:10, 8:16, 8:16],
}


@pytest.mark.parametrize("change", EQUAL.values(), ids=EQUAL)
def test_equal_sides_without_the_frame_where_it_was_are_refused(tmp_path, change):
    with pytest.raises(NnActiveError, match=r"c000_001_a\.npy.*\.nii\.gz"):
        of_the_crop(tmp_path, change)


def test_the_layer_that_our_reader_opens_is_the_patch_and_may_be_saved_as_a_stack(tasks: OpenTasks):
    task = tasks.seen[2]
    layer = task.answer()[task.box]
    assert read_task(str(task.folder))[-1][0].shape == layer.shape
    assert len(set(layer.shape)) == 3
    save_tif(task.folder / f"{task.id}.tif", layer)
    tasks.hand_in()
    np.testing.assert_array_equal(tasks.counted(task), layer)


def test_without_a_tasks_name_an_array_answers_nothing(tasks: OpenTasks, tmp_path):
    task = tasks.seen[2]
    save_tif(tmp_path / "labels.tif", task.answer())
    save_tif(tmp_path / f"{task.id.split('_', 2)[2]}.tif", tasks.seen[2].answer())
    for file in tmp_path.glob("*.tif"):
        with pytest.raises(SystemExit, match="1"):
            tasks.hand_in(file)
    tasks.hand_in(tmp_path / "labels.tif", more=f"-task {task.id}")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def place(*shape: int) -> Space:
    z, y, x = shape
    return Space((z, y, x), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


@pytest.mark.parametrize("shape", [(1, 5, 6), (4, 5, 3), (3, 5, 4), (7, 1, 9)])
def test_thin_stacks_and_stacks_that_look_like_colours(tmp_path, shape):
    labels = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    for name, save in PLACELESS.items():
        file = tmp_path / f"a_{name}"
        save(file, labels)
        np.testing.assert_array_equal(read_placed(file, [place(9, 9, 9), place(*shape)])[0], labels, err_msg=name)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"\x93NUMPY", b"nothing"])
@pytest.mark.parametrize("ending", [".tif", ".npy", ".dcm", ".hdr", ".NII.GZ"])
def test_damaged_files_are_refused_in_words(tmp_path, ending, content):
    file = tmp_path / f"a{ending}"
    file.write_bytes(content)
    (tmp_path / "a.img").write_bytes(content)
    with pytest.raises(NnActiveError, match=r"a\."):
        read_image(file, [place(4, 5, 6)])


def test_arrays_of_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(NnActiveError, match=r"a\.npy"):
        read_image(tmp_path / "a.npy", [place(1, 1, 1)])


# In two files.


def save_pair(task: expert.Seen, stem: str, dtype: type = np.uint8, order: str = "<", extension: bytes = b"") -> Path:
    image = nibabel.load(task.label)
    header = nibabel.nifti1.Nifti1PairHeader(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    pair = nibabel.Nifti1Pair(task.answer().T.astype(dtype), image.affine, header)
    assert pair.header.endianness == order
    if extension:
        pair.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", extension))
    nibabel.save(pair, task.folder / f"{stem}.hdr")
    return task.folder / f"{stem}.hdr"


@pytest.mark.parametrize(("dtype", "order"), [(np.uint8, "<"), (np.int16, ">"), (np.float32, "<")])
@pytest.mark.parametrize("extension", [b"", b"more about it"])
def test_a_pair_of_nifti_files_is_one_answer(tasks: OpenTasks, dtype, order, extension):
    task = tasks.seen[2]
    file = save_pair(task, task.id, dtype, order, extension)
    tasks.hand_in(more="--accept_unchanged")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])
    (event,) = [event for event in tasks.events() if event["task"] == task.id]
    voxels = file.with_suffix(".img")
    tasks.hand_in(voxels)  # named by its other half
    assert len([event for event in tasks.events() if event["task"] == task.id]) == 1
    assert (tasks.ledger.folder / event["received"]).read_bytes() == voxels.read_bytes()
    assert [f.read_bytes() for f in (tasks.ledger.folder / "received").glob("*.hdr")] == [file.read_bytes()]


def test_a_pair_that_is_none_is_refused(tasks: OpenTasks, capsys):
    task = tasks.seen[2]
    file = save_pair(task, task.id)
    file.with_suffix(".img").rename(task.folder / "elsewhere")
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(file)
    (task.folder / "elsewhere").rename(file.with_suffix(".img"))
    file.with_suffix(".img").write_bytes(file.with_suffix(".img").read_bytes()[:-9])
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(file)
    analyze = nibabel.Spm99AnalyzeImage(task.answer().T, None)
    nibabel.save(analyze, file)
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(file)
    assert "Analyze" in capsys.readouterr().err
    assert tasks.events() == []


# DICOM segmentations.


@pytest.mark.parametrize("order", [("organ", "lesion", "ignore"), ("ignore", "lesion", "organ")])
def test_a_dicom_segmentation_is_read_by_the_names_of_its_segments(tasks: OpenTasks, order):
    task = tasks.seen[2]
    as_dicom(task.folder / f"{task.id}.dcm", task.answer(), task.shown, {name: task.names[name] for name in order})
    tasks.hand_in(more="--accept_unchanged")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def test_a_dicom_segmentation_of_the_whole_image(tasks: OpenTasks, tmp_path):
    mine = [task for task in tasks.seen if task.id.endswith("tiny_1")]
    anatomy = sitk.ReadImage(str(tasks.label("tiny_1")))
    file = tmp_path / "tiny_1_seg.dcm"
    as_dicom(file, sitk.GetArrayFromImage(anatomy), anatomy, {"lesion": 2, "Organ": 1})
    tasks.hand_in(file)
    for task in mine:
        np.testing.assert_array_equal(tasks.counted(task), task.truth[task.box])


def test_a_dicom_segmentation_with_another_name_or_moved_is_refused(tasks: OpenTasks, capsys):
    task = tasks.seen[2]
    file = task.folder / f"{task.id}.dcm"
    as_dicom(file, task.answer(), task.shown, {"liver": 1, "lesion": 2, "ignore": IGNORE})
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(file)
    assert "liver" in capsys.readouterr().err
    moved = sitk.Image(task.shown)
    moved.SetOrigin(task.shown.TransformIndexToPhysicalPoint((1, 0, 0)))
    as_dicom(file, task.answer(), moved, {"organ": 1, "lesion": 2, "ignore": IGNORE})
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(file)
    assert "(1, 0, 0) voxels" in capsys.readouterr().err
    assert tasks.events() == []


def test_without_highdicom_it_is_said_how_to_get_it(tasks: OpenTasks, capsys, monkeypatch):
    task = tasks.seen[2]
    as_dicom(task.folder / f"{task.id}.dcm", task.answer(), task.shown, {"organ": 1, "lesion": 2, "ignore": IGNORE})
    really = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "highdicom":
            raise ImportError(name)
        return really(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(more="--accept_unchanged")
    assert "nnactive-ext[dicom]" in capsys.readouterr().err
    assert task.id not in {event["task"] for event in tasks.events()}


# Upper case.


@pytest.mark.parametrize("ending", [".NII.GZ", ".Nii.gz", ".NII", ".NRRD", ".MHA", ".SEG.NRRD", ".TIF"])
def test_endings_in_upper_case_are_read(tasks: OpenTasks, ending):
    task = tasks.seen[2]
    lower = task.folder / f"{task.id}_x{ending.lower()}"
    if ending == ".TIF":
        save_tif(lower, task.answer())
    elif ending == ".SEG.NRRD":
        lower = expert.seg_nrrd(task, np.random.default_rng(0))
    else:
        task.write(task.answer(), lower)
    lower.rename(task.folder / f"{task.id}{ending}")
    tasks.hand_in(more="--accept_unchanged")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


@pytest.mark.slow
def test_napari_itself_saves_a_stack(tasks: OpenTasks):
    """The crop's images as our reader opens them, a layer of labels like them, and napari's own writer."""
    pytest.importorskip("napari")
    from napari.components import ViewerModel
    from napari_builtins.io import napari_write_labels

    task = tasks.seen[2]
    viewer = ViewerModel()
    data, meta, _ = read_task(str(task.folder))[0]
    viewer.add_image(data, **meta)
    layer = viewer.add_labels(task.answer())
    assert layer.data.shape == viewer.layers[0].data.shape
    file = task.folder / f"{task.id}.tif"
    assert napari_write_labels(str(file), layer.data, {})
    tasks.hand_in(more="--accept_unchanged")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])
