"""Label maps that people have as a file for each class, as TotalSegmentator and 3D Slicer write them (-label_maps)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from rollouts import OPTIONS, Rollout
from test_given_labels import plan
from test_intake_dicom import refused
from test_intake_find import make  # noqa: F401

from nnactive_ext.images.class_files import ClassFiles
from nnactive_ext.intake.find import FoundCase, find_cases
from nnactive_ext.labelling.given import given_cases

CLASSES = ["background", "liver", "kidney", "kidney_left", "ignore"]
MANY = [f"rib_{i}" for i in range(30)]


def find(folder: Path, labels: Path, pattern: str | None = None) -> dict[str, FoundCase]:
    return find_cases(folder, None, pattern, labels, classes=CLASSES)


def named(case: FoundCase) -> list[tuple[str, str]]:
    assert isinstance(case.label_map, ClassFiles)
    return [(name, file.name) for name, file in case.label_map.files]


@pytest.mark.parametrize(
    "form",
    [
        "{0}_{1}.nii.gz",
        "{0}/{1}.nii.gz",
        "{0}/segmentations/{1}.nrrd",
        "any/{0}/Segmentation_{1}-label.nrrd",
        "{0}-{1}.seg.nrrd",
    ],
)
def test_masks_of_each_class(make, form):  # noqa: F811
    """Cases and classes that hold each other's names."""
    cases = ["liver_1", "liver", "liver_12"]
    folder = make(*(f"{case}.nii.gz" for case in cases))
    labels = make(*(form.format(case, cls) for case in cases for cls in ("Kidney-left", "liver", "kidney")), folder="labels")
    found = find(folder, labels)
    for case in cases:
        assert [name for name, _ in named(found[case])] == ["liver", "kidney", "kidney_left"]
        assert {file for _, file in named(found[case])} == {
            Path(form.format(case, cls)).name for cls in ("Kidney-left", "liver", "kidney")
        }


def test_a_case_is_no_mask_because_it_ends_like_one(make):  # noqa: F811
    folder, labels = make("p.nii", "p_liver.nii"), make("p_liver.nii.gz", folder="labels")
    found = find(folder, labels)
    assert (found["p"].label_map, found["p_liver"].label_map) == (None, labels / "p_liver.nii.gz")


def test_a_pattern_that_chooses_the_mask_of_one_class(make):  # noqa: F811
    """It is not a label map whose values are those of the dataset."""
    folder = make("p.nii")
    for number, (name, pattern) in enumerate(
        [("p/kidney", "{case}/kidney"), ("kidney_p_seg", "kidney_{case}_seg"), ("p-kidney", "{case}-kidney")]
    ):
        labels = make(f"{name}.nii.gz", folder=f"labels{number}")
        found = find_cases(folder, None, None, labels, pattern, classes=CLASSES)
        assert named(found["p"]) == [("kidney", f"{Path(name).name}.nii.gz")]


def total_segmentator(make, classes: list[str]) -> Path:  # noqa: F811
    for case in ("s0001", "s0002"):
        folder = make(f"{case}/ct.nii.gz", *(f"{case}/segmentations/{name}.nii.gz" for name in classes))
    return folder


def test_the_wanted_among_many(make):  # noqa: F811
    folder = total_segmentator(make, ["liver", "kidney", "kidney_left", *MANY])
    for pattern in (None, "{case}/ct"):
        found = find(folder, folder, pattern)
        assert {case: entry.sources[0].path.name for case, entry in found.items()} == {
            "s0001": "ct.nii.gz",
            "s0002": "ct.nii.gz",
        }
        assert [name for name, _ in named(found["s0002"])] == ["liver", "kidney", "kidney_left"]
        ((what, why),) = found["s0001"].told
        assert str(len(MANY)) in what
        assert "rib_0" in why
    images = make("s0001.nii.gz", "s0002.nii.gz", folder="images")
    assert [name for name, _ in named(find(images, folder, None)["s0001"])] == ["liver", "kidney", "kidney_left"]


def test_a_class_that_none_of_many_files_is_called_is_refused_and_one_that_some_lack_is_told(make):  # noqa: F811
    folder = total_segmentator(make, ["kidney", "kidney_left", *MANY])
    refused(lambda: find(folder, folder), "'liver'", folder / "s0001" / "segmentations")
    (folder / "s0002" / "segmentations" / "liver.nii.gz").touch()
    what, why = find(folder, folder)["s0001"].told[0]
    assert "liver" in what
    assert "s0001" in why
    assert "s0002" not in why


def test_masks_that_make_no_label_map(make):  # noqa: F811
    folder = make("a.nii", "b.nii")
    labels = make(
        "a/liver.nii.gz", "a/spleen.nii.gz", "a/liver_mask.nii", "a.nii", "b_kidney_right.nii", "c_liver.nii", folder="l"
    )
    refused(
        lambda: find(folder, labels),
        f"{labels / 'a' / 'spleen.nii.gz'}: 'spleen' is no class",
        "2 masks of 'liver'",
        "a: 2 label maps",
        f"{labels / 'b_kidney_right.nii'}: this label map belongs to no case",
        f"{labels / 'c_liver.nii'}: this label map belongs to no case",
    )
    refused(lambda: find_cases(folder, None, None, make("a/liver.nii.gz", folder="m")), folder.parent / "m", "-label_pattern")


@pytest.mark.parametrize("form", ["{0}_{1}.nii.gz", "{0}/segmentations/{1}.nii"])
def test_planned_with_masks_labels_are_the_anatomy(rollout: Rollout, tmp_path, form, capsys):
    for case in ("tiny_0", "tiny_3"):
        truth = sitk.ReadImage(str(rollout.label(case)))
        for name, value in (("organ", 1), ("Lesion", 2)):
            file = tmp_path / "masks" / form.format(case, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            if (case, value) != ("tiny_3", 2):
                sitk.WriteImage((truth == value) * 255, str(file))
    experiment = plan(rollout, tmp_path / "masks", OPTIONS)
    assert given_cases(experiment) == ["tiny_0", "tiny_3"]
    assert "no mask of lesion in 1 case" in " ".join(capsys.readouterr().out.split())
    for case, known in (("tiny_0", (0, 1, 2)), ("tiny_3", (0, 1))):
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(rollout.label(case))))
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(experiment.raw / "labelsTr" / f"{case}.nii.gz")))
        np.testing.assert_array_equal(written, np.where(np.isin(truth, known), truth, 0))


def test_planned_with_masks_that_overlap_is_refused_and_nothing_is_made(rollout: Rollout, tmp_path, capsys):
    truth = sitk.ReadImage(str(rollout.label("tiny_0")))
    for name in ("organ", "lesion"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        sitk.WriteImage(truth == 1, str(tmp_path / "masks" / f"tiny_0_{name}.nii.gz"))
    with pytest.raises(SystemExit):
        plan(rollout, tmp_path / "masks", OPTIONS)
    said = capsys.readouterr().err
    number = int((sitk.GetArrayFromImage(truth) == 1).sum())
    assert f"tiny_0_lesion.nii.gz: {number} voxels are in tiny_0_organ.nii.gz, too" in said
    with pytest.raises(Exception, match="601"):
        _ = rollout.experiment
