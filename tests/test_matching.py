"""Which files of a folder are looked at, in which order, and which task a file's name means."""

from __future__ import annotations

import unicodedata

import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.matching import EXPORTED, candidates, match
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.images.names import case_name
from nnactive_ext.labelling.tasks import Task

CASES = ["liver_1", "liver_12", "liver_1_left", "T1.5_Müller", "a", "a_b"]
TASKS = [
    Task(f"c{cycle:03d}_{number:03d}_{case}", cycle, number, Patch(case, (0, 0, 4 * number), (2, 2, 2)))
    for cycle in (0, 1)
    for number, case in enumerate([*CASES, "a"], start=1)
]
ADDED = (
    ".nii.gz,.nii,.seg.nrrd,.nrrd,.mha,.NII.GZ,.Seg.NRRD,_mitk.nrrd,-label.nrrd, (1).nii.gz, Kopie.nii,.nii.nrrd,-1.mha,"
    "_anna_2024-01-31.nii.gz,_.nii.gz,-Segmentation-label_1.nrrd"
).split(",")
STRANGERS = (
    "liver_2.nii.gz liver_123.nii.gz liver.nii.gz xliver_1.nii.gz ab.mha c000_001.nii.gz c000_001_liver.nrrd "
    "c000_002_liver_1.nii.gz c002_001_liver_1.nii.gz Müller.nii .nii.gz"
).split()


def found(name: str, tmp_path, tasks=TASKS, others=()) -> tuple[list[str], bool]:
    matched, by_case = match(tmp_path / name, tasks, [*(task.patch.case for task in tasks), *others])
    return [task.id for task in matched], by_case


@pytest.mark.parametrize("more", ADDED)
def test_a_task_by_its_id_and_whatever_viewers_add(more, tmp_path):
    for task in TASKS:
        assert found(task.id + more, tmp_path) == ([task.id], False)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("liver_1.nii.gz", "liver_1"),
        ("liver_12.nii.gz", "liver_12"),
        ("liver_12_seg.nii.gz", "liver_12"),
        ("liver_1_left.seg.nrrd", "liver_1_left"),
        ("liver_1-left.seg.nrrd", "liver_1"),
        ("liver_1_leftover.nrrd", "liver_1"),
        ("T1.5_Müller.nii", "T1.5_Müller"),
        ("T1.5_Müller.label.mha", "T1.5_Müller"),
        ("a.mha", "a"),
        ("a_b.mha", "a_b"),
        ("a_c.mha", "a"),
    ],
)
def test_a_file_of_a_whole_image_is_for_all_tasks_of_its_case(name, case, tmp_path):
    assert found(name, tmp_path) == ([task.id for task in TASKS if task.patch.case == case], True)
    assert len(found(name, tmp_path)[0]) == (4 if case == "a" else 2)


@pytest.mark.parametrize("name", STRANGERS)
def test_a_name_that_is_no_task_and_no_case_is_nothing(name, tmp_path):
    assert found(name, tmp_path) == ([], False)


def test_an_id_that_goes_on_with_a_digit_or_letter_is_another(tmp_path):
    tasks = [Task(f"c000_001_{case}", 0, 1, Patch(case, (0, 0, 0), (1, 1, 1))) for case in ("x", "x_1")]
    assert found("c000_001_x_1.nii.gz", tmp_path, tasks) == (["c000_001_x_1"], False)
    assert found("c000_001_x_12.nii.gz", tmp_path, tasks) == (["c000_001_x"], False)
    assert found("c000_001_x1.nii.gz", tmp_path, tasks) == ([], False)


def test_a_case_without_tasks_is_not_another_that_begins_as_it_does(tmp_path):
    assert found("liver_1_late.nii.gz", tmp_path)[0], "the test would prove nothing"
    assert found("liver_1_late.nii.gz", tmp_path, others=["liver_1_late"]) == ([], False)


def test_a_folder_is_looked_through_and_everything_else_in_it_is_known(tmp_path):
    names = ["b/old.nii.gz", "new.seg.nrrd", "a/deep/er/middle.NRRD", "image.nii.gz", "image_2.nii.gz", "a/b.TIF", "pair.hdr"]
    ours = ["a/image_CT.nii.gz", "mitk_start.nrrd", "index.html", "task.json", "labels.txt", "Dataset7_X_cycle_000_mitk.json"]
    systems = [".hidden.nii.gz", "._c000_001_a.nii.gz", "a/Thumbs.db", "__MACOSX/a.nii.gz", ".git/x.npy", "pair.img"]
    unread = ["label.txt", "points.csv", "c000_001_a.interim.nrrd", "a/c000_001_a.interim.mitk.nrrd", "c000_001_a", "x.nii~"]
    for name in [*names, *ours, *systems, *unread]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    found = candidates(tmp_path, {*EXPORTED, "image_CT.nii.gz"})
    assert list(found.files) == sorted(tmp_path / name for name in names)
    assert list(found.unread) == sorted(tmp_path / name for name in unread)


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path):
    file = tmp_path / "image_T1.txt"
    file.write_bytes(b"")
    assert candidates(file).files == (file,)
    with pytest.raises(NnActiveError, match=r"gone\.nii"):
        candidates(tmp_path / "gone.nii")


def test_a_folder_that_links_to_itself_is_looked_through_once(tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert candidates(tmp_path).files == (tmp_path / "x.nii.gz",)


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("Jörg A.nii.gz", "Jorg_A"),
        (unicodedata.normalize("NFD", "Jörg A late.seg.nrrd"), "Jorg_A"),
        ("JORG_A.nrrd", "Jorg_A"),
        ("Scan (3).nii.gz", "Scan_3"),
        ("Scan_3 (1).nii.gz", "Scan_3"),
        ("患者 1_seg.mha", case_name("患者 1")),
        ("b c.mha", None),
        ("b.mha", "b"),
        ("Upper.mha", None),
        ("upper.mha", "upper"),
        ("Jorg.nii.gz", None),
    ],
)
def test_a_file_called_as_people_call_its_image(name, case, tmp_path):
    names = ["Jorg_A", "Scan_3", case_name("患者 1"), "b", "b_c", "upper", "UPPER"]
    tasks = [Task(f"c000_{i:03d}_{one}", 0, i, Patch(one, (0, 0, 0), (1, 1, 1))) for i, one in enumerate(names)]
    assert found(name, tmp_path, tasks) == ([task.id for task in tasks if task.patch.case == case], case is not None)
