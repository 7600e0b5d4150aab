"""The abdomen with 13 organs: reproducible, all organs there in their stated sizes, and no grey value gives one away."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from nnactive_ext.abdomen import ABDOMEN, ABSENT, LABELS, ORGANS, SPACING, VOXELS, abdomen
from nnactive_ext.cli.phantom import main
from nnactive_ext.phantom import write_dataset

KIDNEYS = ("right_kidney", "left_kidney")


@pytest.fixture(scope="module")
def cases():
    return [abdomen(0, f"abdomen_{i:03d}") for i in range(10)]


def sizes(case) -> dict[str, int]:
    return dict(zip(ORGANS, np.bincount(case.labels.ravel(), minlength=14)[1:].tolist(), strict=True))


def assert_sizes(cases) -> dict[str, list[int]]:
    """Each organ is whole or absent, and those that nobody lacks are always there; the cases' voxels, 0 where absent."""
    found = {name: [sizes(case)[name] for case in cases] for name in ORGANS}
    for name, voxels in found.items():
        least, most = VOXELS[name]
        assert all(least <= number <= most for number in voxels if number), (name, voxels)
        if name not in ABSENT and name not in KIDNEYS:
            assert all(voxels), name
    assert all(any(pair) for pair in zip(*(found[name] for name in KIDNEYS), strict=True)), "a case has no kidney"
    return found


def test_every_organ_is_there_in_most_cases_in_its_size(cases):
    found = assert_sizes(cases)
    assert all(np.count_nonzero(voxels) >= 7 for voxels in found.values())
    assert any(0 in voxels for voxels in found.values()), "no organ is absent anywhere"
    median = {name: np.median([number for number in voxels if number]) for name, voxels in found.items()}
    assert median["liver"] > 200 * max(median["left_adrenal"], median["right_adrenal"])


@pytest.mark.slow
def test_sizes_and_absent_organs_of_many_cases():
    found = assert_sizes([abdomen(seed, f"abdomen_{i:03d}") for seed in (1, 2) for i in range(50)])
    for name, share in ABSENT.items():
        assert found[name].count(0) / 100 == pytest.approx(share, abs=4 * (share * (1 - share) / 100) ** 0.5)


def test_organs_are_in_one_piece_where_they_belong(cases):
    """Most of an organ hangs together, and its place relative to others is that of a patient lying on the back."""
    for case in cases:
        centre = {}
        for name, value in LABELS.items():
            mask = case.labels == value
            if value and mask.any():
                pieces, _ = ndimage.label(mask, np.ones((3, 3, 3)))
                assert np.bincount(pieces[mask]).max() >= 0.8 * mask.sum(), name
                centre[name] = np.array(ndimage.center_of_mass(mask))
        z, y, x = 0, 1, 2  # superior, posterior and left are positive
        assert centre["liver"][x] < centre["vena_cava"][x] < centre["aorta"][x] < centre["stomach"][x]
        assert centre["pancreas"][y] < centre["aorta"][y]
        assert centre["oesophagus"][z] > centre["pancreas"][z]
        for side in ("right", "left"):
            if f"{side}_adrenal" in centre and f"{side}_kidney" in centre:
                assert centre[f"{side}_adrenal"][z] > centre[f"{side}_kidney"][z]
        if "spleen" in centre:
            assert centre["spleen"][x] > centre["stomach"][x]


def test_no_grey_value_gives_an_organ_away(cases):
    """Even a range that is chosen on the case it is applied to."""
    for value in list(LABELS.values())[1:]:
        scores = []
        for case in cases:
            organ = case.labels == value
            if organ.any():
                low, high = np.percentile(case.image[organ], (5, 95))
                found = (case.image >= low) & (case.image <= high)
                scores.append(2 * (found & organ).sum() / (found.sum() + organ.sum()))
        assert np.mean(scores) < 0.7, value


def test_cases_are_small_and_differ(cases):
    assert len({case.image.shape for case in cases}) > 3
    for case in cases:
        assert case.image.size < 64 * 80 * 80
        assert (case.image.dtype, case.labels.dtype) == (np.int16, np.uint8)
    other = abdomen(1, "abdomen_000")
    assert other.labels.shape != cases[0].labels.shape or (other.labels != cases[0].labels).any()


def test_equal_seeds_give_equal_files(nnunet_folders, capsys):
    main("-d 900 -n 1 -kind abdomen --seed 5".split())
    folder = nnunet_folders.raw / "Dataset900_Abdomen"
    assert str(folder) in capsys.readouterr().out
    again = write_dataset(901, cases=1, seed=5, name="Again", kind=ABDOMEN)
    written = sorted(file.relative_to(folder) for file in folder.rglob("*.*"))
    assert [file.name for file in written] == ["dataset.json", "abdomen_000_0000.nii.gz", "abdomen_000.nii.gz"], written
    for file in written:
        assert (folder / file).read_bytes() == (again / file).read_bytes()
    assert json.loads((folder / "dataset.json").read_text())["labels"] == LABELS
    for file in written[1:]:
        assert sitk.ReadImage(str(folder / file)).GetSpacing()[::-1] == pytest.approx(SPACING)
