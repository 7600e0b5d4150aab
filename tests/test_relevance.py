"""Relevance on arrays: the numbers of the specification (ood.md), invariances and degenerate cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.relevance import (
    can_learn,
    cosines,
    delta_by_precision,
    detected,
    margins,
    mixed,
    precision_above_median,
    scheduled_delta,
    text_relevance,
    text_scores,
)

SIMILARITY = np.array([[0.31, 0.27, 0.20, 0.22], [0.24, 0.29, 0.28, 0.30], [0.18, 0.19, 0.30, 0.31], [0.30, 0.30, 0.26, 0.30]])
RELEVANT = np.array([True, True, False, False])
LOGITS = np.array([[2.0, 0, -1], [1, 1.5, 1], [-1, 0, 2], [0, 0, 0]])
S_VLM, S_DET = [0.1, 0, -0.115, 0.02], [0.9772, 0.36418, -0.96169, 0]


def test_the_numbers_of_the_specification():
    np.testing.assert_allclose(text_relevance(SIMILARITY, RELEVANT), S_VLM, atol=1e-12)
    np.testing.assert_allclose(margins(LOGITS), S_DET, atol=5e-6)
    np.testing.assert_allclose(mixed(S_VLM, margins(LOGITS), 0.1), [0.18772, 0.03642, -0.19967, 0.018], atol=5e-6)
    assert delta_by_precision(0.8, 0.6) == pytest.approx(0.5714, abs=5e-5)


def test_the_detector_rules_from_the_first_tenth_on():
    """About half of the spread of S comes from it at delta = 0.1."""
    assert 0.4 < np.ptp(0.1 * np.array(S_DET)) / np.ptp(mixed(S_VLM, S_DET, 0.1)) < 0.6
    both = mixed(S_VLM, S_DET, 0.5, standardise=True)
    assert np.isclose(both.mean(), 0)


def test_the_schedule_of_delta():
    assert [scheduled_delta(t) for t in (0, 1, 5, 10, 30)] == pytest.approx([0, 0.1, 0.5, 1, 1])


def test_precision_is_of_the_upper_half():
    assert precision_above_median([4, 3, 2, 1], [True, False, True, True]) == 0.5
    assert precision_above_median([1, 1, 1], [True, False, True]) == pytest.approx(2 / 3)
    assert precision_above_median([], []) == 0
    assert delta_by_precision(0, 0) is None


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_neither_the_order_of_texts_nor_of_cases_matters(texts, cases):
    moved = text_relevance(SIMILARITY[cases][:, texts], RELEVANT[texts])
    np.testing.assert_allclose(moved, np.array(S_VLM)[cases], atol=1e-12)


def test_a_constant_added_to_a_cases_logits_changes_nothing():
    np.testing.assert_allclose(margins(LOGITS + np.array([[5], [-300], [1e3], [0]])), margins(LOGITS), atol=1e-12)


def test_cosines_do_not_depend_on_lengths_and_are_the_largest_over_views():
    rng = np.random.default_rng(0)
    images, texts = rng.normal(size=(5, 3, 8)), rng.normal(size=(4, 8))
    found = cosines(images, texts)
    np.testing.assert_allclose(cosines(7 * images, 0.1 * texts), found)
    np.testing.assert_allclose(found, np.max([cosines(images[:, view], texts) for view in range(3)], axis=0))
    np.testing.assert_allclose(cosines(texts, texts).diagonal(), 1)
    many = np.concatenate([rng.normal(size=(5000, 8)), texts])  # more than are compared at a time
    np.testing.assert_allclose(cosines(images, many)[:, 5000:], found)


def test_without_irrelevant_texts_the_second_term_is_0():
    np.testing.assert_allclose(text_scores(SIMILARITY[:, :2], RELEVANT[:2]), SIMILARITY[:, :2])
    with pytest.raises(ValueError, match="relevant"):
        text_relevance(SIMILARITY, ~np.ones(4, bool))


def test_a_text_that_is_there_twice_counts_once_in_the_maximum_and_twice_in_the_mean():
    twice = [0, 0, 1, 2, 2, 3]
    expected = SIMILARITY[:, :2].max(axis=1) - (2 * SIMILARITY[:, 2] + SIMILARITY[:, 3]) / 3
    np.testing.assert_allclose(text_relevance(SIMILARITY[:, twice], RELEVANT[twice]), expected)


def groups(classes=(0, 1, 2, -1), each=12, seed=0):
    """Examples of classes that lie apart."""
    rng = np.random.default_rng(seed)
    known = np.repeat(classes, each)
    centres = rng.normal(size=(8, 6)) * 4
    return centres[known] + rng.normal(size=(len(known), 6)), known


@pytest.mark.parametrize("classes", [(0, 1, 2, -1), (1, -1)])
def test_the_detector_tells_what_is_irrelevant(classes):
    examples, known = groups(classes)
    others, truth = groups(classes, seed=0)
    scores = detected(others, examples, known)
    assert scores[truth == -1].max() < 0 < scores[truth != -1].min()
    assert np.abs(scores).max() <= 1


def test_the_detector_depends_on_neither_the_order_of_examples_nor_the_unit():
    examples, known = groups()
    rng = np.random.default_rng(1)
    order = rng.permutation(len(known))
    vectors = rng.normal(size=(9, 6)) * 4
    found = detected(vectors, examples, known)
    assert np.array_equal(detected(vectors, examples[order], known[order]), found)
    unit = np.array([1e-3, 1, 1e3, 5, 1, 1])
    np.testing.assert_allclose(detected(vectors * unit + 7, examples * unit + 7, known), found, atol=1e-3)
    alone = detected(vectors[:1], examples, known)
    np.testing.assert_allclose(alone, found[:1])


def test_nothing_is_detected_before_there_are_verdicts_of_both_kinds():
    examples, known = groups()
    for kept in (known == -1, known != -1, np.zeros(len(known), bool)):
        assert not can_learn(known[kept])
        assert np.array_equal(detected(examples, examples[kept], known[kept]), np.zeros(len(examples)))
    assert not len(detected(examples[:0], examples, known))


def test_a_dimension_that_never_changes_is_no_nan():
    examples, known = groups((0, -1))
    assert np.isfinite(detected(np.c_[examples, np.ones(len(known))], np.c_[examples, np.ones(len(known))], known)).all()


@pytest.mark.parametrize("delta", [0, 0.3, 1])
def test_one_case_and_equal_cases_can_be_mixed(delta):
    for n in (1, 3):
        same = mixed(np.full(n, 0.2), np.full(n, -0.5), delta, standardise=True)
        np.testing.assert_allclose(same, 0, atol=1e-12)
    assert mixed(np.zeros((2, 3)), [1, 2], delta).shape == (2, 3)
