"""Answers in: corrected, taken back, given by two, half done, of whole images, again and again; by the labels they make."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
from fake_members import FakeEnsemble, fake_train
from folders import set_folders
from open_tasks import IGNORE, OpenTasks, copied

from conftest import PLANNED
from nnactive_ext.cli import annotate, status
from nnactive_ext.exchange.export import export
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.labelling.annotators import HumanAnnotator


@pytest.fixture(scope="module")
def closed_template(tmp_path_factory, tasks_template, planned_template) -> SimpleNamespace:
    """anna answered all tasks with the truth, and cycle 0 is closed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("closed")
        folders = set_folders(monkeypatch, root)
        made = copied(tasks_template, folders, root)

        def plans(experiment):
            shutil.copy(planned_template.preprocessed / PLANNED / "nnUNetPlans.json", experiment.preprocessed.folder)
            return "nnUNetPlans"

        monkeypatch.setattr("nnactive_ext.labelling.prepare.nnunet_plans", plans)
        monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
        for task in made.seen:
            expert.in_place(task)
        made.hand_in()
        made.annotate("close --disable_progress_bar")
    return SimpleNamespace(**vars(folders), rollout=made, out=made.out)


@pytest.fixture
def closed(nnunet_folders, closed_template, tmp_path) -> OpenTasks:
    return copied(closed_template, nnunet_folders, tmp_path)


def changed(task: expert.Seen, seed: int = 0) -> np.ndarray:
    """What somebody else may say: labels of their own chance, some of them unsure."""
    labels = task.answer()
    labels[task.box] = np.random.default_rng(seed).choice(4, labels[task.box].shape, p=(0.3, 0.3, 0.2, 0.2))
    return labels


def put_together(tasks: OpenTasks, case: str) -> np.ndarray:
    experiment = tasks.experiment
    return HumanAnnotator(experiment).annotate(case, by_case(experiment.annotated_patches())[case])[0]


def found(capsys) -> dict:
    capsys.readouterr()
    status.main("-d 601 --json".split())
    return json.loads(capsys.readouterr().out)


# Once, again, and taken back.


def test_a_correction_replaces_the_answer_and_both_are_kept(tasks):
    task = tasks.seen[2]
    handed_in = []
    for labels in (task.answer(), changed(task)):
        file = task.write(labels)
        handed_in.append(file.read_bytes())
        tasks.hand_in(file)
        np.testing.assert_array_equal(tasks.counted(task), labels[task.box])
    first, second = tasks.events()
    assert tasks.book.answers[task.id][0].event == second["event"]
    for event, content in zip((first, second), handed_in, strict=True):
        assert (event["task"], event["who"], event["file"]) == (task.id, "anna", str(task.label.resolve()))
        assert event["sha256"] == hashlib.sha256(content).hexdigest()
        assert (tasks.ledger.folder / event["received"]).read_bytes() == content
    np.testing.assert_array_equal(tasks.ledger.read_answer(first["place"]), task.answer()[task.box])


def test_taken_back_the_answer_before_counts_again(tasks, capsys):
    task = tasks.seen[2]
    tasks.hand_in(task.write(task.answer()))
    tasks.hand_in(task.write(changed(task)))
    kept = sorted(tasks.ledger.folder.rglob("*.gz"))
    tasks.annotate(f"withdraw {task.id[:8]}")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])
    tasks.annotate(f"withdraw {task.id} -who anna")
    assert tasks.counted(task) is None
    ledger = (tasks.ledger.folder / "ledger.jsonl").read_bytes()
    with pytest.raises(SystemExit):
        tasks.annotate(f"withdraw {task.id}")
    assert (tasks.ledger.folder / "ledger.jsonl").read_bytes() == ledger
    assert sorted(tasks.ledger.folder.rglob("*.gz")) == kept
    assert found(capsys)["tasks"][0]["open"] == 7
    # The folder in the evening does not bring back what was taken back; naming the file does.
    with pytest.raises(SystemExit, match="4"):
        tasks.hand_in()
    assert tasks.counted(task) is None
    tasks.hand_in(task.label)
    np.testing.assert_array_equal(tasks.counted(task), changed(task)[task.box])


