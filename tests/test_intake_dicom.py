"""DICOM series of single slices: even ones are read exactly, others are refused by name and place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.dicom import read_series
from nnactive_ext.images.dicom_series import dicom_folder
from nnactive_ext.intake.find import find_cases

OBLIQUE = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
VOXELS = np.random.default_rng(0).integers(-1000, 2000, (6, 7, 8))


def write_series(
    folder: Path, voxels=VOXELS, direction=OBLIQUE, *, places=None, slopes=None, tilt=0.0, uid=None, prefix="", copy=0
) -> Space:
    """``voxels`` (z, y, x) as CT slices whose files' names run against their order; ``places`` in slices, ``tilt`` in mm
    along y per slice."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    space = Space(voxels.shape, (0.8, 1.2, 2.5), (-50.0, 30.25, 7.0), tuple(np.ravel(direction).tolist()))
    uid, study, frame = uid or generate_uid(), generate_uid(), generate_uid()
    for k, plane in enumerate(voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_ = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.SeriesInstanceUID, slice_.StudyInstanceUID, slice_.FrameOfReferenceUID = uid, study, frame
        slice_.Modality, slice_.SeriesDescription, slice_.PatientID = "CT", "thin slices", "p"
        slice_.InstanceNumber = k + 1
        slice_.ImageOrientationPatient = [*np.asarray(direction)[:, 0].tolist(), *np.asarray(direction)[:, 1].tolist()]
        place = k if places is None else places[k]
        position = np.asarray(space.to_world((place, 0, 0))) + np.asarray(direction)[:, 1] * tilt * k
        slice_.ImagePositionPatient = [round(float(v), 5) for v in position]
        slice_.PixelSpacing, slice_.SliceThickness = [space.spacing[1], space.spacing[0]], space.spacing[2]
        slice_.Rows, slice_.Columns = plane.shape
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation = 15, 1
        slope = 1 if slopes is None else slopes[k]
        slice_.RescaleSlope, slice_.RescaleIntercept = slope, 0 if slopes is not None else -1024
        stored = plane if slopes is not None else plane + 1024
        slice_.PixelData = stored.astype("<i2").tobytes()
        slice_.save_as(folder / f"{prefix}{len(voxels) - k:03d}{copy or ''}.dcm", enforce_file_format=True)
    return space


def one_series(folder: Path) -> tuple[Path, ...]:
    """The files of the only series in a folder."""
    (series,) = dicom_folder(folder).series
    return series.files


def refused(call, *words) -> str:
    with pytest.raises(NnActiveError) as caught:
        call()
    for word in words:
        assert str(word) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, OBLIQUE[:, [1, 2, 0]]], ids=["straight", "oblique", "sagittal"])
def test_a_series_is_one_volume_with_the_same_voxels_in_the_same_place(tmp_path, direction):
    space = write_series(tmp_path / "series", direction=direction)
    (tmp_path / "series" / "readme.txt").write_text("export")
    image = read_series(one_series(tmp_path / "series"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS)
    np.testing.assert_allclose(Space.of_image(image).affine, space.affine, atol=1e-4)


def test_the_order_of_files_does_not_matter(tmp_path):
    write_series(tmp_path)
    files = one_series(tmp_path)
    for order in ([3, 1, 5, 0, 2, 4], [5, 4, 3, 2, 1, 0]):
        image = read_series([files[i] for i in order])
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS)


def test_slices_scaled_one_by_one_keep_their_fractions(tmp_path):
    slopes = [1, 0.5, 0.25, 0.75, 1.5, 1]
    write_series(tmp_path, slopes=slopes)
    image = sitk.GetArrayFromImage(read_series(one_series(tmp_path)))
    np.testing.assert_allclose(image, VOXELS * np.reshape(slopes, (-1, 1, 1)))


def test_a_missing_slice_is_named(tmp_path):
    write_series(tmp_path, places=[0, 1, 2, 4, 5, 6])
    message = refused(lambda: read_series(one_series(tmp_path)), tmp_path, "5 mm between 004.dcm", "003.dcm", "2.5 mm")
    assert "missing" in message


def test_rounded_places_are_even(tmp_path):
    write_series(tmp_path, places=[0, 1.02, 1.98, 3.01, 4, 5])
    assert read_series(one_series(tmp_path)).GetSize() == (8, 7, 6)


def test_a_tilted_gantry(tmp_path):
    write_series(tmp_path, tilt=0.5)
    refused(lambda: read_series(one_series(tmp_path)), tmp_path, "tilted gantry", "dcm2niix")


def test_two_slices_at_one_place(tmp_path):
    write_series(tmp_path, uid="1.2.3")
    write_series(tmp_path, uid="1.2.3", prefix="again")
    refused(lambda: read_series(one_series(tmp_path)), tmp_path, "the same place", "again")


def test_two_series_in_one_folder(tmp_path):
    folder = tmp_path / "in" / "p"
    write_series(folder, uid="1.2.3")
    write_series(folder, VOXELS[:4], uid="1.2.4", prefix="b")
    assert {series.uid: len(series.files) for series in dicom_folder(folder).series} == {"1.2.3": 6, "1.2.4": 4}
    said = '1.2.3 (6 files, "thin slices")', "1.2.4 (4 files", "folder of its own", "-series"
    refused(lambda: find_cases(tmp_path / "in"), folder, *said)


def test_slices_of_another_size_or_direction(tmp_path):
    write_series(tmp_path / "a", uid="1.2.3")
    write_series(tmp_path / "a", VOXELS[:1, :5], uid="1.2.3", places=[9], prefix="small")
    refused(lambda: read_series(one_series(tmp_path / "a")), "different size", "small")
    write_series(tmp_path / "b", uid="1.2.3")
    write_series(tmp_path / "b", VOXELS[:1], np.eye(3), uid="1.2.3", places=[9], prefix="localiser")
    refused(lambda: read_series(one_series(tmp_path / "b")), "different direction", "localiser")


def test_a_single_slice(tmp_path):
    write_series(tmp_path, VOXELS[:1])
    refused(lambda: read_series(one_series(tmp_path)), tmp_path / "001.dcm", "localiser")


def test_a_folder_without_images_and_a_slice_cut_short(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.dcm").write_bytes(bytes(300))
    refused(lambda: find_cases(tmp_path), tmp_path / "none" / "a.dcm", "no DICOM")
    write_series(tmp_path / "cut")
    files = one_series(tmp_path / "cut")
    os.truncate(files[2], files[2].stat().st_size - 40)
    refused(lambda: read_series(files), tmp_path / "cut")
