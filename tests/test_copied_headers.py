"""Images with headers that ITK does not read rightly, from planning to the answer, and what a dataset with them is told."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.spaces import image_and_space
from nnactive_ext.geometry.space import Space
from nnactive_ext.planning.sizes import parse_patch_size

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NM = 1e-6
"""mm"""


def rewritten(file: Path, how: str) -> tuple[np.ndarray, np.ndarray]:
    """The image in another format; its voxels (z, y, x) and the affine in LPS mm that the new file states."""
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
    place = np.diag([1.1, 0.9, 1.3, 1.0])
    place[:3, 3] = (5.0, -7.0, 11.0)
    target = file.with_name(file.name.removesuffix(".nii.gz"))
    file.unlink()
    if how == "NIfTI-2":
        nibabel.save(nibabel.Nifti2Image(array.T, place), f"{target}.nii")
        return array, LPS @ place
    if how == "sheared":
        place[0, 1] = 0.003
        image = nibabel.Nifti1Image(array.T, place)
        nibabel.save(image, f"{target}.nii.gz")
        return array, LPS @ place
    if how == "NRRD":
        header = {"space": "LPS", "space directions": np.diag([1100.0, 900, 1300]), "space origin": [5000.0, -7000, 11000]}
        nrrd.write(f"{target}.nrrd", array.T, {**header, "space units": ["um"] * 3})
        return array, place
    if how == "MetaImage":
        sitk.WriteImage(Space.of_affine(place, array.shape).image(array), f"{target}.mha")
        Path(f"{target}.mha").rename(f"{target}.MHA")
        return array, place
    assert how == "nm"
    place[:3] *= 8 * NM * 1000  # in microns
    image = nibabel.Nifti1Image(array.T, place)
    image.set_qform(place, 1)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, f"{target}.nii.gz")
    place[:3] /= 1000
    return array, LPS @ place


@pytest.mark.parametrize("how", ["NIfTI-2", "sheared", "NRRD", "MetaImage", "nm"])
def test_from_planning_to_the_answer(rollout, tmp_path, how, capsys):
    files = sorted(rollout.images.glob("tiny_[0-2]_*"))
    stated = {file.name[:9]: rewritten(file, how) for file in files}
    for file in rollout.images.glob("tiny_[3-9]_*"):
        file.unlink()
    before = {file: file.read_bytes() for file in rollout.images.iterdir()}
    experiment = rollout.plan()
    assert (f"{len(files)} copies of {len(files)}" in capsys.readouterr().out) == (how != "nm")
    assert {file: file.read_bytes() for file in rollout.images.iterdir()} == before
    for case in experiment.plan.pool:
        image, space = image_and_space(experiment, case)
        for number, channel in enumerate(("T1", "T2")):
            array, place = stated[f"{case}_{channel}"]
            np.testing.assert_array_equal(image[number], array)
            corners = np.array([[x, y, z, 1] for x in (0, 13) for y in (0, 25) for z in (0, 23)]).T
            moved = np.linalg.norm((space.affine - place)[:3] @ corners, axis=0).max() / min(space.spacing)
            assert moved <= 0.1
    (tmp_path / "points.csv").write_text("case,class,i,j,k\ntiny_0,organ,7,13,12\n")
    rollout.annotate(f"points {tmp_path / 'points.csv'}")
    rollout.export(tmp_path / "tasks")
    capsys.readouterr()
    exported = sorted((tmp_path / "tasks").glob("c*/c*_tiny_?.nii.gz"))
    for file in exported:
        image = sitk.ReadImage(str(file))
        labels = sitk.GetArrayFromImage(image)
        asked = labels != 3
        first = np.argwhere(asked)[0]
        labels[tuple(first)] = 1
        answer = sitk.GetImageFromArray(labels)
        answer.CopyInformation(image)
        sitk.WriteImage(answer, str(file))
    rollout.annotate(f"import {tmp_path / 'tasks'} -who anna")
    out = capsys.readouterr().out
    assert out.count("done") == len(exported)


@pytest.mark.parametrize(
    ("word", "mm"), {"64nm": 64 * NM, "2um": 2e-3, "2µm": 2e-3, "2μm": 2e-3, "20mm": 20.0, "8": 8 * 4 * NM}.items()
)
def test_patch_sizes_of_microscopists(word, mm):
    np.testing.assert_allclose(parse_patch_size([word], [4 * NM] * 3), [mm] * 3)


@pytest.mark.parametrize("word", ["8pm", "um", "8 parsec", "8m"])
def test_patch_sizes_in_other_units(word):
    with pytest.raises(NnActiveError, match="um"):
        parse_patch_size([word], [1.0] * 3)
