"""DICOM as other programs write it, against what other programs read: highdicom, ITK's compression, JPEG-LS."""

from __future__ import annotations

import locale
from pathlib import Path

import dicom_made as made
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from test_dicom_enhanced import ORDERS, VOXELS, places, stored
from test_intake_dicom import OBLIQUE, one_series, write_series

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.dicom import read_series
from nnactive_ext.intake.find import find, find_cases
from nnactive_ext.intake.reading import read

highdicom = pytest.importorskip("highdicom")


def slices(folder: Path) -> list[pydicom.Dataset]:
    """The slices of a series with all that highdicom asks for."""
    found = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    for one in found:
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.PatientName, one.PatientBirthDate, one.PatientSex, one.StudyID, one.AccessionNumber = "x^y", "", "", "", ""
        one.StudyDate, one.StudyTime, one.ReferringPhysicianName, one.Manufacturer = "20200101", "000000", "", "x"
        one.AcquisitionDate = one.ContentDate = one.SeriesDate = "20200101"
        one.AcquisitionTime = one.ContentTime = one.SeriesTime = "000000"
        one.SeriesNumber, one.AcquisitionNumber = 1, 1
        one.ManufacturerModelName, one.DeviceSerialNumber, one.SoftwareVersions = "x", "1", "1"
        one.PositionReferenceIndicator = ""
    return found


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
def test_a_series_converted_by_highdicom(tmp_path, direction):
    space = write_series(tmp_path / "a", VOXELS, direction)
    classic = slices(tmp_path / "a")
    uid = pydicom.uid.generate_uid
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(classic, uid(), 7, uid(), 1)
    (tmp_path / "in" / "p").mkdir(parents=True)
    enhanced.save_as(tmp_path / "in" / "p" / "one")
    image = read(find_cases(tmp_path / "in")["p"].sources[0])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), VOXELS)
    np.testing.assert_allclose(Space.of_image(image).affine, space.affine, atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
def test_highdicom_finds_each_frame_at_the_same_place(tmp_path, order, direction):
    there = [places(direction)[k] for k in ORDERS[order]]
    rescale = [(1.0 + k % 3, -10.0 * k) for k in ORDERS[order]]
    file = made.save(made.enhanced(stored(ORDERS[order]), there, direction, rescale), tmp_path / "a.dcm")
    image = read_series([file])
    volume = highdicom.imread(file).get_volume(apply_real_world_transform=False, apply_modality_transform=True, rtol=0.01)
    inside = np.array([[k, 2, 4] for k in range(8)])
    theirs = {
        tuple(np.round(place, 2)): volume.array[k, 2, 4] for k, place in enumerate(volume.map_indices_to_reference(inside))
    }
    for k in range(8):
        place = tuple(np.round(image.TransformIndexToPhysicalPoint((4, 2, k)), 2))
        near = min(theirs, key=lambda one: np.linalg.norm(np.subtract(one, place)))
        assert np.linalg.norm(np.subtract(near, place)) < 0.05
        assert image.GetPixel(4, 2, k) == theirs[near]


def test_a_segmentation_beside_its_series(tmp_path):
    """As archives offer both for download."""
    write_series(tmp_path / "in" / "p" / "ct", VOXELS)
    classic = slices(tmp_path / "in" / "p" / "ct")
    code = pydicom.sr.codedict.codes.SCT
    algorithm = highdicom.AlgorithmIdentificationSequence("x", pydicom.sr.codedict.codes.DCM.ArtificialIntelligence, "1")
    automatic = highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    segment = highdicom.seg.SegmentDescription(1, "liver", code.Organ, code.Liver, automatic, algorithm)
    uid = pydicom.uid.generate_uid
    about = uid(), 9, uid(), 1, "x", "x", "1", "1"
    masks = (VOXELS[::-1] > 500).astype(np.uint8)
    segmentation = highdicom.seg.Segmentation(classic, masks, "BINARY", [segment], *about)
    (tmp_path / "in" / "p" / "seg").mkdir()
    segmentation.save_as(tmp_path / "in" / "p" / "seg" / "1-1.dcm")
    found = find(tmp_path / "in")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read(found.cases["p"].sources[0])), VOXELS)
    assert "1 SEG" in found.notes[0].why


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_slices_and_frames_that_itk_compressed(tmp_path, compressor):
    """Lossless JPEG (process 14) is what most archives send."""
    whole = np.random.default_rng(3).integers(-1000, 2000, (6, 20, 18))
    space = write_series(tmp_path / "a", whole)
    (tmp_path / "b").mkdir()
    before = locale.setlocale(locale.LC_ALL)  # GDCM's writer resets it
    frames, writer = [], sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    for file in sorted((tmp_path / "a").iterdir()):
        image = sitk.ReadImage(str(file))
        smaller = sitk.Cast(image, sitk.sitkInt16)
        for key in image.GetMetaDataKeys():
            smaller.SetMetaData(key, image.GetMetaData(key))
        writer.SetFileName(str(tmp_path / "b" / file.name))
        writer.Execute(smaller)
        frames.append(pydicom.dcmread(tmp_path / "b" / file.name))
        assert frames[-1].file_meta.TransferSyntaxUID.is_compressed
    locale.setlocale(locale.LC_ALL, before)
    image = read_series(one_series(tmp_path / "b"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), whole)
    np.testing.assert_allclose(Space.of_image(image).affine, space.affine, atol=1e-3)
    order = [3, 0, 5, 1, 4, 2]
    axes = np.reshape(space.direction, (3, 3))
    there = [frames[k].ImagePositionPatient for k in order]
    many = made.enhanced((whole + 1024).astype("<i2"), there, axes)
    for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(many, name, frames[0][name].value)
    slope = (float(frames[0].RescaleSlope), float(frames[0].RescaleIntercept))
    many.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = [made.item(**made.values(*slope))]
    parts = [next(pydicom.encaps.generate_frames(frames[k].PixelData, number_of_frames=1)) for k in order]
    many.PixelData = pydicom.encaps.encapsulate(parts)
    many["PixelData"].is_undefined_length = True
    made.syntax(many, str(frames[0].file_meta.TransferSyntaxUID))
    read_back = read_series([made.save(many, tmp_path / "many.dcm")])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_back), whole)


