"""Images whose header does not say where they lie: points and whole label maps go by voxels, or are refused."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.cli import annotate, change, plan
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.unplaced import centred, has_place
from nnactive_ext.labelling.answers import CountingAnswers, read_answer
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import tasks_of

SIZE, MM = (15, 19, 23), (0.8, 0.9, 1.5)
VOXEL = (11, 4, 17)
OPTIONS = "--labels organ -patch_size 5 -starting_budget 3 -query_size 2 -cycles 2 -folds 2 --preset cpu -np 1"


def unplaced(file: Path, array: np.ndarray, kind: type = nibabel.Nifti1Image) -> Path:
    image = kind(array, np.diag([*MM, 1]))
    if kind is not nibabel.AnalyzeImage:
        image.set_qform(None, 0)
        image.set_sform(None, 0)
    image.header.set_zooms(MM)
    nibabel.save(image, file)
    return file


def nrrd(file: Path, *lines: str) -> Path:
    head = ["NRRD0004", "type: short", "dimension: 3", "sizes: 2 2 2", "encoding: raw", "endian: little", *lines, "", ""]
    file.write_bytes("\n".join(head).encode() + np.arange(8, dtype="<i2").tobytes())
    return file


def picture(file: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(8, dtype=np.uint8).reshape(2, 2, 2)), str(file))
    return file


DIRECTIONS = "space directions: (1,0,0) (0,1,0) (0,0,1)"
WITHOUT = {
    "NIfTI": lambda folder: unplaced(folder / "a.nii.gz", np.zeros((2, 2, 2), np.int16)),
    "NIfTI-2": lambda folder: unplaced(folder / "a.nii", np.zeros((2, 2, 2), np.int16), nibabel.Nifti2Image),
    "NIfTI in two files": lambda folder: unplaced(folder / "a.img", np.zeros((2, 2, 2), np.int16), nibabel.Nifti1Pair),
    "Analyze": lambda folder: unplaced(folder / "a.img", np.zeros((2, 2, 2), np.int16), nibabel.AnalyzeImage),
    "NRRD with spacings": lambda folder: nrrd(folder / "a.nrrd", "spacings: 1 1 2"),
    "NRRD in a space of nobody": lambda folder: nrrd(folder / "a.nrrd", "space: 3D-right-handed", DIRECTIONS),
    "NRRD without a name": lambda folder: nrrd(folder / "a.nrrd", "space dimension: 3", DIRECTIONS, "space origin: (1,2,3)"),
    "TIFF": lambda folder: picture(folder / "a.tif"),
}
WITH = {
    "NRRD": lambda folder: nrrd(folder / "a.nrrd", "space: left-posterior-superior", DIRECTIONS, "space origin: (0,0,0)"),
    "NRRD, scanner": lambda folder: nrrd(folder / "a.nrrd", "space: scanner-xyz", DIRECTIONS, "space origin: (0,0,0)"),
    "NIfTI of ITK": lambda folder: picture(folder / "a.nii.gz"),
    "MetaImage": lambda folder: picture(folder / "a.mha"),
    "a slice in DICOM": lambda folder: folder / "IM0001",
    "no file": lambda folder: folder / "a.nrrd",
}


@pytest.mark.parametrize("kind", WITHOUT)
def test_headers_without_a_place(tmp_path, kind):
    assert not has_place(WITHOUT[kind](tmp_path))


@pytest.mark.parametrize("kind", WITH)
def test_headers_with_a_place(tmp_path, kind):
    assert has_place(WITH[kind](tmp_path))


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (4, 2)])
def test_one_of_niftis_two_places_is_enough(tmp_path, codes):
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.set_qform(np.eye(4), codes[0])
    image.set_sform(np.eye(4), codes[1])
    nibabel.save(image, tmp_path / "a.nii")
    assert has_place(tmp_path / "a.nii")


@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.floats(0.125, 9, width=32)] * 3))
def test_nibabel_puts_the_middle_at_zero(shape, zooms):
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_zooms(zooms)
    itk = Space(shape[::-1], zooms, (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    lps = np.diag([-1, -1, 1, 1]) @ header.get_best_affine()
    z, y, x = (n - 1 for n in itk.shape)
    assert centred(itk).to_world((z, y, x)) == pytest.approx(tuple(lps @ (x, y, z, 1))[:3], abs=1e-4)
    assert centred(itk).to_world((0, 0, 0)) == pytest.approx(tuple(lps[:3, 3]), abs=1e-4)


def anatomy() -> np.ndarray:
    """A blob without any symmetry, (x, y, z)."""
    x, y, z = np.indices(SIZE)
    return ((x - VOXEL[0]) ** 2 + 2 * (y - VOXEL[1]) ** 2 + (z - VOXEL[2]) ** 2 / 2 + (x > VOXEL[0]) <= 6).astype(np.uint8)


@pytest.fixture
def images(tmp_path, nnunet_folders) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 100, SIZE).astype(np.int16)
        unplaced(folder / f"p{number}.nii.gz", noise + 500 * anatomy().astype(np.int16))
    return folder


@pytest.fixture
def experiment(images) -> Experiment:
    plan.main(["-i", str(images), "-o", "640", "-name", "Nowhere", *OPTIONS.split(), "--disable_progress_bar"])
    return Experiment.find(640)


def points(folder: Path, text: str) -> None:
    (folder / "points.csv").write_text(text)
    annotate.main(["points", "-d", "640", str(folder / "points.csv")])


def test_points_in_mm_are_refused_and_voxels_are_those_of_the_file(tmp_path, experiment, capsys):
    assert any("2 images of 2 without a place" in row for row in experiment.plan.decisions)
    before = read_json(experiment.raw / "loop_000.json")
    for columns in ("x_ras,y_ras,z_ras", "x_lps,y_lps,z_lps", "r,a,s"):
        with pytest.raises((NnActiveError, SystemExit)):
            points(tmp_path, f"case,class,{columns}\np0,organ,4,5,6\n")
        assert "does not say where it lies" in capsys.readouterr().err
    assert read_json(experiment.raw / "loop_000.json") == before
    points(tmp_path, "case,class,i,j,k\np1,organ,{},{},{}\n".format(*VOXEL))
    patch = tasks_of(experiment, 0)[-1].patch
    image = np.asanyarray(nibabel.load(tmp_path / "images" / "p1.nii.gz").dataobj)
    assert patch.case == "p1"
    assert [(s.start, s.stop) for s in patch.slices[::-1]] == [(9, 14), (2, 7), (15, 20)]
    assert (image.T[patch.slices] > 400).sum() == anatomy().T[patch.slices].sum() > 10


def test_an_experiment_planned_before_refuses_them_too(tmp_path, experiment, capsys):
    content = read_json(experiment.raw / "nnactive_plan.json")
    del content["unplaced"]
    write_json(experiment.raw / "nnactive_plan.json", content)
    with pytest.raises(SystemExit):
        points(tmp_path, "case,class,x_ras,y_ras,z_ras\np1,organ,4,5,6\n")
    assert "does not say where it lies" in capsys.readouterr().err


def answered(experiment: Experiment) -> dict[str, np.ndarray]:
    ledger = Ledger(experiment.annotation)
    counted = CountingAnswers.of(ledger)
    return {task: read_answer(ledger, counted, answers[-1]) for task, answers in counted.answers.items() if answers}


def by_nibabel(file: Path, labels: np.ndarray, like: nibabel.Nifti1Image) -> None:
    nibabel.save(nibabel.Nifti1Image(labels, like.affine), file)


def by_itk(file: Path, labels: np.ndarray, like: nibabel.Nifti1Image) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(labels.T))
    image.SetSpacing(MM)
    sitk.WriteImage(image, str(file))


def with_its_header(file: Path, labels: np.ndarray, like: nibabel.Nifti1Image) -> None:
    nibabel.save(nibabel.Nifti1Image(labels, None, like.header), file)


@pytest.mark.parametrize("write", [by_nibabel, by_itk, with_its_header])
def test_whole_label_maps_are_the_image_voxel_by_voxel(tmp_path, experiment, write):
    points(tmp_path, "case,class,i,j,k\np1,organ,{},{},{}\np0,organ,{},{},{}\n".format(*VOXEL, *VOXEL))
    (tmp_path / "back").mkdir()
    for name in ("p0", "p1"):
        like = nibabel.load(tmp_path / "images" / f"{name}.nii.gz")
        write(tmp_path / "back" / f"{name}.nii.gz", anatomy(), like)
    line = ["import", "-d", "640", str(tmp_path / "back"), "-who", "anna", "--accept_unchanged"]
    annotate.main(line)
    found = answered(experiment)
    tasks = {task.id: task for task in tasks_of(experiment, 0)}
    assert set(found) == set(tasks)
    for task, labels in found.items():
        np.testing.assert_array_equal(labels, anatomy().T[tasks[task].patch.slices])


def test_a_label_map_at_some_other_place_is_refused(tmp_path, experiment, capsys):
    image = sitk.GetImageFromArray(np.ascontiguousarray(anatomy().T))
    image.SetSpacing(MM)
    for direction, origin in (((-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 0, 0)), ((1, 0, 0, 0, 1, 0, 0, 0, 1), (-MM[0], 0, 0))):
        image.SetDirection(direction)
        image.SetOrigin(origin)
        sitk.WriteImage(image, str(tmp_path / "p0_seg.nrrd"))
        with pytest.raises(SystemExit):
            annotate.main(["import", "-d", "640", str(tmp_path / "p0_seg.nrrd"), "-who", "anna"])
        assert "does not say where it lies" in capsys.readouterr().err
    assert not answered(experiment)


def test_exported_crops_come_back_to_their_voxels(tmp_path, experiment):
    points(tmp_path, "case,class,i,j,k\np0,organ,{},{},{}\n".format(*VOXEL))
    annotate.main(["export", "-d", "640", "-o", str(tmp_path / "out"), "--blank", "--disable_progress_bar"])
    task = tasks_of(experiment, 0)[-1]
    folder = tmp_path / "out" / task.id
    crop, label = nibabel.load(next(folder.glob("image_*.nii.gz"))), nibabel.load(folder / f"{task.id}.nii.gz")
    painted = np.where(np.asanyarray(label.dataobj) == 2, 2, np.asanyarray(crop.dataobj) > 400).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(painted, label.affine), folder / f"{task.id}.nii.gz")
    annotate.main(["import", "-d", "640", str(folder), "-who", "anna"])
    np.testing.assert_array_equal(answered(experiment)[task.id], anatomy().T[task.patch.slices])


def test_images_without_a_place_that_come_later(tmp_path, experiment, capsys):
    later = tmp_path / "later"
    later.mkdir()
    unplaced(later / "q1.nii.gz", np.random.default_rng(8).integers(0, 100, SIZE).astype(np.int16))
    change.main(["-d", "640", "-add", str(later), "--disable_progress_bar"])
    assert "1 image of 1 without a place" in capsys.readouterr().out
    assert Experiment.find(640).plan.unplaced == ("p0", "p1", "q1")
