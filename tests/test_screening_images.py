"""New images as a screening reads them: in every way in which people keep them, turned as the pool is, one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO
from test_intake_dicom import VOXELS, write_series

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.screening.new_images import Reading, new_images

DATA = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
TWO = {"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".nii.gz"}


def write(file: Path, array: np.ndarray = VOXELS, spacing=(0.8, 1.2, 2.5)) -> None:
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing(spacing)
    file.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(file))


@pytest.fixture
def nothing_left(tmp_path, monkeypatch):
    """The folder of temporary files, which is empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


def test_a_dicom_series_is_read_as_the_pool_is_and_nothing_is_left(tmp_path, nothing_left):
    folder = tmp_path / "new"
    space = write_series(folder / "patient_1" / "study" / "series")
    write(folder / "patient_2_0000.nii.gz")
    found = new_images(folder, Reading(DATA, SimpleITKIO(), None), progress=False)
    assert [image.name for image in found.images] == ["patient_1", "patient_2"]
    one, other = found.images
    voxels, place = one.read()
    np.testing.assert_array_equal(voxels, VOXELS[None].astype(np.float32))
    np.testing.assert_allclose(place.affine, space.affine, atol=1e-4)
    assert (one.shape, one.channels) == (VOXELS.shape, 1)
    np.testing.assert_allclose(one.spacing, (2.5, 1.2, 0.8), rtol=1e-5)
    np.testing.assert_array_equal(other.read()[0], voxels)
    assert len(one.files) == len(VOXELS)


def test_a_bad_image_is_refused_by_name_and_the_others_go_on(tmp_path, nothing_left):
    folder = tmp_path / "new"
    write_series(folder / "gap", places=[0, 1, 2, 3, 4, 9])
    write(folder / "empty_0000.nii.gz", np.zeros((6, 7, 8)))
    (folder / "cut_0000.nii.gz").write_bytes((folder / "empty_0000.nii.gz").read_bytes()[:60])
    write(folder / "fine_0000.nii.gz")
    write(folder / "two_0000.nii.gz", VOXELS + 1)
    write(folder / "two_0001.nii.gz", VOXELS + 2)
    (folder / "scan.zip").write_bytes(b"PK")
    found = new_images(folder, Reading(DATA, SimpleITKIO(), None), progress=False)
    assert {image.name: image.channels for image in found.images} == {"fine": 1, "two": 2}
    assert sorted(found.refused) == ["cut", "empty", "gap", "scan.zip"]
    assert all(str(folder) in why for why in found.refused.values())
    for file in folder.glob("[ft]*.nii.gz"):
        file.unlink()
    with pytest.raises(NnActiveError, match="an empty image"):
        new_images(folder, Reading(DATA, SimpleITKIO(), None), progress=False)


def test_channels_by_name_and_by_number(tmp_path):
    for name in ("a_0000", "a_0001", "b_T1", "b_T2", "c/T1", "c/T2"):
        write(tmp_path / f"{name}.nii.gz", VOXELS + sum(name.encode()))
    found = new_images(tmp_path, Reading(TWO, SimpleITKIO(), None), progress=False)
    assert {image.name: image.channels for image in found.images} == {"a": 2, "b": 2, "c": 2}


def test_numbers_of_cases_are_no_channels(tmp_path):
    for number in (1, 2, 3):
        write(tmp_path / f"scan_{number:04d}.nii.gz", VOXELS + number)
    found = new_images(tmp_path, Reading(DATA, SimpleITKIO(), None), progress=False)
    assert [image.name for image in found.images] == ["scan_0001", "scan_0002", "scan_0003"]


THICK = Space((9, 20, 20), (1.0, 1.0, 6.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def test_axes_are_turned_as_those_of_the_pool_are(tmp_path, nothing_left):
    array = np.random.default_rng(0).integers(0, 99, (9, 20, 22))
    write(tmp_path / "new/as_pool_0000.nii.gz", array, (1.0, 1.0, 6.0))
    image = sitk.PermuteAxes(sitk.ReadImage(str(tmp_path / "new/as_pool_0000.nii.gz")), (2, 0, 1))
    sitk.WriteImage(sitk.Flip(image, (False, True, False)), str(tmp_path / "new/turned_0000.nii.gz"))
    stored, turned = (
        new_images(tmp_path / "new", Reading(DATA, SimpleITKIO(), None, pool), progress=False).images
        for pool in (None, [THICK] * 3)
    )
    assert [image.shape for image in stored] == [(9, 20, 22), (20, 22, 9)]
    assert [image.shape for image in turned] == [(9, 20, 22)] * 2
    np.testing.assert_array_equal(turned[1].read()[0], array[None])
    assert [bool(image.turned) for image in turned] == [False, True]


def test_an_image_that_lies_otherwise_is_refused_where_no_slices_tell_how_to_turn_it(tmp_path):
    write(tmp_path / "fine_0000.nii.gz", spacing=(1.0, 1.0, 1.0))
    image = sitk.ReadImage(str(tmp_path / "fine_0000.nii.gz"))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(tmp_path / "other_0000.nii.gz"))
    pool = [Space((9, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), THICK.direction)]
    found = new_images(tmp_path, Reading(DATA, SimpleITKIO(), None, pool), progress=False)
    assert [image.name for image in found.images] == ["fine"]
    assert "DICOMOrient(image, 'LPS')" in found.refused["other"]
    upright = new_images(tmp_path, Reading(DATA, SimpleITKIOWithReorient(), None, pool), progress=False)
    one, other = (image.read()[0] for image in upright.images)
    np.testing.assert_array_equal(one, other)


def test_damaged_and_empty_images_without_a_place_are_refused_by_name(tmp_path):
    """Each library says in its own way that a file is damaged."""
    folder = tmp_path / "new"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, voxels in (("fine", rng.random((6, 7, 8))), ("empty", np.zeros((6, 7, 8))), ("nan", np.full((6, 7, 8), np.nan))):
        tifffile.imwrite(folder / f"{name}_0000.tif", voxels.astype(np.float32))
    (folder / "cut_0000.tif").write_bytes((folder / "fine_0000.tif").read_bytes()[:40])
    data = {**DATA, "file_ending": ".tif"}
    found = new_images(folder, Reading(data, Tiff3DIO(), None), progress=False)
    assert [image.name for image in found.images] == ["fine"]
    assert sorted(found.refused) == ["cut", "empty", "nan"]