def test_taking_back_says_whose_where_several_answered(tasks):
    task = tasks.seen[2]
    tasks.hand_in(task.write(task.answer()))
    tasks.hand_in(task.write(changed(task)), who="bert")
    with pytest.raises(SystemExit):
        tasks.annotate(f"withdraw {task.id}")
    with pytest.raises(SystemExit):
        tasks.annotate(f"withdraw {task.id} -who carla")
    assert tasks.events("withdraw") == []
    tasks.annotate(f"withdraw {task.id} -who bert")
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def test_after_closing_labels_follow_corrections_and_withdrawals(closed):
    experiment, task = closed.experiment, closed.seen[3]
    patch = closed.patch(task)
    others = [case for case in experiment.plan.pool if case != patch.case]
    before = {case: (closed.labels(case), closed.preprocessed_labels(case)) for case in experiment.plan.pool}
    state = experiment.state
    closed.hand_in(task.write(changed(task)))
    expected = before[patch.case][0].copy()
    expected[patch.slices] = changed(task)[task.box]
    np.testing.assert_array_equal(closed.labels(patch.case), expected)
    assert (closed.preprocessed_labels(patch.case) != before[patch.case][1]).any()
    values, counts = np.unique(expected[expected != IGNORE], return_counts=True)
    assert closed.experiment.state["annotated"][patch.case] == {
        str(int(v)): n for v, n in zip(values, counts.tolist(), strict=True)
    }
    closed.annotate(f"withdraw {task.id} --disable_progress_bar")
    for case in (patch.case, *others):
        np.testing.assert_array_equal(closed.labels(case), before[case][0])
        np.testing.assert_array_equal(closed.preprocessed_labels(case), before[case][1])
    assert closed.experiment.state["annotated"] == state["annotated"]
    closed.annotate(f"withdraw {task.id} --disable_progress_bar")
    expected[patch.slices] = IGNORE
    np.testing.assert_array_equal(closed.labels(patch.case), expected)
    assert patch.case not in closed.experiment.state["annotated"]


# Two annotators.


def slow_dice(first: np.ndarray, second: np.ndarray, value: int) -> float | None:
    one = two = both = 0
    for a, b in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
        if IGNORE not in (a, b):
            one, two, both = one + (a == value), two + (b == value), both + (a == b == value)
    return round(2 * both / (one + two), 4) if one + two else None


def test_two_annotators_are_both_kept_and_the_rule_says_what_is_trained_on(closed, capsys):
    task = closed.seen[4]
    patch = closed.patch(task)
    anna, bert = task.answer()[task.box], changed(task)[task.box]
    before, network = closed.labels(patch.case), closed.preprocessed_labels(patch.case)
    closed.hand_in(task.write(changed(task)), who="bert")
    row = found(capsys)["tasks"][0]["tasks"][4]
    assert [(answer["who"], answer["unsure"]) for answer in row["answers"]] == [("anna", 0), ("bert", (bert == IGNORE).sum())]
    assert row["agreement"] == {"organ": slow_dice(anna, bert, 1), "lesion": slow_dice(anna, bert, 2)}
    assert 0 < row["agreement"]["organ"] < 1
    both = np.where(anna == bert, anna, np.where(bert == IGNORE, anna, IGNORE))
    said = {"latest": bert, "first": anna, "consensus": both, "bert": bert, "anna": anna}
    for rule, expected in said.items():
        closed.annotate(f"rule {rule} --disable_progress_bar")
        labels = closed.labels(patch.case)
        np.testing.assert_array_equal(labels[patch.slices], expected, err_msg=rule)
        labels[patch.slices] = before[patch.slices]
        np.testing.assert_array_equal(labels, before, err_msg=rule)
        assert np.array_equal(closed.preprocessed_labels(patch.case), network) == (expected is anna), rule
        # Done where anything that counts is: by the rule of consensus anna's is.
        assert found(capsys)["tasks"][0]["tasks"][4]["status"] == ("partial" if expected is bert else "done")
    # For this task only, and stronger than the rule for all.
    closed.annotate(f"rule bert -task {task.id} --disable_progress_bar")
    np.testing.assert_array_equal(closed.labels(patch.case)[patch.slices], bert)
    assert found(capsys)["tasks"][0]["tasks"][4]["rule"] == "bert"
    with pytest.raises(SystemExit):
        closed.annotate("rule carla")
    # The rule "latest" applied already, and is not recorded again.
    assert len(closed.events("rule")) == len(said)


