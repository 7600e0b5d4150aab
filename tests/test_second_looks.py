"""A second look at answers: members that were not trained on an answer put a wrong one first; nothing changes by itself."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import scripted_expert as expert
import SimpleITK as sitk
import torch
from fake_members import FakeEnsemble, fake_train
from serving import client
from test_cross_validation import annotate, one_fold, says, set_splits, untested  # noqa: F401

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.marks import ALL
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.screening import answers
from nnactive_ext.screening.answers import (
    answers_file,
    answers_text,
    compare_answers,
    note_of,
    read_answers,
    second_looks,
    write_answers,
)


def test_by_hand(untested, monkeypatch):  # noqa: F811
    """Two patches of a simulation; the member of fold 0 differs from one in two of 75 voxels, that of fold 1 agrees."""
    one, other = [task for task in all_tasks(untested) if task.cycle == 0][:2]
    assert one.patch.case != other.patch.case
    set_splits(untested, [(other.patch.case, one.patch.case), (one.patch.case, other.patch.case)])

    def inside(task, *labels: int) -> dict[tuple[int, int, int], int]:
        z, y, x = task.patch.start
        box = {(z + i, y + j, x + k): 0 for i, j, k in np.ndindex(*task.patch.size)}
        return {**box, **{(z, y, x + k): label for k, label in enumerate(labels)}}

    annotate(untested, {one.patch.case: inside(one, 1, 1, 2), other.patch.case: inside(other, 1)})
    told = {(one.patch.case, 0): inside(one, 1, 2, 0), (other.patch.case, 1): inside(other, 1)}
    says(told, monkeypatch)
    from nnactive_ext.members import cross_validation

    monkeypatch.setattr(answers, "Predictor", cross_validation.Predictor)
    found = compare_answers(untested, one_fold, [0, 1], progress=False)
    assert [row.task for row in found.compared] == [one.id, other.id]
    first, second = found.compared
    # organ: 2 / 3; lesion: 0.
    assert (first.disagreement, first.worst, first.folds) == (pytest.approx(2 / 3), "lesion", "0")
    assert (first.differing, first.voxels, first.who, first.event) == (2, 75, "", -1)
    assert (second.disagreement, second.differing, second.folds) == (0, 0, "1")
    everything = [task for task in all_tasks(untested) if task.cycle == 0]
    assert found.left_out == len([task for task in everything if task.patch.case not in (one.patch.case, other.patch.case)])
    alone = compare_answers(untested, one_fold, [0], progress=False)
    assert [row.task for row in alone.compared] == [one.id], "the member of fold 0 was trained on the other"
    assert compare_answers(untested, one_fold, [ALL], progress=False).compared == ()


class Right(FakeEnsemble):
    """Members that know how many voxels of each class a case has: the brightest of its first channel."""

    def __init__(self, tasks, opened, folds):
        super().__init__(tasks.experiment)
        self.tasks = tasks
        opened.append(list(folds))

    def logits(self, image, case=""):
        whole, _ = self.experiment.preprocessed.load(case)
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(self.tasks.label(case))))
        falling = np.sort(whole[0], axis=None)[::-1]
        lesion, organ = (float(falling[(truth >= label).sum() - 1]) for label in (2, 1))
        grey = torch.from_numpy(image[0])
        yield "a member", torch.stack([torch.zeros_like(grey), grey >= organ, 2 * (grey >= lesion)])


def in_browser(experiment) -> list[str]:
    """The tasks of the second look on the queue's page."""
    with client(experiment.number, "ben") as server:
        return re.findall(r"<li><a href=\"/tasks/([^\"]+)\">", server.get("/").text)


@pytest.fixture
def answered(tasks):
    """Cycle 0 answered by anna, all patches right but one, which is empty; closed; its members are there."""
    wrong = next(task for task in tasks.seen if (task.answer() == 1).any() and (task.answer() != 0).any())
    for task in tasks.seen:
        labels = task.answer()
        if task.id == wrong.id:
            labels[task.box] = 0
        task.write(labels)
    tasks.hand_in(more="--accept_unchanged")
    tasks.annotate("close --disable_progress_bar")
    for fold in tasks.experiment.folds():
        fake_train(tasks.experiment, fold)
    return tasks, wrong


