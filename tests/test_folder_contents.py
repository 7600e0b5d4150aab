"""What lies beside the images is ignored, named in the plan, or refused as a lost case; the files are mostly empty."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_intake_dicom import refused, write_series

from nnactive_ext.intake.find import find, find_cases


@pytest.fixture
def beside(tmp_path):
    """Makes a folder with the images a.nii.gz and b.nii.gz, and other empty files."""

    def make(*names: str) -> Path:
        for name in ("a.nii.gz", "b.nii.gz", *names):
            file = tmp_path / "in" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return tmp_path / "in"

    return make


def told(folder: Path, **more) -> str:
    return "\n".join(f"{note.value}: {note.why}" for note in find(folder, **more).notes)


@pytest.mark.parametrize(
    "name",
    [
        *("README", "README.md", "LICENSE.txt", "CHANGES", "participants.tsv", "participants.tsv.gz", "x.json", "x.xlsx"),
        *(
            "report.pdf",
            "convert.py",
            "Thumbs.db",
            ".DS_Store",
            "._a.nii.gz",
            "__MACOSX/a.nii.gz",
            "a.nii.gz.md5",
            "SHA256SUMS",
        ),
        *("a.bval", "a.bvec", "DICOMDIR", "points.mrk.json", "points.fcsv", ".git/config.h5", "notes.docx"),
    ],
)
def test_what_nobody_takes_for_an_image_is_ignored(beside, name):
    assert told(beside(name)) == ""


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        *[(name, "npack") for name in ("c.nii.bz2", "c.nii.xz", "c.zip", "c.7z", "c.tar", "c.tgz", "c.img.gz", "c.dcm.gz")],
        *[(name, "NIfTI") for name in ("c.h5", "c.npz", "c.npy", "c.mat", "c.raw")],
        *[(name, "Convert") for name in ("c.vtk", "c.mrc", "c.mgz", "c.hdr", "c.img", "c.mnc")],
        *[(name, "OME-TIFF") for name in ("c.czi", "c.lif", "c.nd2", "c.lsm", "C.ND2")],
        *[(name, "again") for name in ("c.nii.gz.part", "c.nrrd.crdownload")],
        *[(name, "Rename") for name in ("c.nii.gz.1", "c.nii.gz_old", "c.nrrd.bak")],
        *[(f"deep/er/{name}", "Unpack") for name in ("c.rar", "c.nii.zst")],
    ],
)
def test_what_looks_like_a_case_is_refused(beside, name, remedy):
    folder = beside(name)
    refused(lambda: find_cases(folder), folder / name, remedy)
    assert name in told(folder, pattern="{case}")


@pytest.mark.parametrize("name", ["c.ome.zarr/0/0.0.0", "c.zarr/zarr.json", "c.n5/attributes.json"])
def test_folders_that_are_arrays(beside, name):
    folder = beside(name)
    refused(lambda: find_cases(folder), folder / name.split("/")[0], "NIfTI")
    assert list(find_cases(folder, pattern="{case}")) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["mesh.stl", "other.stl", "x.obj"], ["2 files .stl", "mesh.stl, other.stl", "1 file .obj"]),
        (["a.png", "shots/b.jpg", "shots/c.jpg"], ["1 file .png", "2 files .jpg", "shots/b.jpg"]),
        (["unknown"], ["1 file without an ending", "unknown"]),
        (["patient_7/report.pdf", "patient_8/x/a.json"], ["2 folders: no image in it: patient_7, patient_8"]),
    ],
)
def test_all_else_is_named(beside, names, words):
    text = told(beside(*names))
    for word in words:
        assert word in text


def test_empty_folders_are_named(beside, tmp_path):
    folder = beside()
    (folder / "patient_9" / "scans").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    assert told(folder) == "1 folder: no image in it: patient_9"


def test_the_voxels_of_a_header_are_a_part_of_the_image(beside):
    folder = beside("c.mhd", "c.raw", "d.nhdr", "d.raw.gz", "e.hdr", "e.img")
    (folder / "f.nhdr").write_text("NRRD0004\ndata file: voxels.raw\n")
    (folder / "voxels.raw").touch()
    assert told(folder) == ""
    assert list(find_cases(folder)) == list("abcdef")
    (folder / "other.raw").touch()
    refused(lambda: find_cases(folder), folder / "other.raw")


def test_files_named_after_an_image_are_no_other_case(beside):
    folder = beside("a.mat", "b.zip", "p1.1.nii.gz")
    assert "1 file .mat: passed over: a.mat" in told(folder)
    refused(lambda: find_cases(beside("p1.zip")), folder / "p1.zip")


def test_numbered_pictures_with_loss_are_no_slices(beside):
    folder = beside(*(f"p1/slice_{i}.jpg" for i in range(5)))
    refused(lambda: find_cases(folder), folder / "p1", "5 numbered .jpg", "PNG")
    assert "5 files .jpg" in told(folder, pattern="{case}")


def test_pictures_beside_an_image_are_no_slices(beside):
    folder = beside("p1/ct.nii.gz")
    for i in range(5):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "p1" / f"shot_{i}.png")
    assert "5 files .png: passed over: p1/shot_0.png" in told(folder)
    (folder / "p1" / "ct.nii.gz").unlink()
    assert "1 folder of slices" in told(folder)


def test_a_pattern_tells_what_it_skips(beside):
    text = told(beside("c_t2.nii.gz", "d.zip", "e.stl"), pattern="{case}_t2")
    assert "2 images" in text
    assert "a.nii.gz, b.nii.gz" in text
    assert "d.zip" in text
    assert "e.stl" in text


def test_masks_below_a_case_are_no_images_and_are_named(beside):
    names = [f"s{case}/{name}.nii.gz" for case in (1, 2) for name in ("ct", "segmentations/liver", "segmentations/spleen")]
    folder = beside(*names)
    assert list(find_cases(folder)) == ["a", "b", "s1", "s2"]
    assert "4 label maps" in told(folder)
    assert "-label_maps" in told(folder)
    refused(lambda: find_cases(beside("s3/segmentations/liver.nii.gz", "s3/segmentations/spleen.nii.gz")), "s3", "2 images")


def test_derivatives_of_a_bids_dataset(beside):
    folder = beside("dataset_description.json", "derivatives/x/sub-1.mgz", "derivatives/x/sub-1.nii.gz", "code/run.h5")
    assert list(find_cases(folder)) == ["a", "b"]
    assert "2 folders: no raw data of BIDS: code, derivatives" in told(folder)
    assert list(find_cases(folder, pattern="derivatives/*/{case}")) == ["sub-1"]


def test_too_deep_and_unreadable_folders(beside):
    folder = beside("/".join("123456789") + "/c.nii.gz")
    refused(lambda: find_cases(folder), "1/2/3/4/5/6/7/8/9", "too deep")
    if os.name != "nt" and os.geteuid():
        closed = beside("closed/c.nii.gz") / "closed"
        closed.chmod(0)
        try:
            refused(lambda: find_cases(folder), closed, "permission")
        finally:
            closed.chmod(0o755)


def test_label_maps_that_were_given_are_not_named(beside):
    folder = beside("labels/a.nii.gz", "a_seg.nii.gz")
    (folder / "a_seg.nii.gz").rename(folder / "labels" / "b.nii.gz")
    assert told(folder, label_maps=folder / "labels") == ""


def test_files_beside_dicom(beside):
    folder = beside("p/report.pdf", "p/mesh.stl", "p/more.zip")
    write_series(folder / "p")
    refused(lambda: find_cases(folder), folder / "p" / "more.zip")
    (folder / "p" / "more.zip").unlink()
    assert told(folder) == "1 file .stl: passed over: p/mesh.stl"
