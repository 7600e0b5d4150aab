"""NIfTI pairs and detached NRRDs are read as nibabel and ITK write them; Analyze and damaged ones are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.spm99analyze import Spm99AnalyzeImage
from scipy.spatial.transform import Rotation
from test_intake_dicom import refused

from nnactive_ext.geometry.space import Space
from nnactive_ext.intake.find import find_cases
from nnactive_ext.intake.reading import read

VOXELS = np.random.default_rng(0).integers(-1000, 2000, (7, 6, 5)).astype(np.int16)
"""Along (x, y, z), as nibabel has them."""


def oblique(flip: int = 1) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix() @ np.diag([0.8 * flip, 1.2, 2.5])
    affine[:3, 3] = (-10, 20, -30)
    return affine


def pair(folder: Path, affine: np.ndarray, dtype=np.int16) -> Path:
    folder.mkdir(exist_ok=True)
    image = nib.Nifti1Pair(VOXELS.astype(dtype), affine)
    image.header["descrip"] = b"a pair"
    nib.save(image, folder / "a.img")
    return folder / "a.hdr"


def taken(folder: Path) -> sitk.Image:
    return read(find_cases(folder)["a"].sources[0])


@pytest.mark.parametrize("flip", [1, -1])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "<u1"])
def test_nifti_pairs(tmp_path, flip, dtype):
    header = pair(tmp_path / "in", oblique(flip), dtype)
    image = taken(tmp_path / "in")
    assert (sitk.GetArrayFromImage(image).T == VOXELS.astype(dtype)).all()
    lps = np.diag([-1, -1, 1, 1]) @ nib.load(header).affine
    assert np.allclose(Space.of_image(image).affine, lps, atol=1e-4)


def test_upper_case_and_a_pair_that_is_a_slope(tmp_path):
    header = pair(tmp_path / "in", oblique())
    image = nib.load(header)
    image.header.set_slope_inter(2, -1024)
    nib.save(nib.Nifti1Pair(VOXELS, oblique(), image.header), tmp_path / "in" / "a.img")
    for file in list((tmp_path / "in").iterdir()):
        file.rename(file.with_name("a.HDR" if file.suffix == ".hdr" else "a.IMG"))
    assert list(find_cases(tmp_path / "in")) == ["a"]


def test_analyze_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    nib.save(Spm99AnalyzeImage(VOXELS, np.diag([-1.0, 1, 2, 1])), tmp_path / "in" / "a.img")
    refused(lambda: taken(tmp_path / "in"), tmp_path / "in" / "a.hdr", "Analyze", "side")
    pair(tmp_path / "other", oblique())
    nib.save(nib.AnalyzeImage(VOXELS, np.diag([-1.0, 1, 2, 1])), tmp_path / "other" / "a.img")
    refused(lambda: taken(tmp_path / "other"), "Analyze")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
@pytest.mark.parametrize("ending", ["hdr", "img"])
def test_damaged_pairs(tmp_path, share, ending):
    file = pair(tmp_path / "in", oblique()).with_suffix(f".{ending}")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    refused(lambda: taken(tmp_path / "in"), tmp_path / "in" / "a.")


def test_nifti_2_pairs_are_named(tmp_path):
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti2Pair(VOXELS, oblique()), tmp_path / "in" / "a.img")
    refused(lambda: taken(tmp_path / "in"), tmp_path / "in" / "a.hdr", "NIfTI-2")


@pytest.mark.parametrize("compressed", [True, False])
def test_detached_nrrd(tmp_path, compressed):
    image = sitk.GetImageFromArray(VOXELS.T.copy())
    image.SetSpacing((0.8, 1.2, 2.5))
    image.SetOrigin((-10, 20, -30))
    image.SetDirection(Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix().ravel().tolist())
    (tmp_path / "in").mkdir()
    sitk.WriteImage(image, str(tmp_path / "in" / "a.nhdr"), compressed)
    got = taken(tmp_path / "in")
    assert (sitk.GetArrayFromImage(got).T == VOXELS).all()
    assert np.allclose(Space.of_image(got).affine, Space.of_image(image).affine)
    assert find_cases(tmp_path / "in")["a"].sources[0].copied
    shutil.copy(tmp_path / "in" / "a.nhdr", tmp_path / "a.nhdr")
    (voxels,) = (file for file in (tmp_path / "in").iterdir() if file.suffix != ".nhdr")
    voxels.write_bytes(voxels.read_bytes()[:50])
    refused(lambda: taken(tmp_path / "in"), tmp_path / "in" / "a.nhdr")
    voxels.unlink()
    refused(lambda: taken(tmp_path / "in"), tmp_path / "in" / "a.nhdr")
