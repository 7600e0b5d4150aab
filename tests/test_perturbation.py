"""Schedules by value, noise by the distribution it must have."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from nnactive_ext.query_methods.perturbation import Schedule, beta_at, parse_beta, softrank_keys


def test_the_published_schedule():
    betas = [Schedule().at(t, queries=4) for t in range(4)]
    np.testing.assert_allclose(betas, [1, 10**0.5, 10, 10**1.5])


@pytest.mark.parametrize(("cycle", "queries"), [(4, 4), (5, 4), (400, 4), (0, 0), (3, 0), (0, -1)])
def test_the_schedule_stays_at_its_end(cycle, queries):
    assert Schedule().at(cycle, queries) == 100


def test_the_linear_schedule():
    assert [Schedule(1, 5, "linear").at(t, 4) for t in range(6)] == [1, 2, 3, 4, 5, 5]


def test_the_sigmoid_schedule():
    """Exact at both ends, symmetric in ln beta around the geometric mean, and near the ends longer than the even one."""
    betas = [Schedule(1, 100, "sigmoid").at(t, 4) for t in range(6)]
    assert (betas[0], betas[4], betas[5]) == (1, 100, 100)
    assert betas[2] == pytest.approx(10)
    assert betas[1] * betas[3] == pytest.approx(100)

    def logistic(x):
        return 1 / (1 + np.exp(-10 * (x - 0.5)))

    share = (logistic(0.25) - logistic(0)) / (logistic(1) - logistic(0))
    assert betas[1] == pytest.approx(100**share)
    assert betas[1] < 10**0.5


@given(st.integers(1, 20), st.sampled_from(["exponential", "linear", "sigmoid"]))
def test_schedules_rise_from_first_to_last(queries, kind):
    betas = [Schedule(2, 7, kind).at(t, queries) for t in range(queries + 1)]
    assert betas[0] == 2
    assert betas[-1] == 7
    assert all(a < b for a, b in pairwise(betas))


def test_reading_a_beta():
    assert parse_beta("none") is None
    assert parse_beta("2.5") == 2.5
    assert parse_beta("1:50") == Schedule(1, 50)
    assert parse_beta("linear:1:50") == Schedule(1, 50, "linear")
    assert parse_beta("sigmoid:1:100") == Schedule(1, 100, "sigmoid")


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "0:5", "1:2:3", "cubic:1:2", "a:b:c:d", "1:"])
def test_no_such_beta(text):
    with pytest.raises(ValueError, match=r"."):
        parse_beta(text)


def test_strength_in_a_cycle():
    assert beta_at(None, 2, 4) is None
    assert beta_at(3.0, 2, 4) == 3
    assert beta_at(Schedule(), 2, 4) == pytest.approx(10)


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_softrank_draws_rank_r_first_with_probability_proportional_to_r_to_the_minus_beta(beta):
    draws, rng = 20_000, np.random.default_rng(3)
    counts = np.bincount([softrank_keys(4, beta, rng).argmax() for _ in range(draws)], minlength=4)
    expected = np.arange(1, 5.0) ** -beta
    assert chisquare(counts, expected / expected.sum() * draws).pvalue > 1e-3


def test_much_beta_is_little_noise():
    keys = softrank_keys(50, 1e6, np.random.default_rng(0))
    assert (np.diff(keys) < 0).all()
    np.testing.assert_allclose(keys, -np.log(np.arange(1, 51)), atol=1e-4)


def test_no_candidate_no_key():
    assert softrank_keys(0, 1.0, np.random.default_rng(0)).shape == (0,)
