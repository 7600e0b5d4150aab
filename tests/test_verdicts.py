"""The verdict "irrelevant": patches stay ignore and are done; cases leave the pool and come back, voxel for voxel."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scripted_expert as expert

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json
from nnactive_ext.labelling.closing import noted
from nnactive_ext.labelling.tasks import tasks_of
from nnactive_ext.labelling.verdicts import Verdict, irrelevant_cases, relevant_cases, subject_of, verdicts
from nnactive_ext.labelling.votes import Vote, outcome_of
from nnactive_ext.querying.pool import pool_cases

IGNORE = 3


def verdict(tasks, *words: str, who: str = "anna") -> None:
    tasks.annotate(" ".join(["verdict", *words, "-who", who, "--disable_progress_bar"]))


def files_of(tasks) -> dict[str, object]:
    """What members are trained on, and what the query asks: labels, preprocessed labels, splits, state, pool, dataset.json."""
    experiment = tasks.experiment
    folder, plan = experiment.preprocessed.folder, experiment.plan
    return {
        "labels": {case: tasks.labels(case).tobytes() for case in plan.pool},
        "preprocessed": {case: tasks.preprocessed_labels(case).tobytes() for case in plan.pool},
        "splits": (folder / "splits_final.json").read_bytes(),
        "annotated": read_json(folder / "nnactive_state.json")["annotated"],
        "pool": plan.pool,
        "dropped": plan.dropped,
        "dataset": (experiment.raw / "dataset.json").read_bytes(),
        "tasks": tasks_of(experiment, 0),
        "asked": pool_cases(experiment, references=False).keys(),
    }


@pytest.fixture
def closed(tasks):
    """All tasks of cycle 0 are answered by anna, and closed."""
    tasks.hand_in(*(expert.in_place(task) for task in tasks.seen), more="--accept_unchanged")
    tasks.annotate("close --disable_progress_bar")
    return tasks


def test_an_irrelevant_patch_is_done_and_stays_ignore(tasks):
    task, *others = tasks.seen
    verdict(tasks, task.id, "irrelevant", "-why", "another", "organ")
    (found,) = verdicts(tasks.experiment)
    patch = tasks.patch(task)
    assert found == Verdict(patch.case, patch, True, "anna", "another organ", 0, task.id)
    assert tasks.book.status(task.id) == "done"
    assert irrelevant_cases(tasks.experiment) == relevant_cases(tasks.experiment) == frozenset()
    tasks.hand_in(*(expert.in_place(other) for other in others), more="--accept_unchanged")
    tasks.annotate("close --disable_progress_bar")
    answered = [tasks.patch(other).slices for other in others if tasks.patch(other).case == patch.case]
    labels = tasks.labels(patch.case)
    for box in answered:
        labels[box] = IGNORE
    assert (labels[patch.slices] == IGNORE).all(), "nobody said that there is nothing"
    chosen = pool_cases(tasks.experiment, references=False)[patch.case].annotated
    assert patch in chosen, "it is not asked for again"


@pytest.mark.slow
def test_verdicts_on_patches_of_closed_cycles_take_labels_away_and_give_them_back(closed):
    before, task = files_of(closed), closed.seen[0]
    patch = closed.patch(task)
    verdict(closed, task.id, "irrelevant")
    assert (closed.labels(patch.case)[patch.slices] == IGNORE).all()
    assert (closed.preprocessed_labels(patch.case) != IGNORE).sum() < np.frombuffer(before["preprocessed"][patch.case]).size
    verdict(closed, task.id, "relevant")
    assert files_of(closed) == before
    verdict(closed, task.id, "irrelevant")
    closed.annotate(f"withdraw {task.id} --disable_progress_bar")
    assert files_of(closed) == before
    assert [one.irrelevant for one in verdicts(closed.experiment)] == [False], "the one before counts again"


def test_an_irrelevant_case_leaves_the_pool_and_comes_back_voxel_for_voxel(closed, capsys):
    before, case = files_of(closed), closed.patch(closed.seen[0]).case
    verdict(closed, case, "irrelevant", "-why", "a knee")
    assert f"Left the pool, with its labels: {case}" in capsys.readouterr().out
    plan = closed.experiment.plan
    assert case not in plan.pool
    assert plan.dropped == plan.called_irrelevant == (case,)
    assert irrelevant_cases(closed.experiment) == {case}
    assert case not in closed.experiment.state["annotated"]
    assert all(case not in (*split["train"], *split["val"]) for split in read_json(splits_file(closed)))
    assert case not in {task.patch.case for task in tasks_of(closed.experiment, 0)}
    verdict(closed, case, "relevant", who="bert")
    assert f"Back in the pool, with its labels: {case}" in capsys.readouterr().out
    assert files_of(closed) == before
    assert relevant_cases(closed.experiment) == {case}
    closed.annotate(f"withdraw {case} --disable_progress_bar -who bert")
    assert case not in closed.experiment.plan.pool, "anna's verdict counts again"
    closed.annotate(f"withdraw {case} --disable_progress_bar")
    assert files_of(closed) == before


def splits_file(tasks) -> Path:
    return tasks.experiment.preprocessed.folder / "splits_final.json"


@pytest.mark.slow
def test_a_case_leaves_and_comes_back_before_the_first_cycle_is_closed(tasks):
    experiment = tasks.experiment
    before, case = [experiment.plan.pool, tasks_of(experiment, 0), experiment.dataset.json], tasks.patch(tasks.seen[0]).case
    verdict(tasks, case, "irrelevant")
    assert {task.patch.case for task in before[1]} - {task.patch.case for task in tasks_of(tasks.experiment, 0)} == {case}
    verdict(tasks, case, "relevant")
    experiment = tasks.experiment
    assert [experiment.plan.pool, tasks_of(experiment, 0), experiment.dataset.json] == before
    tasks.hand_in(*(expert.in_place(task) for task in tasks.seen), more="--accept_unchanged")
    verdict(tasks, case, "irrelevant")
    tasks.annotate("close --disable_progress_bar")
    verdict(tasks, case, "relevant")
    assert (tasks.labels(case) != IGNORE).any(), "its answers are read again"
    assert tasks.preprocessed_labels(case).size


@pytest.mark.slow
def test_two_people_may_differ_and_the_rule_decides(closed):
    before, task = files_of(closed), closed.seen[0]
    case = closed.patch(task).case
    verdict(closed, task.id, "irrelevant", who="bert")
    assert closed.book.opinions.irrelevant(task.id), "the latest counts"
    closed.annotate("rule consensus --disable_progress_bar")
    assert files_of(closed) == before, "irrelevant only if all say so: anna annotated it"
    verdict(closed, task.id, "irrelevant", who="anna")
    assert closed.book.opinions.irrelevant(task.id)
    verdict(closed, case, "irrelevant", who="bert")
    assert case not in closed.experiment.plan.pool
    verdict(closed, case, "relevant", who="anna")
    assert case in closed.experiment.plan.pool
    closed.annotate("rule bert --disable_progress_bar")
    assert case not in closed.experiment.plan.pool


def test_what_leaves_too_little_to_train_on_is_refused_and_not_recorded(closed):
    cases = sorted(closed.experiment.state["annotated"])
    before = list(closed.ledger.events())
    with pytest.raises(SystemExit):
        verdict(closed, *cases[:-1], "irrelevant")
    assert list(closed.ledger.events()) == before
    assert noted(closed.experiment) == []
    with pytest.raises(SystemExit):
        verdict(closed, "nobody", "irrelevant")
    with pytest.raises(SystemExit):
        closed.annotate(f"withdraw {cases[0]}")


@pytest.mark.slow
def test_a_verdict_that_was_given_during_a_training_is_followed_afterwards(closed, monkeypatch):
    case, experiment = closed.patch(closed.seen[0]).case, type(closed.experiment)
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "under_way", lambda self: "a run")
        verdict(closed, case, "irrelevant")
    assert case in closed.experiment.plan.pool
    assert case not in pool_cases(closed.experiment, references=False), "nobody is asked about it meanwhile"
    assert all(closed.book.status(task.id) == "done" for task in closed.seen if task.id.endswith(case))
    closed.run()
    assert case not in closed.experiment.plan.pool
    assert noted(closed.experiment) == []


@pytest.mark.slow
def test_a_verdict_that_waits_is_followed_before_the_open_cycle_is_closed(tasks, monkeypatch):
    tasks.hand_in(*(expert.in_place(task) for task in tasks.seen), more="--accept_unchanged")
    case = tasks.patch(tasks.seen[0]).case
    with monkeypatch.context() as patch:
        patch.setattr(type(tasks.experiment), "under_way", lambda self: "a run")
        verdict(tasks, case, "irrelevant")
    tasks.annotate("close --disable_progress_bar")
    assert case not in tasks.experiment.plan.pool
    assert case not in read_json(tasks.experiment.preprocessed.folder / "nnactive_state.json")["annotated"]
    assert case not in splits_file(tasks).read_text()


@pytest.mark.slow
def test_a_dropped_case_is_no_matter_of_verdicts(closed):
    from nnactive_ext.cli import change

    case = closed.patch(closed.seen[0]).case
    change.main(["-d", "601", "-drop", case, "-who", "boss"])
    with pytest.raises(SystemExit):
        verdict(closed, case, "relevant")
    assert case in closed.experiment.plan.dropped


def test_a_dropped_case_stays_away_whatever_verdict_it_left_with(closed):
    from nnactive_ext.cli import change

    case = closed.patch(closed.seen[0]).case
    verdict(closed, case, "irrelevant")
    change.main(["-d", "601", "-drop", case, "-who", "boss"])
    assert case not in closed.experiment.plan.called_irrelevant
    with pytest.raises(SystemExit):
        verdict(closed, case, "relevant")
    assert case not in closed.experiment.plan.pool


def test_a_case_called_like_the_beginning_of_a_task_is_the_case(monkeypatch):
    task = SimpleNamespace(id="c000_001_tiny_3", names=["c000_001_tiny_3"])
    plan = SimpleNamespace(pool={"c000_001": None}, called_irrelevant=(), dropped=())
    module = sys.modules["nnactive_ext.labelling.verdicts"]  # the room offers a function of this name
    monkeypatch.setattr(module, "all_asked", lambda experiment: [task])
    monkeypatch.setattr(module, "pseudonyms", lambda folder: {})
    experiment = SimpleNamespace(plan=plan, annotation=None)
    assert subject_of(experiment, "c000_001") == "c000_001"
    assert subject_of(experiment, "c000_001_tiny_3") is task
    plan.pool = {}
    assert subject_of(experiment, "c000_001") is task
    monkeypatch.setattr(
        module, "all_asked", lambda experiment: [task, SimpleNamespace(id="c000_001_tiny_4", names=["c000_001_tiny_4"])]
    )
    with pytest.raises(NnActiveError, match="several tasks"):
        subject_of(experiment, "c000")


@pytest.mark.parametrize(
    ("said", "rule", "irrelevant"),
    [
        ([("anna", True)], "latest", True),
        ([("anna", True), ("bert", False)], "latest", False),
        ([("anna", True), ("bert", False)], "first", True),
        ([("anna", False), ("bert", True), ("anna", True)], "first", True),
        ([("anna", True), ("bert", False)], "consensus", False),
        ([("anna", True), ("bert", False), ("bert", True)], "consensus", True),
        ([("anna", True), ("bert", False)], "anna", True),
        ([("anna", True), ("bert", False)], "carla", False),
    ],
)
def test_the_outcome_follows_the_rule_for_answers(said, rule, irrelevant):
    votes = [Vote("x", "", verdict, who, "", 0, "", event) for event, (who, verdict) in enumerate(said)]
    found = outcome_of(votes[::-1], rule)
    assert found is not None
    assert found.irrelevant == irrelevant
