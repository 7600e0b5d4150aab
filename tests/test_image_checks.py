"""A dataset (-d) and a folder of images (-i) are checked for the same, in the same words."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from test_errors import PLANNING, edit_json, refuses, regeometry, rewrite  # noqa: F401

from nnactive_ext.cli import change, plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import write_json
from nnactive_ext.images.voxels import look_at
from nnactive_ext.intake.find import find_cases
from nnactive_ext.intake.inspect import inspect
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.planning.measure import measure

NAMES = {"background": 0, "organ": 1, "ignore": 2}
SHAPE = (6, 7, 8)
EMPTY = "an empty image"


def voxels(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.float32)


def write(file: Path, array: np.ndarray) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(file))


def both(folder: Path, ending: str = ".nii.gz") -> tuple[Path, Path]:
    """The same 4 cases of 2 channels as a dataset's images and as a folder's."""
    dataset, images = folder / "Dataset001_A", folder / "images"
    for name in ("imagesTr", "labelsTr"):
        (dataset / name).mkdir(parents=True)
    images.mkdir()
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 2:4, 2:4] = 1
    for case in range(4):
        for channel in range(2):
            write(images / f"c{case}_{channel:04d}{ending}", voxels(2 * case + channel))
        write(dataset / "labelsTr" / f"c{case}{ending}", labels)
    content = {"channel_names": {"0": "a", "1": "b"}, "labels": {"background": 0, "organ": 1}, "numTraining": 4}
    write_json(dataset / "dataset.json", {**content, "file_ending": ending})
    return dataset, images


def told(dataset: Path, images: Path) -> list[list[str]]:
    """What each of the two readings says, without folders and remedies."""
    shutil.copytree(images, dataset / "imagesTr", dirs_exist_ok=True)
    found = []
    for read in (
        lambda: measure(Dataset(dataset), 1, False),
        lambda: inspect(find_cases(images, ["a", "b"]), NAMES, progress=False),
    ):
        try:
            read()
            found.append([])
        except NnActiveError as error:
            lines = str(error).replace(f"{dataset / 'imagesTr'}/", "").replace(f"{images}/", "").splitlines()
            found.append(lines[:-1])
    return found


def put(value: float):
    def change(array: np.ndarray) -> None:
        array[3, 4, 5] = value

    return change


def cut(file: Path) -> None:
    whole = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(whole[:-50]))


def by_nibabel(file: Path, dtype, sheared: bool = False) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.3 if sheared else 0
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE[::-1]).astype(dtype), affine), file)


def two_places(file: Path) -> None:
    image = nibabel.Nifti1Image(voxels(1).T, np.eye(4))
    image.set_qform(np.eye(4), 1)
    image.set_sform(np.diag([-1.0, -1, 1, 1]), 2)
    nibabel.save(image, file)


def slope_of_0(file: Path) -> None:
    raw = bytearray(nibabel.Nifti1Image(voxels(1).T.astype(np.int16), np.eye(4)).to_bytes())
    raw[112:120] = struct.pack("<ff", 0, 7)
    file.write_bytes(gzip.compress(raw))


COLOUR = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
MENDS = {
    "0 everywhere": (lambda file: rewrite(file, np.zeros_like), f"all its voxels are 0: {EMPTY}"),
    "one value": (lambda file: rewrite(file, lambda array: np.full_like(array, 3.5)), f"all its voxels are 3.5: {EMPTY}"),
    "NaN": (lambda file: rewrite(file, put(np.nan)), "1 voxel is NaN or infinite"),
    "infinity": (lambda file: rewrite(file, put(-np.inf)), "1 voxel is NaN or infinite"),
    "complex": (lambda file: write(file, voxels(1).astype(np.complex64)), "complex numbers"),
    "colours": (lambda file: by_nibabel(file, COLOUR), "3 numbers in each voxel"),
    "2D": (lambda file: write(file, voxels(1)[0]), "a 2D image (8x7)"),
    "4D": (lambda file: sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(voxels(1))] * 2), str(file)), "one file per"),
    "truncated": (cut, "truncated"),
    "sheared": (lambda file: by_nibabel(file, np.float32, sheared=True), "right angles"),
    "two places": (two_places, "two places"),
    "slope of 0": (slope_of_0, "scl_slope"),
    "spacing": (lambda file: regeometry(file, "SetSpacing", (1.0, 1.0, 5000.0)), "the spacing (1, 1, 5000) mm cannot be"),
    "origin": (lambda file: regeometry(file, "SetOrigin", (1.0, 2.0, 3.0)), "its origin is"),
    "other size": (lambda file: rewrite(file, lambda array: array[:-1].copy()), "voxels instead of"),
}


@pytest.mark.parametrize("what", MENDS)
@pytest.mark.parametrize("channel", [0, 1])
def test_both_refuse_in_the_same_words(tmp_path, what, channel):
    damage, words = MENDS[what]
    dataset, images = both(tmp_path)
    damage(images / f"c2_{channel:04d}.nii.gz")
    by_dataset, by_folder = told(dataset, images)
    assert by_dataset == by_folder
    assert words in by_dataset[0]
    assert all("c2_" in line for line in by_dataset)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("what", ["0 everywhere", "one value", "NaN", "spacing"])
def test_other_formats(tmp_path, what, ending):
    damage, words = MENDS[what]
    dataset, images = both(tmp_path, ending)
    damage(images / f"c2_0001{ending}")
    by_dataset, by_folder = told(dataset, images)
    assert by_dataset == by_folder
    assert words in by_dataset[0]


@pytest.mark.parametrize("how", ["NIfTI-2", "sheared a little", "microns"])
def test_a_dataset_is_told_what_a_folder_copies(tmp_path, how):
    ending = ".nrrd" if how == "microns" else ".nii.gz"
    dataset, images = both(tmp_path, ending)
    file = images / f"c2_0001{ending}"
    if how == "microns":
        write(file, voxels(5))
        raw = file.read_bytes()
        file.write_bytes(raw.replace(b"space directions", b'space units: "um" "um" "um"\nspace directions'))
    else:
        affine = np.diag([-1.0, -1, 1, 1])
        affine[0, 1] = 0.002 if how == "sheared a little" else 0
        kind = nibabel.Nifti2Image if how == "NIfTI-2" else nibabel.Nifti1Image
        nibabel.save(kind(voxels(5).T, affine), file)
    by_dataset, by_folder = told(dataset, images)
    assert "c2_0001" in by_dataset[0]
    words = {"NIfTI-2": "NIfTI-2", "microns": "another unit", "sheared a little": "right angles"}
    assert words[how] in by_dataset[0]
    # A folder converts it; the other channel is then at another place only where the unit was another.
    assert bool(by_folder) == (how == "microns")


@pytest.mark.parametrize("damage", [two_places, slope_of_0])
def test_label_maps_of_a_dataset_have_one_place_and_one_scale(tmp_path, damage):
    dataset, images = both(tmp_path)
    damage(dataset / "labelsTr" / "c1.nii.gz")
    assert "c1.nii.gz" in told(dataset, images)[0][0]


def test_what_is_right_is_accepted(tmp_path):
    assert told(*both(tmp_path)) == [[], []]


def test_copies_are_refused(tmp_path):
    dataset, images = both(tmp_path)
    shutil.copy(images / "c0_0000.nii.gz", images / "c0_0001.nii.gz")
    for channel in ("0000", "0001"):
        write(images / f"c2_{channel}.nii.gz", voxels(6 + int(channel)))  # as case 3, but for the type
    by_dataset, by_folder = told(dataset, images)
    assert by_dataset == by_folder
    assert re.match(r"c0_0001.nii.gz: the same voxels as c0_0000", by_dataset[0])
    assert by_dataset[1].startswith("c3 and c2 are the same image twice")


def test_values_that_32_bits_do_not_hold():
    array = voxels(1).astype(np.float64)
    array[0, 0, :2] = 1e300
    assert look_at(array).problem.startswith("2 voxels are too large")
    # Values that only differ beyond what nnU-Net reads are the same.
    assert EMPTY in look_at(1e9 + np.linspace(0, 1, 24).reshape(2, 3, 4)).problem
    assert look_at(np.arange(8, dtype=np.int16).reshape(2, 2, 2)).problem == ""


@pytest.mark.parametrize("reader", ["NibabelIO", "NibabelIOWithReorient"])
@pytest.mark.parametrize("what", ["0 everywhere", "complex", "colours", "origin", "NaN"])
def test_other_readers_of_nnunet(tmp_path, reader, what):
    damage, words = MENDS[what]
    dataset, images = both(tmp_path)
    edit_json(dataset / "dataset.json", lambda content: content.update(overwrite_image_reader_writer=reader))
    damage(images / "c2_0001.nii.gz")
    assert words in told(dataset, images)[0][0]


def test_label_maps_of_background_only_are_accepted(tmp_path):
    dataset, images = both(tmp_path)
    write(dataset / "labelsTr" / "c1.nii.gz", np.zeros(SHAPE, np.uint8))
    assert told(dataset, images)[0] == []


def test_single_slices_are_for_datasets_only(tmp_path):
    """nnU-Net plans 2D networks for them; people are asked for volumes."""
    dataset, images = both(tmp_path)
    for file in [*images.iterdir(), *dataset.glob("labelsTr/*")]:
        rewrite(file, lambda array: array[3:4].copy())
    by_dataset, by_folder = told(dataset, images)
    assert by_dataset == []
    assert "an axis of one voxel" in by_folder[0]


def test_planning_refuses_a_black_image(tiny, refuses):  # noqa: F811
    """The label map of the case is 0 as well, as of a patient who was never scanned."""
    for file in (*tiny.glob("imagesTr/tiny_4_*"), tiny / "labelsTr/tiny_4.nii.gz"):
        rewrite(file, np.zeros_like)
    refuses(plan.main, PLANNING, "tiny_4_0000.nii.gz: all its voxels are 0", "tiny_4_0001.nii.gz: all its voxels are 0")


def test_added_images_are_checked_as_well(rollout, tmp_path, refuses):  # noqa: F811
    rollout.plan()
    more = tmp_path / "more"
    more.mkdir()
    for channel in ("T1", "T2"):
        shutil.copy(rollout.images / f"tiny_1_{channel}.nii.gz", more / f"new_{channel}.nii.gz")
        rewrite(more / f"new_{channel}.nii.gz", lambda array: array + 1)
    rewrite(more / "new_T2.nii.gz", lambda array: np.full_like(array, 7))
    refuses(change.main, f"-d 601 -add {more}", "new_T2.nii.gz: all its voxels are 7")
    assert "new" not in json.loads((rollout.experiment.raw / "dataset.json").read_text())["dataset"]
