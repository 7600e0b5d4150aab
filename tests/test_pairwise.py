"""The pairwise penalty matrix: pairs by seed, ties that are no wins, and only what both methods have."""

from __future__ import annotations

import math
import warnings
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from nnactive_ext.metrics.pairwise import compare_pairs, pairwise_penalties

NAN = math.nan


def one_cycle(values) -> dict[int, list[float]]:
    """Runs of seeds 1, 2, .. with a cycle 0 that never counts."""
    return {seed: [0.5, value] for seed, value in enumerate(values, 1)}


def wins(first, second, alpha: float = 0.05) -> tuple[int, int]:
    """Of ``first`` and of ``second``, in one cycle."""
    matrix = pairwise_penalties([{"first": one_cycle(first), "second": one_cycle(second)}], alpha=alpha).wins
    return matrix[0, 1], matrix[1, 0]


def slow(settings, alpha=0.05):
    """Wins and tests of each ordered pair, by the formula of the t-test and loops over everything."""
    methods = list(dict.fromkeys(m for s in settings for m in s))
    won, tested = {}, {}
    for a, b in permutations(methods, 2):
        won[a, b] = tested[a, b] = 0
        for setting in settings:
            for cycle in range(1, 10):
                both = []
                for seed in setting.get(a, {}):
                    x, y = setting[a][seed][cycle : cycle + 1], setting.get(b, {}).get(seed, [])[cycle : cycle + 1]
                    if x and y and not math.isnan(x[0] + y[0]):
                        both.append(x[0] - y[0])
                if len(both) < 3:
                    continue
                tested[a, b] += 1
                mean, spread = np.mean(both), np.std(both, ddof=1)
                if spread > 1e-12:
                    won[a, b] += mean > 0 and 2 * student.sf(mean / spread * math.sqrt(len(both)), len(both) - 1) < alpha
    return won, tested


def test_by_hand():
    # Differences 0.1, 0.11, 0.12: mean 0.11, deviation 0.01, t = 0.11 / (0.01 / sqrt 3) = 19.05 > 4.303.
    assert wins([0.7, 0.71, 0.72], [0.6, 0.6, 0.6]) == (1, 0)
    assert wins([0.6, 0.6, 0.6], [0.7, 0.71, 0.72]) == (0, 1)
    # Differences 0.01, 0.02, 0.06: mean 0.03, deviation 0.0265, t = 1.96.
    assert wins([0.61, 0.62, 0.66], [0.6, 0.6, 0.6]) == (0, 0)


@pytest.mark.parametrize("values", [[0.7, 0.714], [0.9, 0.9001]])
def test_two_seeds_are_no_test_however_alike_they_are(values):
    """One degree of freedom: t = 15.3 and 6000 exceeded the bound of 12.7 by chance of one number."""
    found = pairwise_penalties([{"first": one_cycle(values), "second": one_cycle([0.6, 0.6])}])
    assert not found.tests.any()
    assert found.seeds == (0, 0)


def test_alpha_is_the_bound_of_p():
    first, second = [0.61, 0.62, 0.66], [0.6, 0.6, 0.6]  # p = 0.19
    assert wins(first, second, alpha=0.15) == (0, 0)
    assert wins(first, second, alpha=0.25) == (1, 0)


def test_pairs_are_matched_by_seed_not_by_order():
    better = {1: [0, 0.31], 2: [0, 0.62], 3: [0, 0.93]}
    worse = {3: [0, 0.90], 2: [0, 0.60], 1: [0, 0.29]}
    # By seed the differences are 0.02, 0.02, 0.03; by row they are -0.59, 0.02, 0.64.
    penalties = pairwise_penalties([{"better": better, "worse": worse}])
    assert penalties.wins.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("constant", [0.0, 0.1, 0.05, 1 / 3])
def test_equal_differences_are_no_win(constant):
    base = np.array([0.2, 0.7, 0.1, 0.33, 0.612])
    first = base + constant  # the differences are equal but for the last digits
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        penalties = pairwise_penalties([{"first": one_cycle(first), "second": one_cycle(base)}])
    assert penalties.wins.sum() == 0
    assert penalties.tests[0, 1] == 1
    assert penalties.share[0, 1] == 0


def test_nearly_equal_differences_that_are_measured_do_win():
    base, better = np.array([[0.2, 0.7, 0.1]]), np.array([[0.3, 0.8001, 0.2002]])
    assert compare_pairs(better, base).tolist() == [1]
    assert compare_pairs(base, better).tolist() == [-1]


def test_cycle_0_is_left_out_unless_asked_for():
    first, second = {s: [0.6 + s / 100, 0.7 + s / 100] for s in (1, 2, 3)}, {s: [0.5, 0.5] for s in (1, 2, 3)}
    without, with_it = (pairwise_penalties([{"a": first, "b": second}], skip_first=skip) for skip in (True, False))
    assert (without.tests[0, 1], with_it.tests[0, 1]) == (1, 2)
    assert (without.wins[0, 1], with_it.wins[0, 1]) == (1, 2)


def test_only_what_both_have_is_tested():
    a = {1: [0, 0.7, 0.8, 0.9], 2: [0, 0.71, NAN, 0.9], 3: [0, 0.72, 0.82], 4: [0, 0.1]}
    b = {1: [0, 0.5, 0.5, 0.5], 2: [0, 0.5, 0.5], 3: [0, 0.5, 0.5, 0.5], 5: [0, 0.9]}
    penalties = pairwise_penalties([{"a": a, "b": b}])
    # Cycle 1: seeds 1, 2, 3. Cycle 2: seeds 1 and 3, cycle 3: seed 1, so no test.
    assert penalties.tests[0, 1] == penalties.tests[1, 0] == 1
    assert penalties.wins.tolist() == [[0, 1], [0, 0]]
    assert penalties.seeds == (3, 3)


def test_methods_that_never_meet_have_no_share():
    runs = one_cycle([0.5, 0.6, 0.8])
    penalties = pairwise_penalties([{"a": runs, "b": runs}, {"c": runs, "a": runs}])
    assert penalties.methods == ("a", "b", "c")
    assert np.isnan(penalties.share).tolist() == [[True, False, False], [False, True, True], [False, True, True]]


@pytest.mark.parametrize("settings", [[], [{}], [{"a": {}}], [{"a": {1: [0.5]}, "b": {1: [0.6]}}]])
def test_nothing_to_test(settings):
    penalties = pairwise_penalties(settings)
    assert penalties.seeds == (0, 0)
    assert penalties.tests.sum() == 0
    assert np.isnan(penalties.share).all()
    assert penalties.share.shape == (len(penalties.methods),) * 2


runs = st.dictionaries(
    st.integers(1, 4),
    st.lists(st.one_of(st.integers(0, 100).map(lambda n: n / 100), st.just(NAN)), max_size=4),
    max_size=4,
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), runs, max_size=3), max_size=3))
def test_equals_the_slow_version(settings):
    penalties = pairwise_penalties(settings)
    won, tested = slow(settings)
    for (i, a), (j, b) in permutations(enumerate(penalties.methods), 2):
        assert (penalties.wins[i, j], penalties.tests[i, j]) == (won[a, b], tested[a, b])
    assert not penalties.tests.diagonal().any()


def test_equal_methods_win_about_as_often_as_alpha_says():
    rng = np.random.default_rng(0)
    setting = {m: {s: rng.normal(0.5, 0.1, 800).tolist() for s in range(4)} for m in "ab"}
    assert pairwise_penalties([setting], alpha=0.1).share[[0, 1], [1, 0]].sum() == pytest.approx(0.1, abs=0.03)
