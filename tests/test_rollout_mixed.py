"""A roll-out on images as hospitals have them, in all formats, orientations and spacings: boxes come back to their voxels."""

from __future__ import annotations

import json
import locale
import math
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
import torch
from rollouts import Rollout
from scipy.spatial.transform import Rotation

from nnactive_ext.cli import query
from nnactive_ext.exchange.export import export
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.spaces import space_and_properties
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.images.names import case_name
from nnactive_ext.labelling.tasks import tasks_of

PATCH_MM = (8.0, 6.0, 5.0)
"""Along z, y, x of the patient."""
OPTIONS = (
    "--labels organ lesion -channels T1 T2 -patch_size 8mm 6mm 5mm -starting_budget 6 -query_size 8 -cycles 3 -folds 2 "
    "--preset cpu -np 1 --disable_progress_bar"
)
IGNORE = 3


def write_nifti(image: sitk.Image, folder: Path, case: str, channel: str) -> None:
    sitk.WriteImage(image, str(folder / f"{case}_{channel}.nii.gz"), True)


def write_nrrd(image: sitk.Image, folder: Path, case: str, channel: str) -> None:
    sitk.WriteImage(image, str(folder / f"{case}_{channel}.nrrd"), True)


def write_mha(image: sitk.Image, folder: Path, case: str, channel: str) -> None:
    sitk.WriteImage(image, str(folder / f"{case}_{channel}.mha"), True)


def write_in_a_folder(image: sitk.Image, folder: Path, case: str, channel: str) -> None:
    (folder / case).mkdir(exist_ok=True)
    sitk.WriteImage(image, str(folder / case / f"{channel}.nii"))


def write_dicom(image: sitk.Image, folder: Path, case: str, channel: str) -> None:
    """A series in a folder of its own, the files' names against the order of the slices."""
    series = folder / case / channel
    series.mkdir(parents=True)
    before = locale.setlocale(locale.LC_ALL)  # which GDCM's writer resets to "C", and with it how open() decodes
    image = sitk.Cast(image, sitk.sitkInt16)
    direction = np.reshape(image.GetDirection(), (3, 3))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(image.GetSize()[2]):
        plane = image[:, :, k]
        tags = {
            "0008|0060": "CT",
            "0010|0020": case,
            "0018|0050": str(image.GetSpacing()[2]),
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.1.{ord(channel[-1])}",
            "0020|0013": str(k),
            "0020|0032": "\\".join(f"{v:.6f}" for v in image.TransformIndexToPhysicalPoint((0, 0, k))),
            "0020|0037": "\\".join(f"{v:.8f}" for v in [*direction[:, 0], *direction[:, 1]]),
        }
        for tag, text in tags.items():
            plane.SetMetaData(tag, text)
        writer.SetFileName(str(series / f"{999 - k}.dcm"))
        writer.Execute(plane)
    locale.setlocale(locale.LC_ALL, before)


# Name, how it is stored, ITK's code of its axes, angles of the axes against the patient's (degrees), voxels and mm of the
# patient's (z, y, x).
CASES: list[tuple[str, Callable, str, tuple[float, float, float], tuple[int, int, int], tuple[float, float, float]]] = [
    ("anna", write_nifti, "LPS", (0, 0, 0), (16, 26, 22), (2.0, 1.0, 1.0)),
    ("bert", write_nrrd, "RAS", (0, 0, 0), (18, 24, 24), (1.5, 1.0, 1.25)),
    ("carla", write_mha, "PIR", (0, 0, 0), (26, 23, 16), (1.0, 1.0, 2.0)),
    ("dora", write_in_a_folder, "LPS", (0, 0, 12), (12, 26, 25), (4.0, 1.0, 1.0)),
    ("emil", write_dicom, "LPS", (10, 20, 30), (13, 22, 24), (3.0, 1.2, 0.8)),
    ("Müller Jörg", write_nifti, "LSA", (0, 0, 0), (20, 19, 24), (1.0, 2.5, 1.0)),
    ("fritz", write_nifti, "RIP", (15, -12, 25), (21, 24, 22), (1.3, 0.9, 1.1)),
    ("gerd", write_nrrd, "RPS", (0, 8, 0), (17, 25, 23), (2.2, 1.1, 1.0)),
]


