"""Which of several returned files counts for a task: never an untouched one over an answer, never one by accident."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from open_tasks import IGNORE, OpenTasks


def painted(task: expert.Seen, value: int) -> np.ndarray:
    labels = np.full(task.truth.shape, IGNORE, np.uint8)
    labels[task.box] = value
    return labels


def counts(tasks: OpenTasks, task: expert.Seen, value: int) -> bool:
    counted = tasks.counted(task)
    return counted is not None and bool((counted == value).all())


@pytest.mark.parametrize("name", ["{}.seg.nrrd", "{}_mitk.nrrd", "a_copy/{}.nii.gz"])
def test_untouched_exports_do_not_replace_answers_in_other_files(tasks, name):
    """As the guide types it: import, then import again with --accept_unchanged for those that are right as they are."""
    task = tasks.seen[2]
    if name.endswith(".seg.nrrd"):
        expert.seg_nrrd(task, np.random.default_rng(0))
        expected = task.truth[task.box]
    else:
        file = task.folder / name.format(task.id)
        file.parent.mkdir(exist_ok=True)
        task.write(painted(task, 2), file)
        expected = painted(task, 2)[task.box]
    for more in ("", "--accept_unchanged", "--accept_unchanged", ""):
        tasks.hand_in(more=more)
        np.testing.assert_array_equal(tasks.counted(task), expected)
    assert all(tasks.book.status(other.id) == "done" for other in tasks.seen), "the others were not taken as they are"
    again = [event for event in tasks.events() if event["task"] == task.id]
    assert len(again) == 1


def test_undone_in_the_same_file_counts(tasks):
    task = tasks.seen[0]
    for value in (1, 2, 1):
        task.write(painted(task, value))
        tasks.hand_in()
        assert counts(tasks, task, value)


def test_of_two_files_the_new_one_counts_and_two_new_ones_are_refused(tasks, capsys):
    task = tasks.seen[4]
    first, second, third = (task.folder / f"{task.id}_{letter}.nii.gz" for letter in "zya")
    task.write(painted(task, 1), first)
    tasks.hand_in()
    task.write(painted(task, 2), second)
    tasks.hand_in()
    assert counts(tasks, task, 2)
    tasks.hand_in()
    assert counts(tasks, task, 2), "the old file came back"
    task.write(painted(task, 0), third)
    halved = painted(task, 2)
    halved[task.box][0] = 0
    task.write(halved, task.folder / f"{task.id}_x.nii.gz")
    with pytest.raises(SystemExit):
        tasks.hand_in()
    assert third.name in capsys.readouterr().err
    assert counts(tasks, task, 2)
    tasks.hand_in(third)
    assert counts(tasks, task, 0)


def test_what_was_taken_back_comes_again_only_by_its_name(tasks):
    task = tasks.seen[1]
    file = task.write(painted(task, 1))
    tasks.hand_in()
    tasks.annotate(f"withdraw {task.id} -who anna")
    with pytest.raises(SystemExit, match="4"):
        tasks.hand_in()
    assert tasks.book.status(task.id) == "open"
    tasks.hand_in(file)
    assert counts(tasks, task, 1)


def test_another_patient_whose_name_begins_alike_is_not_taken(tasks, tmp_path):
    """tiny_6 and tiny_7 have no tasks; a file named after one of them answers nothing, wherever its voxels lie."""
    without = next(c for c in tasks.experiment.plan.pool if not any(t.id.endswith(c) for t in tasks.seen))
    task = tasks.seen[0]
    case = task.id.split("_", 2)[2]
    plan = tasks.experiment.plan
    alike = f"{case}_late"
    replace(plan, pool={**plan.pool, alike: plan.pool[without]}).write(tasks.experiment.raw)
    whole = sitk.ReadImage(str(tasks.label(case)))
    sitk.WriteImage(whole, str(tmp_path / f"{alike}.nii.gz"))
    with pytest.raises(SystemExit):
        tasks.hand_in(tmp_path / f"{alike}.nii.gz")
    assert not tasks.events()


def test_a_whole_image_answers_no_box_that_was_answered_in_another_file(tasks, tmp_path):
    task = tasks.seen[0]
    case = task.id.split("_", 2)[2]
    task.write(painted(task, 2))
    tasks.hand_in()
    image = sitk.ReadImage(str(tasks.label(case)))
    spilled = sitk.GetArrayFromImage(image) * 0
    start = tasks.patch(task).start
    spilled[start] = 1
    whole = sitk.GetImageFromArray(spilled)
    whole.CopyInformation(image)
    file = tmp_path / f"{case}.nii.gz"
    sitk.WriteImage(whole, str(file))
    for more in ("", "--accept_unchanged"):
        with contextlib.suppress(SystemExit):
            tasks.hand_in(file, more=more)
        assert counts(tasks, task, 2)


def test_a_segmentation_that_is_all_elsewhere_asks_whether_it_is_another_tasks(tasks, capsys):
    task = tasks.seen[3]
    labels = np.zeros(task.truth.shape, np.uint8)
    corner = next(index for index in np.ndindex(labels.shape) if not _inside(index, task.box))
    labels[corner] = 2
    labels[task.box] = 0
    before = task.answer
    task.answer = lambda: labels  # type: ignore[method-assign]
    file = expert.seg_nrrd(task, np.random.default_rng(0))
    task.answer = before  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        tasks.hand_in(file)
    assert "elsewhere" in capsys.readouterr().err
    tasks.hand_in(file, more="--accept_unchanged")
    assert counts(tasks, task, 0)


def _inside(index: tuple[int, ...], box: tuple[slice, ...]) -> bool:
    return all(s.start <= i < s.stop for i, s in zip(index, box, strict=True))


def test_files_in_two_parts_are_refused(tasks, capsys):
    task = tasks.seen[0]
    file = task.write(painted(task, 1), task.folder / f"{task.id}.mhd")
    with pytest.raises(SystemExit):
        tasks.hand_in(file)
    assert ".mha" in capsys.readouterr().err
    assert not tasks.events()