def test_halves_of_two_people_are_a_whole_by_consensus(tasks, capsys):
    """Voxels they disagree on stay ignore, but nothing is left to do; voxels neither speaks of are."""
    task = tasks.seen[5]
    z, y, x = task.box
    middle = (z.start + z.stop) // 2
    lower, upper = task.answer(), task.answer()
    upper[z.start : middle, y, x] = IGNORE
    lower[middle + 1 : z.stop, y, x] = IGNORE
    lower[middle, y, x] = (lower[middle, y, x] + 1) % 3  # both speak of this slice, and disagree
    tasks.hand_in(task.write(lower), who="anna")
    tasks.hand_in(task.write(upper), who="bert")

    def status() -> tuple[str, int, int]:
        now = found(capsys)["tasks"][0]
        return now["tasks"][5]["status"], now["done"], now["classes"]["organ"]["done"] + now["classes"]["lesion"]["done"]

    assert status() == ("partial", 0, 0)
    tasks.annotate("rule consensus")
    assert (tasks.counted(task) == IGNORE).any()
    assert status() == ("done", 1, 1)
    page = (tasks.out / "index.html").read_text()
    tasks.export(tasks.out)
    assert page.count('data-status="done"') + 1 == (tasks.out / "index.html").read_text().count('data-status="done"')
    with pytest.raises(SystemExit):
        tasks.annotate("close --disable_progress_bar")
    assert "1 of 7 tasks are done, 0 partly" in capsys.readouterr().err
    lower[z.start, y.start, x.start] = IGNORE
    tasks.hand_in(task.write(lower), who="anna")
    assert status() == ("partial", 0, 0)


def test_a_correction_by_the_first_is_still_of_the_first(tasks):
    task = tasks.seen[4]
    tasks.annotate("rule first")
    tasks.hand_in(task.write(changed(task, 1)))
    tasks.hand_in(task.write(changed(task, 2)), who="bert")
    tasks.hand_in(task.write(task.answer()))
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


# Half done, unsure, unchanged.


def test_half_done_counts_as_it_is_and_is_completed_later(tasks, capsys):
    task = tasks.seen[5]
    tasks.hand_in(expert.half(task))
    size = task.answer()[task.box].size
    half = sitk.GetArrayFromImage(sitk.ReadImage(str(task.label)))[task.box]
    now = found(capsys)["tasks"][0]
    assert (now["done"], now["partial"], now["open"]) == (0, 1, 6)
    assert now["tasks"][5]["answers"][0].items() >= {"unsure": (half == IGNORE).sum(), "of": size}.items()
    np.testing.assert_array_equal(tasks.counted(task), half)
    tasks.hand_in(expert.in_place(task))
    now = found(capsys)["tasks"][0]
    assert (now["done"], now["partial"], now["open"]) == (1, 0, 6)
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def test_what_is_left_unsure_is_not_trained_on_and_the_rest_is(tasks):
    for task in tasks.seen:
        labels = task.answer()
        labels[task.box][0, 0, :2] = IGNORE
        task.write(labels)
    tasks.hand_in()
    with pytest.raises(SystemExit):  # none of them is done
        tasks.annotate("close --disable_progress_bar")
    tasks.annotate("close -share 0 --disable_progress_bar")
    annotated = tasks.experiment.state["annotated"]
    assert set(annotated) == {tasks.patch(task).case for task in tasks.seen}
    for task in tasks.seen:
        patch = tasks.patch(task)
        box = tasks.labels(patch.case)[patch.slices]
        expected = task.answer()[task.box]
        if task.id.endswith("tiny_1"):  # two boxes overlap: each fills what the other left open
            assert (box != IGNORE).sum() >= box.size - 2
        else:
            expected[0, 0, :2] = IGNORE
            np.testing.assert_array_equal(box, expected)
    for case, counts in annotated.items():
        assert sum(counts.values()) == (tasks.labels(case) != IGNORE).sum()
        assert set(np.unique(tasks.preprocessed_labels(case))) > {IGNORE}


def test_files_nobody_saved_are_no_answers_unless_one_says_so(tasks, capsys):
    with pytest.raises(SystemExit, match="4"):
        tasks.hand_in()
    assert tasks.events() == []
    with pytest.raises(SystemExit):  # who names the file wants it taken
        tasks.hand_in(tasks.seen[0].label)
    tasks.hand_in(more="--accept_unchanged")
    assert found(capsys)["tasks"][0]["done"] == 7
    for task in tasks.seen:
        assert (tasks.counted(task) == 0).all()