@pytest.mark.parametrize("signed", [True, False])
def test_jpeg_ls(tmp_path, signed):
    pytest.importorskip("jpeg_ls")
    order = ORDERS["in three runs"]
    kind = "<i2" if signed else "<u2"
    numbers = ((VOXELS if signed else VOXELS + 1024)[order]).astype(kind)
    file = made.enhanced(numbers, [places()[k] for k in order], rescale=(1, 0 if signed else -1024))
    made.save(file, tmp_path / "plain.dcm")
    file.compress(pydicom.uid.JPEGLSLossless)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_series([made.save(file, tmp_path / "a.dcm")])), VOXELS)


@pytest.mark.parametrize("kind", ["slices", "frames"])
def test_damaged_headers_end_in_an_error_or_a_volume(tmp_path, kind):
    """Never in a traceback, and never in voxels of another number than the header's."""
    if kind == "slices":
        write_series(tmp_path / "in" / "p", VOXELS)
        file = tmp_path / "in" / "p" / "003.dcm"
    else:
        file = made.save(made.enhanced(stored(), places()), tmp_path / "in" / "p" / "one.dcm")
    whole, rng = file.read_bytes(), np.random.default_rng(5)
    end = whole.rindex(b"\xe0\x7f\x10\x00")
    refusals = 0
    for _ in range(60):
        changed = bytearray(whole)
        for place in rng.integers(128, end, 2):
            changed[place] = rng.integers(256)
        file.write_bytes(changed)
        try:
            image = read(find_cases(tmp_path / "in")["p"].sources[0])
        except NnActiveError:
            refusals += 1
        else:
            assert image.GetNumberOfPixels() in (VOXELS.size, VOXELS.size * 7 // 8)
    assert 0 < refusals < 60
