"""The phantom: reproducible, uneven in its classes, and a dataset nnU-Net accepts."""

import json
import os

import numpy as np
import pytest
import SimpleITK as sitk
from folders import threads_for_processes

from nnactive_ext.cli.phantom import main
from nnactive_ext.errors import NnActiveError
from nnactive_ext.phantom import BACKGROUND, LABELS, LESION, ORGAN, SPACING, VESSEL, phantom, write_dataset


@pytest.fixture(scope="module")
def phantoms():
    return [phantom(0, f"phantom_{i:03d}") for i in range(12)]


@pytest.mark.slow
def test_equal_arguments_give_equal_cases(phantoms):
    again = phantom(0, "phantom_003")
    assert np.array_equal(again.image, phantoms[3].image)
    assert np.array_equal(again.labels, phantoms[3].labels)
    assert again.direction == phantoms[3].direction


def test_seed_and_case_matter(phantoms):
    def same(a, b):
        return a.image.shape == b.image.shape and np.array_equal(a.image, b.image)

    assert not same(phantoms[0], phantoms[1])
    assert not same(phantoms[0], phantom(1, "phantom_000"))


def test_classes_are_uneven(phantoms):
    counts = np.array([np.bincount(p.labels.ravel(), minlength=4) for p in phantoms])
    assert counts.shape[1] == len(LABELS)
    assert (counts[:, [ORGAN, VESSEL]] > 0).all()
    share = counts.sum(0) / counts.sum()
    assert 8 * share[ORGAN] < share[BACKGROUND]
    assert 5 * share[VESSEL] < share[ORGAN]
    assert 3 * share[LESION] < share[VESSEL]
    assert 500 * share[LESION] < share[BACKGROUND]
    present = counts[:, LESION] > 0
    assert 0.3 < present.mean() < 0.9
    assert counts[present, LESION].max() < 1000


def test_shapes_vary_and_air_is_not_constant(phantoms):
    assert len({p.image.shape for p in phantoms}) > 3
    for p in phantoms:
        assert p.image.dtype == np.int16
        assert p.labels.dtype == np.uint8
        corner = p.image[:, :6, :6]
        assert -1024 <= corner.min() < corner.max() < -800


def test_the_organ_is_in_one_piece_and_lesions_lie_in_it(phantoms):
    for p in phantoms:
        pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray((p.labels > 0).astype("uint8"))))
        assert pieces.max() == 1  # vessel and lesions are attached to the organ too


def test_a_threshold_does_not_solve_it(phantoms):
    for label in (ORGAN, VESSEL, LESION):
        scores = []
        for p in phantoms:
            if (p.labels == label).any():
                low, high = np.percentile(p.image[p.labels == label], (5, 95))
                found = (p.image >= low) & (p.image <= high)
                scores.append(2 * (found & (p.labels == label)).sum() / (found.sum() + (p.labels == label).sum()))
        assert np.mean(scores) < 0.7  # even a threshold chosen on the case it is applied to


def test_dataset_is_what_nnunet_expects(nnunet_folders, monkeypatch):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    threads_for_processes(monkeypatch)
    folder = write_dataset(900, cases=3)
    assert folder == nnunet_folders.raw / "Dataset900_Phantom"
    assert [p.name for p in nnunet_folders.raw.iterdir()] == ["Dataset900_Phantom"]  # no temporary folder left
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 3
    verify_dataset_integrity(str(folder), num_processes=1)


def test_image_and_label_share_their_geometry(nnunet_folders):
    folder = write_dataset(900, cases=8)
    directions = set()
    for i in range(8):
        image = sitk.ReadImage(str(folder / "imagesTr" / f"phantom_{i:03d}_0000.nii.gz"))
        labels = sitk.ReadImage(str(folder / "labelsTr" / f"phantom_{i:03d}.nii.gz"))
        assert image.GetSpacing()[::-1] == pytest.approx(SPACING)
        for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(image, get)() == getattr(labels, get)()
        directions.add(image.GetDirection())
        assert np.array_equal(sitk.GetArrayFromImage(image), phantom(0, f"phantom_{i:03d}").image)
    assert len(directions) > 1  # some case is tilted


def test_a_larger_dataset_begins_with_the_smaller_one(nnunet_folders):
    small, large = write_dataset(900, cases=1, name="Small"), write_dataset(901, cases=2, name="Large")
    for part in ("imagesTr/phantom_000_0000.nii.gz", "labelsTr/phantom_000.nii.gz"):
        a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / part))) for folder in (small, large))
        assert np.array_equal(a, b)


@pytest.mark.parametrize("where", ["raw", "preprocessed", "results"])
def test_taken_numbers_are_refused(nnunet_folders, where):
    (getattr(nnunet_folders, where) / "Dataset900_Other").mkdir()
    with pytest.raises(NnActiveError, match="900 is taken by Dataset900_Other"):
        write_dataset(900, cases=1)
    assert not list(nnunet_folders.raw.glob("*Phantom"))


@pytest.mark.parametrize("arguments", [{"dataset_id": 0}, {"dataset_id": -1}, {"cases": 0}, {"name": "a__b"}])
def test_impossible_requests_are_refused(nnunet_folders, arguments):
    with pytest.raises(NnActiveError):
        write_dataset(**{"dataset_id": 900, "cases": 1, **arguments})
    assert not os.listdir(nnunet_folders.raw)


def test_missing_raw_folder_is_named(monkeypatch):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(NnActiveError, match="nnUNet_raw"):
        write_dataset(900)


def test_failure_leaves_nothing(nnunet_folders, monkeypatch):
    monkeypatch.setattr("nnactive_ext.phantom._write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_dataset(900, cases=1)
    assert not os.listdir(nnunet_folders.raw)


def test_command(nnunet_folders, capsys):
    main(["-d", "7", "-n", "1", "--seed", "3", "-name", "Mine"])
    assert str(nnunet_folders.raw / "Dataset007_Mine") in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["-d", "7"])
    assert stopped.value.code == 1
    assert "Dataset007_Mine" in capsys.readouterr().err