def test_saving_without_a_change_is_an_answer(tasks):
    """Whatever program saves it: by SimpleITK, as ITK-SNAP does, and by nibabel."""
    import nibabel

    by_itk, by_nibabel = tasks.seen[:2]
    sitk.WriteImage(sitk.ReadImage(str(by_itk.label)), str(by_itk.label), True)
    image = nibabel.load(by_nibabel.label)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj).copy(), image.affine, image.header), by_nibabel.label)
    tasks.hand_in()
    assert {event["task"] for event in tasks.events()} == {by_itk.id, by_nibabel.id}
    assert (tasks.counted(by_itk) == 0).all()


# Folders.


def test_the_whole_folder_every_evening_takes_what_is_new(tasks):
    seen, rng = tasks.seen, np.random.default_rng(0)
    expert.in_place(seen[0])
    expert.half(seen[1])
    expert.seg_nrrd(seen[2], rng)
    tasks.hand_in()
    assert len(tasks.events()) == 3
    ledger = (tasks.ledger.folder / "ledger.jsonl").read_bytes()
    files = sorted(tasks.ledger.folder.rglob("*"))
    tasks.hand_in()
    assert (tasks.ledger.folder / "ledger.jsonl").read_bytes() == ledger
    assert sorted(tasks.ledger.folder.rglob("*")) == files
    expert.in_place(seen[1])
    tasks.hand_in()
    assert [event["task"] for event in tasks.events()][3:] == [seen[1].id]


def test_files_that_are_skipped_for_one_reason_are_told_in_one_line(tasks, capsys):
    """Of seven tasks that went out, two were painted."""
    painted = [tasks.seen[1], tasks.seen[5]]
    for task in painted:
        expert.in_place(task)
    capsys.readouterr()
    tasks.hand_in()
    told = capsys.readouterr().out.splitlines()
    assert all(sum(line.startswith(task.id) for line in told) == 1 for task in painted)
    others = {task.id for task in tasks.seen} - {task.id for task in painted}
    (line,) = [line for line in told if "not taken" in line]
    assert all(other in line for other in others)


@pytest.mark.parametrize("newer", ["export", "answer"])
def test_the_untouched_export_beside_a_saved_segmentation_does_not_confuse(tasks, capsys, newer):
    task = tasks.seen[4]
    file = expert.seg_nrrd(task, np.random.default_rng(1))
    os.utime(task.label if newer == "export" else file, ns=(0, 2 * 10**18))
    capsys.readouterr()
    tasks.hand_in(task.folder)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith(task.id)]
    assert len(told) == 1
    np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])
    tasks.hand_in(task.folder)
    assert [Path(event["file"]) for event in tasks.events()] == [file]


def test_a_file_of_the_whole_image_answers_all_tasks_of_its_case(tasks, tmp_path):
    mine = [task for task in tasks.seen if task.id.endswith("tiny_1")]
    boxes = [tasks.patch(task).slices for task in mine]
    anatomy = sitk.ReadImage(str(tasks.label("tiny_1")))
    truth = sitk.GetArrayFromImage(anatomy)
    inside = np.zeros(truth.shape, bool)
    for box in boxes:
        inside[box] = True
    labels = np.where(inside, truth, 0).astype(np.uint8)
    stray = [tuple(index) for index in np.argwhere(~inside)[:5]]
    for index in stray:
        labels[index] = 2
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(anatomy)
    file = tmp_path / "tiny_1_anna.nii.gz"
    sitk.WriteImage(image, str(file))
    tasks.hand_in(file)
    assert [(event["task"], event["outside"]) for event in tasks.events()] == [(task.id, len(stray)) for task in mine]
    assert len(list((tasks.ledger.folder / "received").glob("*tiny_1_anna*"))) == 1
    np.testing.assert_array_equal(put_together(tasks, "tiny_1"), np.where(inside, truth, IGNORE))


# Out again.


