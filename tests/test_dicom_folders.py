"""Folders of DICOM files as archives hand them out: the image is found among what is no volume, or it is asked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dicom_made as made
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from rollouts import NUMBER, OPTIONS, Rollout
from test_intake_dicom import VOXELS, refused, write_series

from conftest import tiny_case
from nnactive_ext.cli import change
from nnactive_ext.images.dicom_files import is_dicom
from nnactive_ext.intake.find import find, find_cases
from nnactive_ext.intake.reading import read
from nnactive_ext.planning.settings import command_of

IMPLICIT, EXPLICIT = (True, True), (False, True)
NO_IMAGES = ("RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "DOC")


def voxels(folder: Path, case: str, **asked) -> np.ndarray:
    return sitk.GetArrayFromImage(read(find_cases(folder, **asked)[case].sources[0]))


def told(folder: Path, **asked) -> str:
    return "\n".join(f"{note.value}: {note.why}" for note in find(folder, **asked).notes)


def one_slice(kind: str = "SC", placed: bool = True, description: str = "", **tags) -> pydicom.Dataset:
    """A single image of its own series, as a localiser or a screenshot."""
    found = made.with_pixels(made.blank(kind, description=description, **tags), np.zeros((20, 30), "<i2"))
    if placed:
        found.ImagePositionPatient, found.ImageOrientationPatient = [0.0, 0.0, 0.0], [0, 1, 0, 0, 0, -1]
        found.PixelSpacing = [1.0, 1.0]
    return found


def dose() -> pydicom.Dataset:
    found = made.with_pixels(made.blank("RTDOSE"), np.zeros((4, 5, 6), "<u2"))
    found.GridFrameOffsetVector = [0.0, 2.0, 4.0, 6.0]
    return found


def segmentation() -> pydicom.Dataset:
    return made.with_pixels(made.blank("SEG"), np.zeros((4, 5, 6), np.uint8))


def edited(folder: Path, change) -> None:
    for file in folder.iterdir():
        found = pydicom.dcmread(file)
        change(found)
        found.save_as(file)


@pytest.mark.parametrize("form", [IMPLICIT, EXPLICIT], ids=["implicit", "explicit"])
@pytest.mark.parametrize("first", ["the class", "the length of the group", "the character set", "the meta header"])
def test_files_without_a_preamble(tmp_path, form, first):
    write_series(tmp_path / "p")
    write_series(tmp_path / "q", VOXELS + 1)
    for file in (tmp_path / "p").iterdir():
        found = pydicom.dcmread(file)
        if first == "the length of the group":
            found.add_new((0x0008, 0x0000), "UL", 88)
        if first == "the character set":
            found.SpecificCharacterSet = "ISO_IR 100"
        if first == "the meta header":
            file.write_bytes(file.read_bytes()[132:])
            file.rename(file.with_suffix(""))
            continue
        del found.file_meta
        found.preamble = None
        pydicom.dcmwrite(file.with_suffix(""), found, implicit_vr=form[0], little_endian=True, enforce_file_format=False)
        file.unlink()
    assert list(find_cases(tmp_path)) == ["p", "q"]
    np.testing.assert_array_equal(voxels(tmp_path, "p"), VOXELS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"notes",
        b"\x08\x00",
        b"\x08\x00 is a tab" * 40,
        bytes(400),
        b"\x89PNG\r\n\x1a\n" + bytes(400),
        b"PK\x03\x04" + bytes(range(256)),
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100\x07\x00\x00\x00" + bytes(300),
        np.arange(500, dtype="<u2").tobytes(),
        np.full(500, 8, "<u2").tobytes(),
    ],
)
def test_other_files_are_not_taken_for_dicom(tmp_path, content):
    file = tmp_path / "IM0001"
    file.write_bytes(content)
    assert not is_dicom(file)


@pytest.mark.parametrize("layout", ["in the folder", "beside it", "beside the patient"])
def test_what_is_no_volume_is_passed_over(tmp_path, layout):
    series = tmp_path / "p" / "study" / "ct"
    write_series(series)
    places = {"in the folder": series, "beside it": tmp_path / "p" / "study" / "others", "beside the patient": tmp_path / "x"}
    for kind in NO_IMAGES:
        made.save(made.object_without_image(kind), places[layout] / kind)
    others = [dose(), segmentation(), one_slice(placed=False), one_slice("SC", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])]
    if layout == "beside the patient":  # pictures alone are asked about
        del others[2]
    for number, found in enumerate(others):
        made.save(found, places[layout] / f"{number}.dcm")
    assert list(find_cases(tmp_path)) == ["p"]
    np.testing.assert_array_equal(voxels(tmp_path, "p"), VOXELS)
    rows = told(tmp_path)
    for word in (*(f"1 {kind}" for kind in NO_IMAGES), "1 RTDOSE", "1 SEG", "1 localiser"):
        assert word in rows
    assert ("no image in x" in rows) == (layout == "beside the patient")


def test_localisers_among_the_slices_and_single_slices_beside_them(tmp_path):
    write_series(tmp_path / "p", uid="1.2.3")
    made.save(one_slice(uid="1.2.3", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "p" / "a.dcm")
    made.save(one_slice(description="Topogram"), tmp_path / "p" / "b.dcm")
    np.testing.assert_array_equal(voxels(tmp_path, "p"), VOXELS)
    assert "1 localiser and 1 single slice" in told(tmp_path)


def test_three_planes_of_a_localiser_are_asked_about(tmp_path):
    write_series(tmp_path / "p" / "t1", uid="1.2.3")
    for i, axes in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        found = one_slice(uid="1.2.4", description="3-plane loc")
        found.ImageOrientationPatient = axes
        made.save(found, tmp_path / "p" / "loc" / str(i))
    refused(lambda: find_cases(tmp_path), "p: 2 DICOM series", "3-plane loc", "thin slices", "-series")
    np.testing.assert_array_equal(voxels(tmp_path, "p", series=["thin slices"]), VOXELS)
    assert "3-plane loc" in told(tmp_path, series=["thin slices"])


@pytest.mark.parametrize("layout", ["one folder", "folders of a patient", "a pattern"])
@pytest.mark.parametrize("wanted", ["thin slices", "THIN Slices", "thin*", "*slices", "1.2.3"])
def test_a_series_is_chosen(tmp_path, layout, wanted):
    for number in range(2):
        folder = tmp_path / f"p{number}"
        thick = folder if layout != "folders of a patient" else folder / "thick"
        write_series(folder if layout != "folders of a patient" else folder / "thin", VOXELS + number, uid="1.2.3")
        write_series(thick, VOXELS[:4], uid="1.2.4", prefix="x")
        for file in thick.glob("x*"):
            found = pydicom.dcmread(file)
            found.SeriesDescription = "Thick [5 mm]"
            found.save_as(file)
    more = {"pattern": "{case}"} if layout == "a pattern" else {}
    message = refused(lambda: find_cases(tmp_path, **more), "2 DICOM series", "1.2.4", "Thick [5 mm]", "-series")
    assert message.count("-series") >= 2
    for number in range(2):
        np.testing.assert_array_equal(voxels(tmp_path, f"p{number}", series=[wanted], **more), VOXELS + number)
    assert "Thick [5 mm]" in told(tmp_path, series=[wanted], **more)
    assert voxels(tmp_path, "p0", series=["thick [5 MM]"], **more).shape == (4, 7, 8)
    refused(lambda: find_cases(tmp_path, series=["t1"], **more), tmp_path / "p1", "-series t1", "1.2.3", "Thick [5 mm]")
    refused(lambda: find_cases(tmp_path, series=["thi*"], **more), "2 DICOM series")


def test_a_choice_without_any_dicom_is_told(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    assert list(find_cases(tmp_path, series=["thin"])) == ["a"]
    assert "-series thin: not used" in told(tmp_path, series=["thin"])


def test_channels_are_series_in_folders_of_their_own(tmp_path):
    for channel in ("T1", "T2"):
        write_series(tmp_path / "p" / channel, VOXELS + len(channel))
        made.save(made.object_without_image("SR"), tmp_path / "p" / channel / "sr.dcm")
    assert len(find_cases(tmp_path, ["T1", "T2"])["p"].sources) == 2


def test_a_series_in_several_folders_is_one(tmp_path):
    write_series(tmp_path / "p" / "DICOM" / "A", uid="1.2.3")
    (tmp_path / "p" / "DICOM" / "B").mkdir()
    for name in ("002.dcm", "005.dcm"):
        shutil.move(tmp_path / "p" / "DICOM" / "A" / name, tmp_path / "p" / "DICOM" / "B" / name)
    np.testing.assert_array_equal(voxels(tmp_path, "p"), VOXELS)


def test_pictures_alone_are_a_lost_case(tmp_path):
    write_series(tmp_path / "p")
    for i in range(3):
        made.save(one_slice(placed=False), tmp_path / "q" / str(i))
    refused(lambda: find_cases(tmp_path), tmp_path / "q", "3 secondary capture", "positions")


@pytest.mark.parametrize("colours", ["RGB", "YBR_FULL", "PALETTE COLOR"])
def test_colours_are_refused(tmp_path, colours):
    def change(found):
        found.PhotometricInterpretation = colours
        if colours != "PALETTE COLOR":
            found.SamplesPerPixel, found.PlanarConfiguration = 3, 0
            found.BitsAllocated, found.BitsStored, found.HighBit, found.PixelRepresentation = 8, 8, 7, 0
            found.PixelData = bytes(7 * 8 * 3)

    write_series(tmp_path / "p")
    edited(tmp_path / "p", change)
    refused(lambda: voxels(tmp_path, "p"), tmp_path / "p", "colours", colours)


@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("how", ["gone", "empty", "in one slice"])
def test_a_place_that_is_not_stated(tmp_path, tag, how):
    write_series(tmp_path / "p")
    for file in sorted((tmp_path / "p").iterdir())[3 if how == "in one slice" else 0 :]:
        found = pydicom.dcmread(file)
        found.ImagerPixelSpacing = [1.2, 0.8]
        found.NominalScannedPixelSpacing = [1.2, 0.8]
        if how == "empty":
            found[tag].value = None
        else:
            del found[tag]
        found.save_as(file)
    refused(lambda: voxels(tmp_path, "p"), tmp_path / "p" / ("004.dcm" if how == "in one slice" else "001.dcm"), tag)


def test_damaged_and_empty_files_are_named(tmp_path):
    for case in "pqrs":
        write_series(tmp_path / case)
    (tmp_path / "p" / "001.dcm").write_bytes(b"")
    os.truncate(tmp_path / "q" / "006.dcm", 300)
    (tmp_path / "r" / "007.dcm").write_text("no image")
    refused(lambda: find_cases(tmp_path), *(tmp_path / name for name in ("p/001.dcm", "q/006.dcm", "r/007.dcm")))
    for name in ("p/001.dcm", "q/006.dcm", "r/007.dcm"):
        (tmp_path / name).unlink()
    assert list(find_cases(tmp_path)) == list("pqrs")


def test_every_cut_of_a_file_is_noticed(tmp_path):
    write_series(tmp_path / "p")
    file = tmp_path / "p" / "006.dcm"
    whole = file.read_bytes()
    for size in range(0, len(whole), 37):
        file.write_bytes(whole[:size])
        refused(lambda: voxels(tmp_path, "p"), tmp_path / "p")


def test_slices_in_several_transfer_syntaxes(tmp_path):
    whole = np.random.default_rng(2).integers(-1000, 2000, (6, 20, 18))  # GDCM takes smaller RLE frames for damaged
    write_series(tmp_path / "p", whole)
    for number, file in enumerate(sorted((tmp_path / "p").iterdir())):
        found = pydicom.dcmread(file)
        if number % 3 == 1:
            found.compress(pydicom.uid.RLELossless)
        elif number % 3 == 2:
            found.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        pydicom.dcmwrite(file, found, implicit_vr=number % 3 == 2, little_endian=True)
    np.testing.assert_array_equal(voxels(tmp_path, "p"), whole)


def patient(folder: Path, number: int) -> None:
    """Two channels, each with a thin and a thick series and a report in one folder."""
    for channel, plane in zip(("T1", "T2"), tiny_case(number)[0], strict=True):
        whole = np.rint(plane * 100).astype(int)
        write_series(folder / channel, whole, np.eye(3), uid="1.2.3")
        write_series(folder / channel, whole[:3], np.eye(3), uid="1.2.4", prefix="x")
        for file in (folder / channel).glob("x*"):
            found = pydicom.dcmread(file)
            found.SeriesDescription = "thick"
            found.save_as(file)
        made.save(made.object_without_image("SR"), folder / channel / "report.dcm")


def test_a_choice_of_series_is_planned_repeated_and_kept_for_cases_added_later(rollout, tmp_path):
    images = tmp_path / "archive"
    for number in range(4):
        patient(images / f"p{number}", number)
    given = Rollout(images, rollout.anatomy)
    with pytest.raises(SystemExit):
        given.plan()
    experiment = given.plan(f"{OPTIONS} -series thin*")
    assert "-series thin*" in " ".join(command_of(experiment.plan, labels=["a"], channels=["T1", "T2"]))
    rows = "\n".join(" ".join(row) for row in experiment.plan.decisions)
    assert "8 SR" in rows
    assert "thick" in rows
    patient(tmp_path / "later" / "p7", 7)
    change.main(["-d", str(NUMBER), "-add", str(tmp_path / "later"), "--disable_progress_bar"])
    for number in (0, 7):
        file = given.experiment.raw / "imagesTr" / f"p{number}_0001.nii.gz"
        expected = np.rint(tiny_case(number)[0][1] * 100)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), expected)
    patient(tmp_path / "third" / "p8", 8)
    words = ["-d", str(NUMBER), "-series", "thick", "1.2.9", "-add", str(tmp_path / "third"), "--disable_progress_bar"]
    change.main(words)
    assert given.experiment.plan.pool["p8"].shape[0] == 3


@pytest.mark.parametrize("fields", [["RescaleIntercept"], ["RescaleSlope", "RescaleIntercept"]])
def test_slices_of_which_some_state_no_rescaling(tmp_path, fields):
    def without(found: pydicom.Dataset) -> None:
        for name in fields if found.InstanceNumber in (2, 5) else ():
            delattr(found, name)

    write_series(tmp_path / "p")
    edited(tmp_path / "p", without)
    refused(lambda: voxels(tmp_path, "p"), tmp_path / "p", "RescaleIntercept", "002.dcm")


@pytest.mark.parametrize("slices", [1, 6])
def test_mosaics_are_no_slices(tmp_path, slices):
    def mosaic(found: pydicom.Dataset) -> None:
        found.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]

    write_series(tmp_path / "p", VOXELS[:slices])
    edited(tmp_path / "p", mosaic)
    refused(lambda: voxels(tmp_path, "p"), tmp_path / "p", "mosaic", "dcm2niix")


def test_the_viewer_on_a_disc_is_no_case_and_is_told(tmp_path):
    for disc in ("p", "q"):
        write_series(tmp_path / disc / "DICOM" / "PA0" / "ST0" / "SE0")
        for name in ("DICOMDIR", "JRE/rt.zip", "autorun.inf", *(f"JPEG/I{number}.jpg" for number in range(4))):
            (tmp_path / disc / name).parent.mkdir(exist_ok=True)
            (tmp_path / disc / name).write_text("x")
    assert list(find_cases(tmp_path)) == ["p", "q"]
    assert "12 files" in told(tmp_path)
    np.testing.assert_array_equal(voxels(tmp_path, "q"), VOXELS)
    (tmp_path / "r.zip").write_text("x")  # beside the discs it may be a case
    refused(lambda: find_cases(tmp_path), tmp_path / "r.zip")


@pytest.mark.parametrize("inner", ["DICOM", "NSCLC-Radiomics"])
def test_the_folder_below_which_all_cases_lie_is_named(tmp_path, inner):
    for case in ("p", "q"):
        write_series(tmp_path / inner / case / "study" / "series-1")
    refused(lambda: find_cases(tmp_path), f"{tmp_path / inner};")
    assert list(find_cases(tmp_path / inner)) == ["p", "q"]