def test_a_wrong_answer_is_looked_at_first_and_leaves_the_queue_when_it_is_answered_again(answered, tmp_path):
    tasks, wrong = answered
    experiment, opened = tasks.experiment, []
    before = {case: tasks.labels(case) for case in experiment.plan.pool}
    found = compare_answers(experiment, partial(Right, tasks, opened), experiment.folds(), progress=False)
    assert found.compared[0].task == wrong.id
    assert found.compared[0].who == "anna"
    assert sorted(opened) == [[0], [1]], "each member alone, and none for an open cycle without answers"
    file = write_answers(experiment, found)
    assert file == answers_file(experiment)
    assert [row.task for row in read_answers(experiment)] == [row.task for row in found.compared]
    assert all(np.array_equal(before[case], tasks.labels(case)) for case in before), "nothing is changed by itself"
    assert wrong.id in answers_text(experiment, found, file)

    looks = second_looks(experiment)
    assert next(iter(looks)) == wrong.id
    assert len(second_looks(experiment, most=1)) == 1
    assert in_browser(experiment)[0] == wrong.id
    tasks.annotate(f"export -cycle 0 -o {tmp_path / 'again'} --blank --disable_progress_bar")
    index = (tmp_path / "again" / "index.html").read_text()
    assert index.count("Second look") == len(looks)
    assert note_of(looks[wrong.id]).split(":")[0] in index

    ledger, patch = Ledger(experiment.annotation), looks[wrong.id]
    ledger.add("verdict", "ben", case=patch.case, task=wrong.id, irrelevant=True, why="", cycle=0, start=[0] * 3, size=[1] * 3)
    assert wrong.id not in second_looks(experiment), "a verdict decides, too"
    ledger.add("withdraw", "ben", task=wrong.id, withdrawn=sum(1 for _ in ledger.events()) - 1)
    assert wrong.id in second_looks(experiment)

    again = expert.look(tmp_path / "again", tasks.label)
    right = next(task for task in again if task.id == wrong.id)
    tasks.hand_in(right.write(right.answer()), who="ben")
    assert wrong.id not in second_looks(experiment)
    assert wrong.id not in in_browser(experiment)


@pytest.mark.slow
def test_answers_to_the_open_cycle_are_compared_with_all_members(tasks):
    for task in tasks.seen:
        task.write(task.answer())
    tasks.hand_in(more="--accept_unchanged")
    tasks.run()
    experiment, opened = tasks.experiment, []
    assert experiment.last_loop == 1 > experiment.state["cycle"]
    seen = tasks.export(tasks.out.parent / "next")
    tasks.hand_in(seen[0].write(seen[0].answer()))
    found = compare_answers(experiment, partial(Right, tasks, opened), experiment.folds(), progress=False)
    assert seen[0].id in [row.task for row in found.compared]
    assert opened[-1] == experiment.folds()
    assert not any(row.task in [task.id for task in seen[1:]] for row in found.compared), "they have no answer"


def test_a_damaged_table_says_how_to_write_it_anew(planned):
    file = answers_file(planned)
    file.parent.mkdir(parents=True)
    file.write_text("task,case\na,b\n")
    with pytest.raises(NnActiveError, match="--answers"):
        read_answers(planned)


@pytest.mark.slow
def test_an_answer_that_was_there_and_did_not_count_does_not_close_a_look(answered):
    """By the rule "first", ben's answer was in the ledger when anna's was compared."""
    tasks, wrong = answered
    experiment, ledger = tasks.experiment, Ledger(tasks.experiment.annotation)
    (anna,) = [event for event in ledger.events() if event["what"] == "answer" and event["task"] == wrong.id]
    ledger.add("rule", "anna", rule="first", task=None)
    facts = {key: value for key, value in anna.items() if key not in ("what", "who", "when", "event")}
    ledger.add("answer", "ben", **facts)
    write_answers(experiment, compare_answers(experiment, partial(Right, tasks, []), experiment.folds(), progress=False))
    assert second_looks(experiment)[wrong.id].who == "anna"
    ledger.add("answer", "carl", **facts)
    assert wrong.id not in second_looks(experiment)
