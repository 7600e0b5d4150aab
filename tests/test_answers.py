"""Which answers count, against a slow obvious model; merging voxel by voxel; agreement worked out by hand."""

from __future__ import annotations

import math
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnactive_ext.geometry.space import Space
from nnactive_ext.labelling.agreement import agreement
from nnactive_ext.labelling.answers import CountingAnswers, labels_of, merged, status_of
from nnactive_ext.labelling.ledger import Ledger

TASKS, PEOPLE, IGNORE = ("a", "b"), ("anna", "bert", "carla"), 3
EYE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
STEPS = st.one_of(
    st.tuples(st.just("answer"), st.sampled_from(TASKS), st.sampled_from(PEOPLE), st.integers(0, 2)),
    st.tuples(st.just("withdraw"), st.integers(0, 10**6)),
    st.tuples(
        st.just("rule"),
        st.sampled_from((None, *TASKS)),
        st.sampled_from(("latest", "first", "consensus", *PEOPLE)),
    ),
    st.tuples(st.just("points")),
)


def say(ledger: Ledger, task: str, who: str, unsure: int = 0, place: str = "") -> int:
    facts = {"file": "/x", "sha256": "0" * 64, "place": place, "voxels": 2, "unsure": unsure, "received": "y"}
    return ledger.add("answer", who, task=task, **facts)["event"]


@given(st.lists(STEPS, max_size=25))
def test_book_does_as_a_list_that_is_looked_through_each_time(steps):
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        said: list[tuple[int, str, str, int]] = []  # event, task, who, unsure; what was taken back is gone
        rules = dict.fromkeys((None, *TASKS))
        for step in steps:
            if step[0] == "answer":
                _, task, who, unsure = step
                said.append((say(ledger, task, who, unsure), task, who, unsure))
            elif step[0] == "withdraw" and said:
                # As the command does: the last answer of one of those who have one.
                last = {(task, who): one for one in said for _, task, who, _ in [one]}
                taken = sorted(last.values())[step[1] % len(last)]
                said.remove(taken)
                ledger.add("withdraw", taken[2], task=taken[1], withdrawn=taken[0])
            elif step[0] == "rule":
                rules[step[1]] = step[2]
                ledger.add("rule", "boss", rule=step[2], task=step[1])
            elif step[0] == "points":
                ledger.add("points", "anna", cycle=0)
        book = CountingAnswers.of(ledger)
        for task in TASKS:
            mine = [one for one in said if one[1] == task]
            people = list(dict.fromkeys(who for _, _, who, _ in mine))  # in the order they first answered
            standing = [max(one for one in mine if one[2] == who) for who in people]
            assert [answer.event for answer in book.answers.get(task, [])] == [one[0] for one in standing]
            rule = rules[task] or rules[None] or "latest"
            assert book.rule_of(task) == rule
            counting = [a.event for a in book.counting(task)]
            if not standing:
                assert counting == []
                assert book.status(task) == "open"
                continue
            if rule == "consensus":
                expected = standing
            elif rule == "first":
                expected = standing[:1]
            elif any(one[2] == rule for one in standing):
                expected = [one for one in standing if one[2] == rule]
            else:
                expected = [max(standing)]
            assert counting == [one[0] for one in expected]
            assert book.status(task) == ("done" if min(one[3] for one in expected) == 0 else "partial")


def test_taking_back_takes_back_one_answer_after_the_other(tmp_path):
    ledger = Ledger(tmp_path)
    events = [say(ledger, "a", "anna"), say(ledger, "a", "bert"), say(ledger, "a", "anna", unsure=1)]
    assert [a.event for a in CountingAnswers.of(ledger).counting("a")] == [events[2]], "a correction is the latest"
    ledger.add("withdraw", "anna", task="a", withdrawn=events[2])
    assert [a.event for a in CountingAnswers.of(ledger).answers["a"]] == events[:2]
    assert [a.event for a in CountingAnswers.of(ledger).counting("a")] == [events[1]]
    ledger.add("withdraw", "anna", task="a", withdrawn=events[0])
    ledger.add("withdraw", "bert", task="a", withdrawn=events[1])
    assert CountingAnswers.of(ledger).answers == {}
    assert say(ledger, "a", "bert") == 6
    assert [a.event for a in CountingAnswers.of(ledger).counting("a")] == [6]


def test_first_is_who_answered_first_also_after_a_correction(tmp_path):
    """The rule is about annotators: anna was first, and her correction is what she says."""
    ledger = Ledger(tmp_path)
    say(ledger, "a", "anna")
    say(ledger, "a", "bert")
    corrected = say(ledger, "a", "anna")
    ledger.add("rule", "boss", rule="first", task=None)
    assert [a.event for a in CountingAnswers.of(ledger).counting("a")] == [corrected]


