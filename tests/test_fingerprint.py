"""The fingerprint: nnU-Net's own where all is labelled, and blind to ``ignore`` where it is not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from folders import threads_for_processes

from nnactive_ext.nnunet import fingerprint
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.nnunet.fingerprint import percentiles, write_fingerprint

SAMPLES = 50_000.0


@pytest.fixture(autouse=True)
def fewer_samples(monkeypatch):
    monkeypatch.setattr(fingerprint, "_SAMPLES", SAMPLES)


def partly(dataset, boxes: dict) -> Dataset:
    """The dataset with ``ignore`` (3) outside ``boxes``, {case: slices}; cases not in it have nothing annotated."""
    content = json.loads((dataset / "dataset.json").read_text())
    content["labels"]["ignore"] = 3
    (dataset / "dataset.json").write_text(json.dumps(content))
    for file in (dataset / "labelsTr").iterdir():
        image = sitk.ReadImage(str(file))
        labels = sitk.GetArrayFromImage(image)
        partial = np.full_like(labels, 3)
        if (box := boxes.get(file.name.removesuffix(".nii.gz"))) is not None:
            partial[box] = labels[box]
        written = sitk.GetImageFromArray(partial)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(file))
    return Dataset(dataset)


def voxels(dataset: Dataset, channel: int, choose) -> np.ndarray:
    """The values of all voxels ``choose(image, labels)`` is true for, over all cases."""
    found = []
    for case in dataset.cases.values():
        image, _ = dataset.reader_writer.read_images([str(f) for f in case.images])
        labels, _ = dataset.reader_writer.read_seg(str(case.label))
        found.append(image[channel][choose(image, labels[0])])
    return np.concatenate(found)


@pytest.mark.filterwarnings("ignore")
def test_without_ignore_it_is_nnunets_own(tiny, nnunet_folders, tmp_path, monkeypatch):
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    threads_for_processes(monkeypatch)
    theirs = DatasetFingerprintExtractor(100, num_processes=1)
    theirs.num_foreground_voxels_for_intensitystats = SAMPLES
    theirs.show_progress_bar = False
    theirs.run()
    write_fingerprint(Dataset(tiny), tmp_path / "ours.json", progress=False)
    wanted = json.loads((nnunet_folders.preprocessed / tiny.name / "dataset_fingerprint.json").read_text())
    assert len(wanted["spacings"]) == 8
    assert json.loads((tmp_path / "ours.json").read_text()) == wanted


def test_ignored_voxels_do_not_count(tiny, tmp_path):
    """Voxels outside the boxes are made enormous: not one of them may be seen."""
    box = np.s_[8:16, 9:17, 4:10]
    for file in (tiny / "imagesTr").iterdir():
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        outside = np.ones(array.shape, bool)
        outside[box] = False
        array[outside & (array != 0)] = 1e6
        written = sitk.GetImageFromArray(array)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(file))
    dataset = partly(tiny, {f"tiny_{i}": box for i in range(5)})
    found = write_fingerprint(dataset, tmp_path / "ours.json", progress=False)
    for channel in range(2):
        ours = found["foreground_intensity_properties_per_channel"][str(channel)]
        values = voxels(dataset, channel, lambda image, labels: (labels > 0) & (labels != 3))
        assert values.max() < 1000
        assert values.min() <= ours["min"] <= ours["max"] <= values.max()
        assert ours["mean"] == pytest.approx(values.mean(), rel=0.05)
        assert ours["std"] == pytest.approx(values.std(), rel=0.05)
        assert ours["median"] == pytest.approx(np.median(values), rel=0.05)
    assert len(found["spacings"]) == len(found["shapes_after_crop"]) == 8  # cases without annotation count here


def test_shapes_after_the_crop_do_not_depend_on_what_is_annotated(tiny, tmp_path):
    before = write_fingerprint(Dataset(tiny), tmp_path / "a.json", progress=False)
    after = write_fingerprint(partly(tiny, {"tiny_0": np.s_[8:12, 9:13, 4:8]}), tmp_path / "b.json", progress=False)
    for key in ("spacings", "shapes_after_crop", "median_relative_size_after_cropping"):
        assert before[key] == after[key]


@pytest.mark.parametrize("annotated", [False, True], ids=["nothing annotated", "background annotated"])
def test_without_annotated_foreground_the_nonzero_voxels_stand_in(tiny, tmp_path, annotated):
    corner = {f"tiny_{i}": np.s_[0:3, 0:3, 0:3] for i in range(8)} if annotated else {}
    dataset = partly(tiny, corner)
    found = write_fingerprint(dataset, tmp_path / "ours.json", progress=False)
    for channel in range(2):
        ours = found["foreground_intensity_properties_per_channel"][str(channel)]
        values = voxels(dataset, channel, lambda image, labels: (image != 0).any(0))
        assert ours["mean"] == pytest.approx(values.mean(), rel=0.03)
        assert ours["std"] == pytest.approx(values.std(), rel=0.05)
        assert ours["min"] >= values.min()
        assert ours["max"] <= values.max()


@pytest.mark.slow
def test_two_processes_find_the_same(tiny, tmp_path, monkeypatch):
    """In another process the samples are not our few, so the number is handed over, not looked up."""
    one = write_fingerprint(Dataset(tiny), tmp_path / "a.json", processes=1, progress=False)
    two = write_fingerprint(Dataset(tiny), tmp_path / "b.json", processes=2, progress=False)
    assert one == two
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("seed", range(6))
def test_percentiles_are_numpys(kind, seed):
    """Bit for bit: whole numbers, some of them large, halves, nearly whole ones, zeros with a sign, a single value."""
    rng = np.random.default_rng(seed)
    for n in (1, 2, 3, 1001, 40_000):
        whole = rng.integers(-1024, 3000, n) if seed % 2 else rng.integers(30, 33, n)
        for values in (whole, whole + 0.5, whole * 0.5, whole * 1e5 + 2**24, whole + 1e-9, -0.0 * whole, whole // 31 * -0.0):
            values = values.astype(kind)
            wanted = np.percentile(values, fingerprint._PERCENTILES)
            assert json.dumps(percentiles(values, fingerprint._PERCENTILES)) == json.dumps([float(value) for value in wanted])
