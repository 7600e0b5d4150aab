"""Files of an imported folder that are not read: each is named, and the untouched export beside one is no answer."""

from __future__ import annotations

import contextlib
import shutil

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from open_tasks import OpenTasks

from nnactive_ext.cli import annotate

EVERYTHING = "--accept_unchanged --accept_outside"


def taken(tasks: OpenTasks) -> set[str]:
    return {event["task"] for event in tasks.events()}


def others(tasks: OpenTasks, task: expert.Seen) -> set[str]:
    return {other.id for other in tasks.seen} - {task.id}


@pytest.mark.parametrize("name", ["{}.mrb", "{}.vtk", "{}_final.mat", "{}.nii.gz.part", "{}", "deep/er/{}-2.h5"])
def test_a_file_called_like_a_task_refuses_it_whatever_the_options(tasks: OpenTasks, capsys, name):
    task = tasks.seen[3]
    file = task.folder / name.format(task.id)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"what the expert drew")
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(more=EVERYTHING)
    assert str(file) in capsys.readouterr().err
    assert taken(tasks) == others(tasks, task)
    expert.in_place(task)
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in()
    assert tasks.counted(task) is None
    tasks.hand_in(task.label)  # said by its name
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def damaged(task: expert.Seen) -> None:
    file = expert.seg_nrrd(task, np.random.default_rng(0))
    file.write_bytes(file.read_bytes()[:-20])


def without_a_name(task: expert.Seen) -> None:
    expert.seg_nrrd(task, np.random.default_rng(0)).rename(task.folder / "Segmentation.seg.nrrd")


def half_done_in_mitk(task: expert.Seen) -> None:
    task.write(task.answer(), task.folder / f"{task.id}_mitk.interim.nrrd")


def in_a_folder_of_slices(task: expert.Seen) -> None:
    (task.folder / "slices").mkdir()
    (task.folder / "slices" / "0001.bmp").write_bytes(b"BM")


def unknown_value(task: expert.Seen) -> None:
    task.write(task.answer() * 50, task.folder / f"{task.id}_painted.nii.gz")


def nothing_painted_yet(task: expert.Seen) -> None:
    labels = task.answer()
    labels[task.box] = task.names["ignore"]
    task.write(labels, task.folder / f"{task.id}_painted.nii.gz")


def beside_the_patch(task: expert.Seen) -> None:
    task.write(np.roll(task.answer(), 2, 1), task.folder / f"{task.id}_painted.nii.gz")


@pytest.mark.parametrize(
    "draw",
    [
        damaged,
        without_a_name,
        half_done_in_mitk,
        in_a_folder_of_slices,
        unknown_value,
        nothing_painted_yet,
        beside_the_patch,
    ],
)
def test_the_untouched_export_is_no_answer_beside_what_may_be_one(tasks: OpenTasks, capsys, draw):
    task = tasks.seen[3]
    draw(task)
    capsys.readouterr()
    with contextlib.suppress(SystemExit):  # files of which nobody said that they are answers are told, and no error
        tasks.hand_in(more="--accept_unchanged")
    assert taken(tasks) == others(tasks, task)
    told = "".join(capsys.readouterr())
    (name,) = {file.name for file in task.folder.rglob("*") if file.is_file()} - {file.name for file in exported(tasks, task)}
    assert name in told


def exported(tasks: OpenTasks, task: expert.Seen) -> list:
    other = next(other for other in tasks.seen if other.id != task.id)
    return [task.label, *(file for file in other.folder.iterdir() if file != other.label)]


def test_whole_images_that_are_refused_leave_no_untouched_export_in_their_place(tasks: OpenTasks):
    task = tasks.seen[2]
    case = task.id.split("_", 2)[2]
    whole = sitk.ReadImage(str(tasks.label(case)))
    whole.SetSpacing([1.25 * mm for mm in whole.GetSpacing()])
    sitk.WriteImage(whole, str(tasks.out / f"{case}.nii.gz"))
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(more="--accept_unchanged")
    assert taken(tasks) == {other.id for other in tasks.seen if not other.id.endswith(case)}


def test_notes_and_hidden_files_keep_nothing_back_and_notes_are_named(tasks: OpenTasks, capsys):
    task = tasks.seen[3]
    (task.folder / "notes.txt").write_text("unsure about the border")
    (task.folder / "screenshot.png").write_bytes(b"")
    for hidden in (".DS_Store", f"._{task.id}.nii.gz", "Thumbs.db", "desktop.ini"):
        (task.folder / hidden).write_bytes(b"")
    (tasks.out / "__MACOSX").mkdir()
    (tasks.out / "__MACOSX" / f"{task.id}.mrb").write_bytes(b"")
    capsys.readouterr()
    tasks.hand_in(more="--accept_unchanged")
    assert len(taken(tasks)) == len(tasks.seen)
    told = capsys.readouterr().out
    assert "notes.txt" in told
    assert "screenshot.png" in told
    assert not any(name in told for name in ("DS_Store", "Thumbs", "desktop", "MACOSX", "task.json", "image_T1", "labels.ctbl"))


def test_an_export_alone_has_nothing_that_is_passed_over(tasks: OpenTasks, capsys):
    shutil.copytree(tasks.out, tasks.out.parent / "copy")
    capsys.readouterr()
    tasks.hand_in(tasks.out.parent / "copy", more="--accept_unchanged")
    assert "not taken" not in capsys.readouterr().out


def test_a_case_called_like_an_exported_image_can_be_handed_in(tasks: OpenTasks, capsys):
    """image_T1.nii.gz is the export's own; image_7.nii.gz is not."""
    shutil.copy(tasks.seen[3].label, tasks.seen[3].folder / "image_7.nii.gz")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="4"):
        tasks.hand_in()
    assert "image_7.nii.gz" in capsys.readouterr().out


# The exit status, and what is said last.


def test_the_status_says_whether_anything_was_taken(tasks: OpenTasks):
    with pytest.raises(SystemExit, match="4"):
        tasks.hand_in()
    expert.in_place(tasks.seen[2])
    tasks.hand_in()
    tasks.hand_in()  # nothing new, and nothing is missing
    (tasks.out / "empty").mkdir()
    with pytest.raises(SystemExit, match="1"):
        tasks.hand_in(tasks.out / "empty")


def test_a_whole_image_without_labels_in_a_patch_says_how_to_take_it(tasks: OpenTasks, tmp_path, capsys):
    case = tasks.seen[2].id.split("_", 2)[2]
    empty = sitk.ReadImage(str(tasks.label(case))) * 0
    file = tmp_path / f"{case}_seg.nii.gz"
    sitk.WriteImage(empty, str(file))
    capsys.readouterr()
    with pytest.raises(SystemExit, match="4"):
        tasks.hand_in(file)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("Next: ")
    words = last[last.index("nnactive_annotate") :].split()
    assert words[:2] == ["nnactive_annotate", "import"]
    annotate.main(words[1:])
    mine = [task for task in tasks.seen if task.id.endswith(case)]
    assert taken(tasks) == {task.id for task in mine}
    assert all((tasks.counted(task) == 0).all() for task in mine)
