"""Schedules by value, noise by the distribution it must have."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from nnactive_ext.query_methods.perturbation import Schedule, beta_at, parse_beta, perturbed


def test_the_published_schedule():
    betas = [Schedule().at(t, queries=4) for t in range(4)]
    np.testing.assert_allclose(betas, [1, 10**0.5, 10, 10**1.5])


@pytest.mark.parametrize(("cycle", "queries"), [(4, 4), (5, 4), (400, 4), (0, 0), (3, 0), (0, -1)])
def test_the_schedule_stays_at_its_end(cycle, queries):
    assert Schedule().at(cycle, queries) == 100


def test_the_linear_schedule():
    assert [Schedule(1, 5, "linear").at(t, 4) for t in range(6)] == [1, 2, 3, 4, 5, 5]


@given(st.integers(1, 20), st.sampled_from(["exponential", "linear"]))
def test_schedules_rise_from_first_to_last(queries, kind):
    betas = [Schedule(2, 7, kind).at(t, queries) for t in range(queries + 1)]
    assert betas[0] == pytest.approx(2)
    assert betas[-1] == 7
    assert all(a < b for a, b in pairwise(betas))


def test_reading_a_beta():
    assert parse_beta("none") is None
    assert parse_beta("2.5") == 2.5
    assert parse_beta("1:50") == Schedule(1, 50)
    assert parse_beta("linear:1:50") == Schedule(1, 50, "linear")


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "0:5", "1:2:3", "cubic:1:2", "a:b:c:d", "1:"])
def test_no_such_beta(text):
    with pytest.raises(ValueError, match=r"."):
        parse_beta(text)


def test_strength_in_a_cycle():
    assert beta_at(None, 2, 4) is None
    assert beta_at(3.0, 2, 4) == 3
    assert beta_at(Schedule(), 2, 4) == pytest.approx(10)


def test_without_noise_the_keys_are_the_scores():
    scores = np.arange(8.0).reshape(2, 2, 2)
    np.testing.assert_array_equal(perturbed(scores, None, np.random.default_rng(0)), scores)


def test_a_score_of_zero_is_minus_infinity_and_silent():
    with np.errstate(all="raise"):
        keys = perturbed(np.array([0.0, 1e-30, 1.0], dtype=np.float32), 1.0, np.random.default_rng(0))
    assert keys[0] == -np.inf
    assert np.isfinite(keys[1:]).all()


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_the_best_is_drawn_with_probability_proportional_to_score_to_the_beta(beta):
    scores = np.array([1.0, 2.0, 3.0, 5.0, 0.0])
    draws = 20_000
    keys = perturbed(np.broadcast_to(scores, (draws, 5)), beta, np.random.default_rng(3))
    counts = np.bincount(keys.argmax(axis=1), minlength=5)
    expected = scores**beta / (scores**beta).sum() * draws
    assert counts[4] == 0
    assert chisquare(counts[:4], expected[:4]).pvalue > 1e-3


def test_much_beta_is_little_noise():
    scores = np.array([1.0, 1.2])
    keys = perturbed(np.broadcast_to(scores, (1000, 2)), 100.0, np.random.default_rng(0))
    assert (keys.argmax(axis=1) == 1).all()
