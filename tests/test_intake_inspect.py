"""Everything that can be wrong with an image is found and named, all of it at once; what is right is measured."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from test_intake_dicom import OBLIQUE, VOXELS, refused, write_series

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.intake.find import find_cases
from nnactive_ext.intake.inspect import channel_difference, inspect

NAMES = {"background": 0, "organ": 1, "ignore": 2}
STORED = VOXELS.astype(np.int16)
SPACE = Space((6, 7, 8), (0.8, 1.2, 2.5), (-50.0, 30.25, 7.0), tuple(np.ravel(OBLIQUE).tolist()))
STRAIGHT = Space((6, 7, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def write(file: Path, voxels=STORED, space: Space = SPACE, compress: bool = False) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(space.image(voxels), str(file), useCompression=compress)
    return file


def edited(file: Path, old: bytes, new: bytes, space: Space = STRAIGHT) -> Path:
    content = write(file, space=space).read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))
    return file


def look(folder: Path, channels=None, **options):
    return inspect(find_cases(folder, channels, **options), NAMES, progress=False)


def test_what_is_right_is_measured_in_every_format(tmp_path):
    voxels = {}
    for number, ending in enumerate(("nii.gz", "nii", "nrrd", "mha", "mhd")):
        voxels[f"c{number}"] = VOXELS + number
        write(tmp_path / f"c{number}.{ending}", (VOXELS + number).astype(np.int16))
    write_series(tmp_path / "c9", VOXELS - 3)
    voxels["c9"] = VOXELS - 3
    found = look(tmp_path)
    assert list(found) == list(voxels)
    for name, inspected in found.items():
        assert (inspected.minimum, inspected.maximum) == (voxels[name].min(), voxels[name].max())
        np.testing.assert_allclose(inspected.space.affine, SPACE.affine, atol=1e-4)
        assert inspected.space.shape == SPACE.shape
        assert inspected.orientation == "LPS"


def test_mixed_spacings_orientations_and_sizes_are_fine(tmp_path):
    write(tmp_path / "a.nii.gz")
    image = SPACE.image(VOXELS.astype(np.float32))
    sitk.WriteImage(sitk.DICOMOrient(image, "SAR"), str(tmp_path / "b.nrrd"))
    write(
        tmp_path / "c.nii.gz", np.arange(24.0).reshape(2, 3, 4), Space((2, 3, 4), (9.0, 0.01, 1), (0, 0, 0), STRAIGHT.direction)
    )
    found = look(tmp_path)
    assert [found[name].orientation for name in "abc"] == ["LPS", "SAR", "LPS"]
    assert found["b"].digest != found["a"].digest


def test_the_digest_is_of_values_not_of_types(tmp_path):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "b.mha", VOXELS.astype(np.float64), STRAIGHT)
    found = look(tmp_path)
    assert found["a"].digest == found["b"].digest


def nifti(file: Path, **header) -> None:
    """With fields of the header as no library would write them."""
    image = nibabel.Nifti1Image(STORED.T, np.eye(4))
    for key, value in header.items():
        image.header[key] = value
    with open(file, "wb") as stream:
        image.header["vox_offset"], image.header["magic"] = 352, b"n+1"
        stream.write(image.header.binaryblock + bytes(4) + VOXELS.T.astype("<i2").tobytes(order="F"))


def cut(file: Path, compress: bool = False) -> None:
    write(file, compress=compress)
    os.truncate(file, file.stat().st_size - 100)


def sheared(file: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    nibabel.save(nibabel.Nifti1Image(STORED.T, affine), file)


def damaged_mha(file: Path) -> None:
    content = bytearray(write(file, compress=True).read_bytes())
    content[-60] ^= 0xFF
    file.write_bytes(content)


def without_voxels(file: Path) -> None:
    write(file)
    file.with_suffix(".raw").unlink()


def with_nan(file: Path) -> None:
    voxels = VOXELS.astype(np.float32)
    voxels[2, 3, 4] = np.nan
    voxels[1, 1, 1] = np.inf
    write(file, voxels)


VECTORS = np.zeros((6, 7, 8, 3))
IDENTITY = b"space directions: (1,0,0) (0,1,0)"
PROBLEMS = [
    ("cut.nii.gz", cut, "truncated"),
    ("cut.nii", cut, "truncated"),
    ("cut.nrrd", cut, "cannot be read"),
    ("cut.mha", cut, "truncated"),
    ("damaged.mha", damaged_mha, "damaged"),
    ("alone.mhd", without_voxels, ".raw"),
    ("empty.nrrd", Path.touch, "not an image"),
    ("text.mha", lambda file: file.write_text("hello"), "not an image"),
    ("not_gzip.nii.gz", lambda file: shutil.move(write(file.with_name("x.nii")), file), "damaged"),
    ("flat.nii.gz", lambda file: sitk.WriteImage(sitk.GetImageFromArray(VOXELS[0]), str(file)), "2D"),
    ("thin.nrrd", lambda file: write(file, STORED[:1]), "8x7x1"),
    ("time.nii.gz", lambda file: sitk.WriteImage(sitk.JoinSeries([SPACE.image(VOXELS)] * 2), str(file)), "one file per volume"),
    ("rgb.nrrd", lambda file: sitk.WriteImage(sitk.GetImageFromArray(VECTORS, isVector=True), str(file)), "3 numbers in each"),
    ("complex.nii.gz", lambda file: write(file, VOXELS.astype(np.complex64)), "complex"),
    ("nan.nii.gz", with_nan, "2 voxels are NaN"),
    ("nan.mha", with_nan, "2 voxels are NaN"),
    ("constant.nii.gz", lambda file: write(file, np.full((6, 7, 8), 3.5)), "all its voxels are 3.5"),
    ("zero.nii", lambda file: nifti(file, pixdim=[1, 0, 1, 1, 0, 0, 0, 0]), "spacing of (0, 1, 1)"),
    ("minus.nii", lambda file: nifti(file, pixdim=[1, 1, -1, 1, 0, 0, 0, 0]), "spacing of (1, -1, 1)"),
    ("contrary.nii", lambda file: nifti(file, pixdim=[1, 1, 1, 3, 0, 0, 0, 0]), "contradicts"),
    ("nowhere.nii", lambda file: nifti(file, srow_x=[1, 0, 0, np.nan]), "sform"),
    ("units.mha", lambda file: write(file, space=Space((6, 7, 8), (1.0, 1.0, 5000.0), (0, 0, 0), STRAIGHT.direction)), "5000"),
    ("zero.mha", lambda file: edited(file, b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1"), "spacing in its header is 0"),
    ("lost.nii", lambda file: nifti(file, sform_code=0, qform_code=1, qoffset_x=np.nan), "qform"),
    ("inf.nrrd", lambda file: edited(file, b"space origin: (0,0,0)", b"space origin: (nan,0,0)"), "cannot be read"),
    ("sheared.nii.gz", sheared, "sheared"),
    ("sheared.nrrd", lambda file: edited(file, IDENTITY, b"space directions: (1,0,0) (.3,1,0)"), "right angles"),
    ("parallel.nrrd", lambda file: edited(file, IDENTITY, b"space directions: (1,0,0) (1,0,0)"), "parallel"),
    ("series", lambda folder: write_series(folder, places=[0, 1, 2, 4, 5, 6]), "Is a slice missing"),
    ("link.nii", lambda file: file.symlink_to(file.with_name("gone")), "broken link"),
]


@pytest.mark.parametrize(("name", "make", "words"), PROBLEMS, ids=[name for name, _, _ in PROBLEMS])
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, name, make, words):
    write(tmp_path / "good.nii.gz", STORED + 1)
    make(tmp_path / name)
    message = refused(lambda: look(tmp_path), tmp_path / name, words)
    assert len(message.splitlines()) == 2
    assert "good.nii.gz" not in message


def test_all_problems_of_all_cases_at_once(tmp_path):
    for number in range(25):
        (tmp_path / f"{number:02d}.nii").touch()
    with_nan(tmp_path / "a_t1.nii.gz")
    lines = refused(lambda: look(tmp_path)).splitlines()
    assert len(lines) == 22
    assert lines[20] == "... and 6 more."


@pytest.mark.parametrize("processes", [1, 2])
def test_problems_of_several_channels(tmp_path, processes):
    with_nan(tmp_path / "a_t1.nii.gz")
    cut(tmp_path / "a_t2.nii.gz")
    (tmp_path / "b_t1.nrrd").touch()
    write(tmp_path / "b_t2.nrrd")
    cases = find_cases(tmp_path, ["t1", "t2"])
    with pytest.raises(NnActiveError) as caught:
        inspect(cases, NAMES, processes=processes, progress=False)
    assert [name for name in ("a_t1", "a_t2", "b_t1", "b_t2") if name in str(caught.value)] == ["a_t1", "a_t2", "b_t1"]


def other(**changes) -> Space:
    return Space(**{**{key: getattr(SPACE, key) for key in ("shape", "spacing", "origin", "direction")}, **changes})


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (other(shape=(6, 7, 9)), "9x7x6 voxels instead of 8x7x6"),
        (other(spacing=(0.8, 1.2, 2.6)), "spacing"),
        (other(spacing=(0.8001, 1.2, 2.5)), "more than nnU-Net allows"),
        (other(origin=(-50.0, 30.25, 8.0)), "origin"),
        (other(origin=SPACE.to_world((0, 1, 0))), "origin"),
        (other(direction=STRAIGHT.direction), "direction"),
        (other(direction=tuple(-v for v in SPACE.direction), origin=SPACE.to_world((5, 6, 7))), "axes run RAI instead of LPS"),
    ],
)
def test_channels_that_do_not_lie_on_one_grid(tmp_path, space, words):
    write(tmp_path / "a_0000.nii.gz")
    write(tmp_path / "a_0001.nrrd", np.random.default_rng(1).random(space.shape), space)
    refused(lambda: look(tmp_path), tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nrrd", words)


def test_channels_in_two_formats_lie_on_one_grid(tmp_path):
    """NIfTI rounds to single precision."""
    write(tmp_path / "a_t1.nii.gz")
    write(tmp_path / "a_t2.mha", VOXELS.astype(np.float32) / 3)
    write_series(tmp_path / "a_t3", VOXELS + 1)
    assert look(tmp_path, ["t1", "t2", "t3"])["a"].maximum == VOXELS.max()
    assert channel_difference(SPACE, SPACE) == ""


def test_the_same_image_twice(tmp_path):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "b.mha", VOXELS.astype(np.float32))
    write(tmp_path / "c.nii.gz", STORED + 1)
    message = refused(lambda: look(tmp_path), "a.nii.gz", "b.mha", "same image twice")
    assert "c.nii.gz" not in message


def test_the_same_file_twice(tmp_path):
    write(tmp_path / "in" / "a.nii.gz")
    try:
        (tmp_path / "in" / "b.nii.gz").symlink_to(tmp_path / "in" / "a.nii.gz")
    except OSError:
        pytest.skip("no right to make links here")
    message = refused(lambda: look(tmp_path / "in"), "a.nii.gz", "b.nii.gz", "the same file")
    assert len(message.splitlines()) == 2


def test_the_same_voxels_in_two_channels(tmp_path):
    for channel in ("t1", "t2"):
        write(tmp_path / f"a_{channel}.nii.gz")
    refused(lambda: look(tmp_path, ["t1", "t2"]), "a_t1.nii.gz", "a_t2.nii.gz", "the same voxels", "another channel")


@pytest.fixture
def labelled(tmp_path):
    write(tmp_path / "in" / "a.nii.gz")
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:4, 2:5, 3:6] = 1

    def of(voxels=labels, space: Space = SPACE, name: str = "a.nii.gz", order=(0, 1, 2)):
        file = write(tmp_path / "labels" / name, voxels, space)
        sitk.WriteImage(sitk.PermuteAxes(sitk.ReadImage(str(file)), list(order)), str(file))
        return lambda: look(tmp_path / "in", label_maps=tmp_path / "labels")

    return of


def test_label_maps_on_the_grid_of_the_image(labelled):
    assert list(labelled()()) == ["a"]


def test_label_maps_with_other_axes_or_a_margin(labelled):
    wide = Space((8, 9, 10), SPACE.spacing, SPACE.to_world((-1, -1, -1)), SPACE.direction)
    assert list(labelled(order=(2, 0, 1))()) == ["a"]
    assert list(labelled(np.ones((8, 9, 10), np.uint8), wide)()) == ["a"]


def test_label_maps_that_do_not_fit(labelled, tmp_path):
    file = tmp_path / "labels" / "a.nii.gz"
    refused(labelled(np.full((6, 7, 8), 7, np.uint8)), file, "7")
    refused(labelled(space=other(spacing=(0.8, 1.2, 2.6))), file, tmp_path / "in" / "a.nii.gz", "spacing")
    refused(labelled(np.ones((5, 7, 8), np.uint8)), file, "only a part", "8x7x5 of 8x7x6")
    start = SPACE.to_world((1, 0, 0))
    refused(labelled(np.ones((5, 7, 8), np.uint8), other(origin=start, shape=(5, 7, 8))), file, "only a part")
    with gzip.open(file, "wb") as stream:
        stream.write(b"no image")
    refused(lambda: look(tmp_path / "in", label_maps=tmp_path / "labels"), file)