def test_labels_of_is_what_counts(tmp_path):
    ledger = Ledger(tmp_path)
    space = Space((1, 1, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), EYE)
    arrays = {"anna": np.array([[[1, IGNORE]]], np.uint8), "bert": np.array([[[2, 0]]], np.uint8)}
    assert labels_of(ledger, CountingAnswers.of(ledger), "a", IGNORE) is None
    for who, array in arrays.items():
        say(ledger, "a", who, int((array == IGNORE).sum()), ledger.write_answer("a", who * 9, array, space))
    for rule, expected in {"latest": [2, 0], "anna": [1, 3], "carla": [2, 0], "consensus": [3, 0]}.items():
        ledger.add("rule", "boss", rule=rule, task="a")
        assert labels_of(ledger, CountingAnswers.of(ledger), "a", IGNORE).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("anna", "bert", "latest", "consensus"),
    [
        ([1, 3], [3, 0], "partial", "done"),  # halves that make a whole
        ([1, 0, 3], [2, 3, 0], "partial", "done"),  # with a voxel in dispute
        ([1, 3, 3], [2, 3, 0], "partial", "partial"),  # one that nobody speaks of
        ([1, 0], [2, 3], "partial", "done"),
        ([1, 0], [2, 2], "done", "done"),
        ([3, 3], [3, 3], "partial", "partial"),
    ],
)
def test_a_task_is_done_by_consensus_when_each_voxel_is_spoken_of(tmp_path, anna, bert, latest, consensus):
    ledger = Ledger(tmp_path)
    assert status_of(ledger, CountingAnswers.of(ledger), "a", IGNORE) == "open"
    space = Space((1, 1, len(anna)), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), EYE)
    for who, labels in (("anna", anna), ("bert", bert)):
        array = np.array([[labels]], np.uint8)
        say(ledger, "a", who, labels.count(IGNORE), ledger.write_answer("a", who * 9, array, space))
    assert status_of(ledger, CountingAnswers.of(ledger), "a", IGNORE) == latest
    ledger.add("rule", "boss", rule="consensus", task="a")
    assert status_of(ledger, CountingAnswers.of(ledger), "a", IGNORE) == consensus


def test_no_voxels_are_read_where_one_answer_says_it(tmp_path):
    ledger = Ledger(tmp_path)
    say(ledger, "a", "anna", unsure=1, place="nowhere")
    ledger.add("rule", "boss", rule="consensus", task=None)
    assert status_of(ledger, CountingAnswers.of(ledger), "a", IGNORE) == "partial"
    say(ledger, "a", "bert", place="nowhere")
    assert status_of(ledger, CountingAnswers.of(ledger), "a", IGNORE) == "done"


ARRAYS = st.integers(1, 4).flatmap(
    lambda n: st.lists(hnp.arrays(np.uint8, (2, 1, 3), elements=st.integers(0, IGNORE)), min_size=n, max_size=n)
)


@given(ARRAYS)
def test_merged_voxel_by_voxel(answers):
    before = [answer.copy() for answer in answers]
    result = merged(answers, IGNORE)
    for index in product(*map(range, answers[0].shape)):
        said = {int(answer[index]) for answer in answers} - {IGNORE}
        assert result[index] == (said.pop() if len(said) == 1 else IGNORE)
    assert result.dtype == np.uint8
    for answer, kept in zip(answers, before, strict=True):
        np.testing.assert_array_equal(answer, kept)


def test_merged_of_nothing_is_nothing():
    assert merged([], IGNORE) is None


CLASSES = {"organ": (1,), "lesion": (2,)}


def line(*labels: int) -> np.ndarray:
    return np.array(labels, np.uint8).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("answers", "organ", "lesion"),
    [
        ([line(1, 1, 2, 0), line(1, 1, 2, 0)], 1.0, 1.0),
        ([line(1, 1, 0, 0), line(1, 0, 0, 0)], 2 / 3, math.nan),  # nobody sees a lesion
        ([line(1, 1, 2, 0), line(1, 1, 0, 0)], 1.0, 0.0),
        ([line(1, 1, 2, 3), line(3, 1, 2, 2)], 1.0, 1.0),  # where one is unsure nothing is compared
        ([line(3, 3, 1, 1), line(1, 2, 3, 3)], math.nan, math.nan),  # nothing that both have seen
        # Pairs: (1, 2) organ 2/3; (1, 3) organ 0; (2, 3) organ 0. Lesion: none, 0, 0.
        ([line(1, 1, 0), line(1, 0, 0), line(0, 0, 2)], 2 / 9, 0.0),
        # Lesion: pair (1, 2) has none and is left out of the mean; (1, 3) 1 of 2 and (2, 3) 1 of 2 are 0.
        ([line(1, 3, 2), line(1, 3, 2), line(1, 2, 3)], 1.0, 1.0),
        ([line(1, 3, 0), line(1, 3, 0), line(1, 2, 2)], 1.0, 0.0),
    ],
)
def test_agreement_by_hand(answers, organ, lesion):
    for some in (answers, answers[::-1]):
        found = agreement(some, CLASSES, IGNORE)
        assert found["organ"] == pytest.approx(organ, nan_ok=True)
        assert found["lesion"] == pytest.approx(lesion, nan_ok=True)


def test_agreement_of_one_is_no_agreement():
    assert agreement([line(1, 2)], CLASSES, IGNORE) == {}
    assert agreement([], CLASSES, IGNORE) == {}


def test_agreement_on_a_region_takes_its_labels_together():
    found = agreement([line(1, 2, 2, 0), line(2, 1, 2, 0)], {"whole": (1, 2), "core": (2,)}, IGNORE)
    assert found == {"whole": 1.0, "core": pytest.approx(0.5)}