def test_exported_again_edits_stay_and_answers_come_as_far_as_they_are(tasks):
    edited, answered, blank = tasks.seen[0], tasks.seen[2], tasks.seen[3]
    expert.in_place(edited)
    labels = changed(answered)
    saved = answered.write(labels, answered.folder / f"{answered.id}.nrrd")
    tasks.hand_in(saved)
    content = edited.label.read_bytes(), blank.label.read_bytes()
    tasks.export(tasks.out)
    assert (edited.label.read_bytes(), blank.label.read_bytes()) == content
    out = sitk.GetArrayFromImage(sitk.ReadImage(str(answered.label)))
    np.testing.assert_array_equal(out, labels)
    assert set(np.unique(out[answered.box])) == {0, 1, 2, 3}
    # It is what was handed in, not a new answer; the edited one is.
    tasks.hand_in(who="bert")
    assert [event["task"] for event in tasks.events()] == [answered.id, edited.id, answered.id]
    assert Path(tasks.events()[2]["file"]) == saved


def test_predictions_go_out_and_are_no_answers_until_somebody_says_so(closed, tmp_path):
    for task in closed.seen[:2]:
        closed.annotate(f"withdraw {task.id} --disable_progress_bar")
    experiment = closed.experiment
    made = export(experiment, 0, tmp_path / "again", lambda: FakeEnsemble(experiment, classes=3), progress=False, start_above=0)
    assert len(made.tasks) == 7
    again = expert.look(tmp_path / "again", closed.label)
    out = [sitk.GetArrayFromImage(task.shown) for task in again]
    predicted = [labels[task.box].copy() for labels, task in zip(out[:2], again, strict=False)]
    assert len({value for labels in predicted for value in np.unique(labels).tolist()} - {IGNORE}) > 1
    assert not any((labels == IGNORE).any() for labels in predicted)
    for labels, task in zip(out, again, strict=True):
        labels[task.box] = IGNORE
        assert (labels == IGNORE).all()
    for task in again[2:]:
        np.testing.assert_array_equal(sitk.GetArrayFromImage(task.shown), task.answer())
    before = len(closed.events())
    with pytest.raises(SystemExit, match="4"):
        closed.hand_in(tmp_path / "again")
    assert len(closed.events()) == before
    closed.hand_in(tmp_path / "again", more="--accept_unchanged")
    assert len(closed.events()) == before + 2
    for labels, task in zip(predicted, again, strict=False):
        patch = closed.patch(task)
        if not task.id.endswith("tiny_3"):  # where a later task's box may cover it
            np.testing.assert_array_equal(closed.labels(patch.case)[patch.slices], labels)
        np.testing.assert_array_equal(closed.counted(task), labels)


def shared(tasks: OpenTasks, first: expert.Seen, second: expert.Seen) -> tuple[np.ndarray, np.ndarray]:
    """What is known of the second's box through the answer to the first, IGNORE elsewhere; and where that is."""
    a, b = tasks.patch(first), tasks.patch(second)
    whole = np.full(tasks.experiment.plan.pool[a.case].shape, IGNORE, np.uint8)
    whole[a.slices] = tasks.counted(first)
    known = whole[b.slices]
    assert 0 < (known != IGNORE).sum() < known.size
    return known, known != IGNORE


@pytest.mark.parametrize("more", ["--blank", ""])
def test_an_answer_shows_in_boxes_that_overlap_its_own_and_is_not_overwritten_unseen(tasks, tmp_path, more):
    first, second = (task for task in tasks.seen if task.id.endswith("tiny_1"))
    tasks.hand_in(first.write(changed(first)))
    known, said = shared(tasks, first, second)
    before = put_together(tasks, "tiny_1")
    (again,) = (task for task in tasks.export(tmp_path / "new", more) if task.id == second.id)
    out = sitk.GetArrayFromImage(again.shown)
    np.testing.assert_array_equal(out[again.box], np.where(said, known, 0))
    # As it is, it is right: what was known stays.
    tasks.hand_in(again.label, more="--accept_unchanged")
    now = put_together(tasks, "tiny_1")
    np.testing.assert_array_equal(now[before != IGNORE], before[before != IGNORE])
    np.testing.assert_array_equal(now[tasks.patch(second).slices], np.where(said, known, 0))


def test_what_is_known_goes_before_what_is_predicted(closed, tmp_path):
    first, second = (task for task in closed.seen if task.id.endswith("tiny_1"))
    closed.annotate(f"withdraw {first.id} --disable_progress_bar")
    closed.annotate(f"withdraw {second.id} --disable_progress_bar")
    experiment = closed.experiment

    def out(folder: Path) -> np.ndarray:
        export(experiment, 0, folder, lambda: FakeEnsemble(experiment, classes=3), progress=False, start_above=0)
        (again,) = (task for task in expert.look(folder, closed.label) if task.id == second.id)
        return sitk.GetArrayFromImage(again.shown)[again.box]

    predicted = out(tmp_path / "before")
    closed.hand_in(first.write(changed(first)))
    known, said = shared(closed, first, second)
    assert (predicted != known)[said].any()
    np.testing.assert_array_equal(out(tmp_path / "after"), np.where(said, known, predicted))