def stored(array: np.ndarray, spacing, angles, code: str, origin) -> sitk.Image:
    """``array`` along the patient's (z, y, x), turned by ``angles``, with its axes in the order and directions of ``code``."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin(origin)
    image.SetDirection(Rotation.from_euler("xyz", angles, degrees=True).as_matrix().ravel().tolist())
    return sitk.DICOMOrient(image, code)


@pytest.fixture
def mixed(nnunet_folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rollout:
    """Every voxel of a body has a label of its own chance, so that no turn, flip or shift looks like another."""
    monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
    images, anatomy = tmp_path / "my images", tmp_path / "anatomy"
    images.mkdir()
    anatomy.mkdir()
    for number, (name, write, code, angles, shape, spacing) in enumerate(CASES):
        rng = np.random.default_rng(number)
        z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        body = (np.abs(z) < 0.9) & (y**2 + x**2 < 0.9)
        labels = (rng.choice(3, shape, p=(0.5, 0.3, 0.2)) * body).astype(np.uint8)
        placed = spacing, angles, code, (-30.25 + number, 12.5, -7.0 * number)
        for channel, factor in (("T1", 40.0), ("T2", -20.0)):
            voxels = np.rint((100 + factor * labels + rng.normal(0, 5, shape)) * body)
            write(stored(voxels.astype(np.float32), *placed), images, name, channel)
        sitk.WriteImage(stored(labels, *placed), str(anatomy / f"{case_name(name)}.nii.gz"), True)
    return Rollout(images, anatomy)


def turned(task: expert.Seen, code: str = "SAR") -> Path:
    """Saved by a program that orders axes as it likes."""
    labels = sitk.GetImageFromArray(task.answer())
    labels.CopyInformation(task.shown)
    file = task.folder / f"{task.id}_turned.nrrd"
    sitk.WriteImage(sitk.DICOMOrient(labels, code), str(file), True)
    return file


def canonical(task: expert.Seen) -> Path:
    """Saved by a program that uses nibabel and its axes."""
    expert.in_place(task)
    image = nibabel.as_closest_canonical(nibabel.load(task.label))
    file = task.folder / f"{task.id}_canonical.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine), file)
    task.label.unlink()
    return file


def assert_right(rollout: Rollout, open_tasks=()) -> dict[str, int]:
    """Voxel for voxel, through the patient: what is annotated is the anatomy there, and it is the boxes, all of them.

    Only SimpleITK looks at the files. The boxes of ``open_tasks`` are still ``ignore``. Returns how often each label is seen.
    """
    experiment, seen = rollout.experiment, {0: 0, 1: 0, 2: 0}
    patches = by_case(experiment.annotated_patches(experiment.state["cycle"]))
    for case, geometry in experiment.plan.pool.items():
        label = sitk.ReadImage(str(experiment.raw / "labelsTr" / f"{case}.nii.gz"))
        anatomy = sitk.ReadImage(str(rollout.label(case)))
        assert label.GetSize() == anatomy.GetSize()
        np.testing.assert_allclose(label.GetSpacing(), anatomy.GetSpacing(), rtol=1e-5)
        np.testing.assert_allclose(label.GetOrigin(), anatomy.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(label.GetDirection(), anatomy.GetDirection(), atol=1e-5)
        array = sitk.GetArrayFromImage(label)
        annotated = np.argwhere(array != IGNORE)
        for index in annotated[:, ::-1].tolist():
            there = anatomy.TransformPhysicalPointToIndex(label.TransformIndexToPhysicalPoint(index))
            value = label[index]
            assert value == anatomy[there], (case, index)
            seen[value] += 1
        boxes = [patch for patch in patches.get(case, []) if patch not in open_tasks]
        assert len(annotated) == sum(patch.voxels for patch in boxes), case
        # And they lie in the array that nnU-Net's reader makes of the file where the loop files say.
        expected = np.zeros(geometry.shape, bool)
        for patch in boxes:
            expected[patch.slices] = True
        read, _ = experiment.dataset.reader_writer.read_seg(str(experiment.raw / "labelsTr" / f"{case}.nii.gz"))
        np.testing.assert_array_equal(read[0] != IGNORE, expected)
    return seen


def assert_same_size_in_the_patient(experiment: Experiment, patches: list[Patch]) -> None:
    """Each box is as large as was asked for along z, y, x of the patient (of the axes closest to them), within a voxel."""
    for patch in patches:
        image = sitk.ReadImage(str(experiment.dataset.cases[patch.case].images[0]))
        upright = sitk.DICOMOrient(image, "LPS")
        label = sitk.ReadImage(str(experiment.raw / "labelsTr" / f"{patch.case}.nii.gz"))
        for axis, (mm, spacing) in enumerate(zip(PATCH_MM, upright.GetSpacing()[::-1], strict=True)):
            assert abs(patch.size[axis] * spacing - mm) <= spacing / 2 + 1e-4, (patch, axis, spacing)
        assert label.GetSize() == image.GetSize()


def mark(rollout: Rollout, folder: Path) -> dict[str, list[int]]:
    """Tables with a lesion's voxel of each case, a third of them each as voxels of the file, in LPS and in RAS.

    Returns the voxels, (x, y, z) in the file."""
    tables = {"voxels": ["case,class,i,j,k"], "lps": ["case,class,x_lps,y_lps,z_lps"], "ras": ["case,class,x_ras,y_ras,z_ras"]}
    marked = {}
    for number, case in enumerate(rollout.experiment.plan.pool):
        anatomy = sitk.ReadImage(str(rollout.label(case)))
        lesion = np.argwhere(sitk.GetArrayFromImage(anatomy) == 2)
        marked[case] = lesion[len(lesion) // 3][::-1].tolist()
        x, y, z = anatomy.TransformIndexToPhysicalPoint(marked[case])
        kind = list(tables)[number % 3]
        place = {"voxels": marked[case], "lps": (x, y, z), "ras": (-x, -y, z)}[kind]
        tables[kind].append(f"{case},lesion," + ",".join(f"{value:.6g}" for value in place))
    for kind, lines in tables.items():
        (folder / f"{kind}.csv").write_text("\n".join(lines) + "\n")
    return marked


@pytest.mark.slow
def test_all_formats_orientations_and_spacings_through_two_cycles(mixed, tmp_path, capsys):
    experiment = mixed.plan(OPTIONS)
    assert "SimpleITKIOWithReorient" in capsys.readouterr().out
    assert set(experiment.plan.pool) == {case_name(name) for name, *_ in CASES} >= {"Muller_Jorg"}
    assert (experiment.raw / "dataset.json").read_bytes().isascii()  # nnU-Net opens it in the locale's encoding
    marked = mark(mixed, tmp_path)
    mixed.annotate(f"points {tmp_path / 'voxels.csv'} {tmp_path / 'lps.csv'} {tmp_path / 'ras.csv'}")
    assert_in_boxes(mixed, marked)
    tasks = {task.id: task.patch for task in tasks_of(experiment, 0)}
    assert {patch.case for patch in tasks.values()} == set(experiment.plan.pool)

    seen = mixed.export(tmp_path / "out")
    assert len(seen) == len(tasks) >= len(CASES)
    rng = np.random.default_rng(0)
    whole = [mixed.label(task.id.split("_", 2)[2]) for task in seen]
    expert.in_place(seen[0])
    expert.seg_nrrd(seen[1], rng)
    expert.full_size(seen[2], whole[2])
    expert.outside(seen[3])
    expert.half(seen[4])
    wrong = expert.wrong_spacing(seen[5])
    turned(seen[6])
    canonical(seen[7])
    for number, task in enumerate(seen[8:], start=8):
        expert.seg_nrrd(task, rng) if number % 2 else expert.full_size(task, whole[number])
    with pytest.raises(SystemExit):
        mixed.annotate(f"import {tmp_path / 'out'} -who anna --disable_progress_bar")
    assert f"{wrong}: its spacing is" in capsys.readouterr().err
    wrong.unlink()
    mixed.annotate(f"import {seen[3].label} -who anna --accept_outside --disable_progress_bar")

    share = math.floor(100 * (len(seen) - 2) / len(seen)) / 100
    with pytest.raises(SystemExit):
        query.main(f"-d {experiment.name} -device cpu".split())
    mixed.annotate(f"close -share {share} --disable_progress_bar")
    assert_half(mixed, seen[4], tasks[seen[4].id], tasks[seen[5].id])
    expert.in_place(seen[4])
    expert.in_place(seen[5])
    mixed.annotate(f"import {tmp_path / 'out'} -who anna --disable_progress_bar")
    counts = assert_right(mixed)
    assert min(counts.values()) > 50
    assert_same_reader(mixed.experiment)

    mixed.run()
    assert mixed.experiment.last_loop == 1
    assert_prediction_in_place(mixed, tmp_path / "predicted")
    again = mixed.export(tmp_path / "out1")
    for number, task in enumerate(again):
        way = number % 4
        if way == 0:
            expert.seg_nrrd(task, rng)
        elif way == 1:
            expert.full_size(task, mixed.label(task.id.split("_", 2)[2]))
        else:
            turned(task, "IRA") if way == 2 else canonical(task)
    mixed.annotate(f"import {tmp_path / 'out1'} -who bert --disable_progress_bar")
    mixed.run()
    assert mixed.experiment.state["cycle"] == 1
    assert mixed.experiment.last_loop == 2
    more = assert_right(mixed)
    assert sum(more.values()) > sum(counts.values())
    assert_same_size_in_the_patient(mixed.experiment, mixed.experiment.annotated_patches())


def assert_half(rollout: Rollout, task: expert.Seen, patch: Patch, untouched: Patch) -> None:
    """Of the box that was half finished just the finished half is labelled, as the expert left it; nothing of the other."""
    experiment = rollout.experiment
    file = experiment.raw / "labelsTr" / f"{patch.case}.nii.gz"
    partial = experiment.dataset.reader_writer.read_seg(str(file))[0][0]
    answer = sitk.GetArrayFromImage(sitk.ReadImage(str(task.label)))
    np.testing.assert_array_equal(partial[patch.slices], answer[task.box])
    assert 0 < (partial[patch.slices] == IGNORE).sum() < patch.voxels
    other = experiment.dataset.reader_writer.read_seg(str(experiment.raw / "labelsTr" / f"{untouched.case}.nii.gz"))[0][0]
    assert (other[untouched.slices] == IGNORE).all()


def assert_in_boxes(rollout: Rollout, voxels: dict[str, list[int]]) -> None:
    """Each voxel that was marked, (x, y, z) in the file, is in a box of its case."""
    boxes = by_case(rollout.experiment.annotated_patches())
    for case, index in voxels.items():
        anatomy = sitk.ReadImage(str(rollout.label(case)))
        image = sitk.Image(anatomy.GetSize(), sitk.sitkUInt8)
        image.CopyInformation(anatomy)
        image[index] = 1
        voxel = triple(np.argwhere(sitk.GetArrayFromImage(sitk.DICOMOrient(image, "RAS")))[0])
        assert Patch(case, voxel, (1, 1, 1)).overlaps_any(boxes[case]), case


class Bright:
    """Members that label a voxel by its own brightness in T1: from any other place the labels would be chance."""

    def logits(self, image: np.ndarray, case: str = ""):
        centres = np.quantile(image[0], (0.1, 0.6, 0.95)).astype(np.float32)
        yield "fold 0", torch.from_numpy(-np.abs(image[:1] - centres[:, None, None, None]))


def assert_prediction_in_place(rollout: Rollout, folder: Path) -> None:
    """The labels that go out in the boxes follow the anatomy there, through reader, crop, resampling and back."""
    experiment, compared = rollout.experiment, 0
    export(experiment, experiment.last_loop, folder, Bright, progress=False, start_above=0)
    for task in expert.look(folder, rollout.label):
        predicted = sitk.GetArrayFromImage(task.shown)
        inside, truth = predicted[task.box].astype(float), task.truth[task.box].astype(float)
        if truth.std() > 0:
            # Resampling loses some of labels that change from voxel to voxel; one voxel off, it is below 0.2.
            assert np.corrcoef(inside.ravel(), truth.ravel())[0, 1] > 0.35, task.id
            compared += 1
        predicted[task.box] = IGNORE
        assert (predicted == IGNORE).all()
    assert compared > 4


def assert_same_reader(experiment: Experiment) -> None:
    """The arrays that are trained on are those whose boxes were annotated: one reader, one shape, one place."""
    plans, _ = experiment.preprocessed.manager()
    name = json.loads((experiment.raw / "dataset.json").read_text())["overwrite_image_reader_writer"]
    assert plans.image_reader_writer_class is type(experiment.dataset.reader_writer) or (
        plans.image_reader_writer_class.__name__ == name == type(experiment.dataset.reader_writer).__name__
    )
    for case, geometry in experiment.plan.pool.items():
        image, grid = experiment.preprocessed.load(case)
        assert grid.image_shape == geometry.shape
        assert image.shape[0] == 2
        files = [str(file) for file in experiment.dataset.cases[case].images]
        array, properties = experiment.dataset.reader_writer.read_images(files)
        assert array.shape[1:] == geometry.shape
        space, ours = space_and_properties(experiment, case)
        for key, value in properties["sitk_stuff"].items():
            assert ours["sitk_stuff"][key] == value or np.allclose(ours["sitk_stuff"][key], value, atol=1e-6), (case, key)
        assert np.allclose(geometry.spacing, properties["spacing"])
        assert space.shape == array.shape[1:]