def test_folds_that_a_late_answer_adds_do_not_predict_before_they_are_trained(closed, tmp_path, monkeypatch, capsys):
    closed.annotate(f"withdraw {closed.seen[0].id} --disable_progress_bar")
    experiment, opened = closed.experiment, []
    assert experiment.folds() == [0, 1]

    def ensemble(experiment, folds, device):
        opened.append(folds)
        return FakeEnsemble(experiment, classes=3)

    with pytest.raises(SystemExit):
        closed.annotate(f"export -cycle 0 -o {tmp_path / 'new'} -device cpu --disable_progress_bar")
    assert "Train the members of cycle 0 first" in capsys.readouterr().err
    monkeypatch.setattr("nnactive_ext.members.ensemble.NnUNetEnsemble", ensemble)
    fake_train(experiment, 1)
    closed.annotate(f"export -cycle 0 -o {tmp_path / 'new'} -device cpu -start_above 0 --disable_progress_bar")
    fake_train(experiment, 0)
    closed.annotate(f"export -cycle 0 -o {tmp_path / 'new'} -device cpu -start_above 0 --disable_progress_bar")
    assert opened == [[1], [0, 1]]


@pytest.mark.parametrize("margin", [0.0, 4.0, 1000.0])
def test_margin_is_what_is_shown_around_and_answers_fit_whatever_it_is(tasks, tmp_path, margin):
    geometry = tasks.experiment.plan.pool
    for task in tasks.export(tmp_path / "again", f"--blank -margin {margin}"):
        patch = tasks.patch(task)
        where = geometry[patch.case]
        for axis in range(3):
            around = round(margin / where.spacing[axis])
            low, high = max(0, patch.start[axis] - around), min(where.shape[axis], patch.stop[axis] + around)
            assert task.truth.shape[axis] == high - low
            assert (task.box[axis].start, task.box[axis].stop) == (patch.start[axis] - low, patch.stop[axis] - low)
        expert.in_place(task)
    tasks.hand_in(tmp_path / "again")
    for task in tasks.seen:
        np.testing.assert_array_equal(tasks.counted(task), task.answer()[task.box])


def test_without_a_margin_given_there_is_as_much_around_as_the_box_is_large(tasks):
    for task in tasks.seen:
        patch = tasks.patch(task)
        shape = tasks.experiment.plan.pool[patch.case].shape
        edges = zip(patch.start, patch.stop, patch.size, shape, strict=True)
        assert math.prod(task.truth.shape) == math.prod(min(n, b + s) - max(0, a - s) for a, b, s, n in edges)


# Boxes that overlap.


def test_in_overlapping_boxes_the_later_task_counts_where_it_says_something(tasks):
    first, second = (task for task in tasks.seen if task.id.endswith("tiny_1"))
    a, b = tasks.patch(first), tasks.patch(second)
    assert a.overlaps(b)
    # The later task is answered first: order of tasks, not of files, so that a correction changes its own box only.
    tasks.hand_in(second.write(changed(second, 1)))
    tasks.hand_in(first.write(changed(first, 2)))
    expected = np.full(tasks.experiment.plan.pool["tiny_1"].shape, IGNORE)
    taken_over = kept = 0
    for patch, said in ((a, changed(first, 2)[first.box]), (b, changed(second, 1)[second.box])):
        for offset in np.ndindex(*patch.size):
            index = tuple(np.add(patch.start, offset))
            taken_over += bool(expected[index] != IGNORE and said[offset] != IGNORE)
            kept += bool(expected[index] != IGNORE and said[offset] == IGNORE)
            if said[offset] != IGNORE:
                expected[index] = said[offset]
    assert taken_over
    assert kept
    np.testing.assert_array_equal(put_together(tasks, "tiny_1"), expected)


def test_who_hands_in_needs_a_name_that_no_rule_has(tasks):
    expert.in_place(tasks.seen[0])
    for who in ("latest", "first", "consensus", " "):
        with pytest.raises(SystemExit):
            annotate.main(["import", "-d", "601", str(tasks.out), "-who", who])
    assert tasks.events() == []
