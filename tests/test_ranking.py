"""Ranks and the tests on them, against tables of the literature, the formulas themselves, and their own refusals."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chi2, studentized_range

from nnactive_ext.metrics import ranking
from nnactive_ext.metrics.ranking import cliques, critical_difference, friedman, kendall, mean_ranks, nemenyi, ranks

NAN = math.nan
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
"""Table 6 of Demsar 2006: AUC of four variants of C4.5 on 14 datasets. Two that print as 0.975 there have ranks 2 and 3."""

tables = arrays(float, st.tuples(st.integers(2, 6), st.integers(3, 5)), elements=st.integers(0, 5).map(float))


def test_the_worked_example_of_demsar():
    assert mean_ranks(DEMSAR).round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    # He computes 9.28 without a correction for ties; scipy corrects, by 1 - (sum of t^3 - t) / (N k (k^2 - 1)).
    ties = sum(n**3 - n for row in DEMSAR for n in np.unique(row, return_counts=True)[1])
    test = friedman(DEMSAR)
    assert test.statistic * (1 - ties / (14 * 4 * 15)) == pytest.approx(9.28, abs=0.01)
    assert (test.settings, test.methods, test.refusal) == (14, 4, None)
    # "the critical value is 2.569 and the corresponding CD is 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25"
    assert nemenyi(DEMSAR).critical_difference == pytest.approx(1.25, abs=0.005)


@pytest.mark.parametrize(
    ("alpha", "k", "q"),
    [
        *[(0.05, 2, 1.960), (0.05, 3, 2.343), (0.05, 4, 2.569), (0.05, 5, 2.728), (0.05, 10, 3.164)],
        *[(0.1, 2, 1.645), (0.1, 3, 2.052), (0.1, 10, 2.920)],
    ],
)
def test_critical_values_are_demsars(alpha, k, q):
    """His table 5a, which divides a table of three decimals by sqrt(2); unrounded, q of three methods is 2.3437."""
    exact = critical_difference(k, 7, alpha) / math.sqrt(k * (k + 1) / (6 * 7))
    assert round(round(exact * math.sqrt(2), 3) / math.sqrt(2), 3) == q
    assert exact == pytest.approx(q, abs=1e-3)


@pytest.mark.parametrize(("methods", "settings"), [(1, 5), (3, 0)])
def test_no_critical_difference_without_methods_or_settings(methods, settings):
    with pytest.raises(ValueError, match="needed"):
        critical_difference(methods, settings)


@given(tables, st.booleans())
def test_a_rank_is_one_more_than_those_better_and_half_of_those_equal(table, higher):
    found = ranks(table, higher)
    for row, got in zip(table, found, strict=True):
        for i, value in enumerate(row):
            better = (row > value).sum() if higher else (row < value).sum()
            assert got[i] == 1 + better + ((row == value).sum() - 1) / 2
    assert found.sum(axis=1) == pytest.approx(np.full(len(table), table.shape[1] * (table.shape[1] + 1) / 2))
    assert mean_ranks(table, higher) == pytest.approx(found.mean(axis=0))


def test_a_setting_without_all_methods_has_no_ranks():
    table = np.array([[0.1, 0.2, 0.3], [0.5, NAN, 0.1], [0.4, 0.3, 0.9], [0.3, 0.5, 0.7]])
    rest = table[[0, 2, 3]]
    assert np.isnan(ranks(table)).tolist() == [[False] * 3, [True] * 3, [False] * 3, [False] * 3]
    assert mean_ranks(table).tolist() == mean_ranks(rest).tolist()
    assert friedman(table) == friedman(rest)
    assert friedman(table).settings == 3
    assert nemenyi(table).critical_difference == nemenyi(rest).critical_difference
    np.testing.assert_array_equal(nemenyi(table).p, nemenyi(rest).p)
    assert np.isnan(mean_ranks([[0.1, NAN, 0.3]])).tolist() == [True] * 3


@given(tables)
def test_friedman_is_the_formula(table):
    settings, methods = table.shape
    test = friedman(table)
    found = ranks(table)
    expected = settings * (methods + 1) / 2
    # With ties: (k - 1) sum over methods of (rank sum - expected)^2 / sum of squared deviations of all ranks.
    scatter = ((found - (methods + 1) / 2) ** 2).sum()
    if scatter == 0:
        assert "tie" in test.refusal
        assert math.isnan(test.statistic)
        assert math.isnan(test.p)
        return
    statistic = (methods - 1) * ((found.sum(axis=0) - expected) ** 2).sum() / scatter
    assert test.statistic == pytest.approx(statistic, abs=1e-9)
    assert test.p == pytest.approx(chi2.sf(statistic, methods - 1), abs=1e-9)


@given(tables)
def test_nemenyi_is_the_formula(table):
    settings, methods = table.shape
    test = nemenyi(table)
    if test.refusal:
        assert np.isnan(test.p).all()
        return
    mean = mean_ranks(table)
    q = np.abs(mean[:, None] - mean) / math.sqrt(methods * (methods + 1) / (6 * settings)) * math.sqrt(2)
    np.testing.assert_allclose(test.p, studentized_range.sf(q, methods, np.inf), atol=1e-6)


def test_the_critical_difference_and_p_agree():
    test = nemenyi(DEMSAR, alpha=0.1)
    mean = mean_ranks(DEMSAR)
    differ = np.abs(mean[:, None] - mean) > test.critical_difference
    assert (differ == (test.p < 0.1)).all()
    assert differ.any()


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ([[0.1, 0.2], [0.3, 0.4], [0.1, 0.3]], "3 methods, not 2"),
        ([[0.1, 0.2, 0.3]], "2 settings in which every method has a value, not 1"),
        ([[0.1, 0.2, 0.3], [0.1, NAN, 0.3]], "not 1"),
        ([[0.1, 0.1, 0.1], [0.4, 0.4, 0.4]], "tie"),
        (np.empty((0, 4)), "not 0"),
    ],
)
def test_no_test_where_there_is_none(table, why):
    for result in (friedman(table), nemenyi(table)):
        assert why in result.refusal
    assert math.isnan(friedman(table).p)
    assert math.isnan(nemenyi(table).critical_difference)
    methods = np.asarray(table).shape[1]
    assert nemenyi(table).p.shape == (methods, methods)
    assert np.isnan(nemenyi(table).p).all()


@pytest.mark.parametrize(
    ("settings", "methods", "enough"), [(2, 3, False), (2, 4, False), (3, 3, True), (2, 8, False), (2, 9, True)]
)
def test_too_few_settings_even_if_all_agree(settings, methods, enough):
    agreeing = [list(range(methods))] * settings
    test = friedman(agreeing)
    assert test.statistic == pytest.approx(settings * (methods - 1))
    assert (test.p < 0.05) == enough
    assert (test.refusal is None) == enough
    assert enough or "too few settings for this test" in test.refusal
    assert nemenyi(agreeing).refusal == test.refusal


@pytest.mark.parametrize("function", [ranks, mean_ranks, friedman, nemenyi])
def test_a_table_is_needed(function):
    with pytest.raises(ValueError, match="table"):
        function([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("mean", "difference", "expected"),
    [
        ([1, 2, 3], 0.5, []),
        ([1, 2, 3], 1, [(0, 1), (1, 2)]),
        ([1, 2, 3], 2, [(0, 1, 2)]),
        ([3, 1, 2], 1, [(1, 2), (2, 0)]),
        ([1, 1, 3, 3.5], 0.6, [(0, 1), (2, 3)]),
        ([1, 1.4, 1.8, 4], 0.5, [(0, 1), (1, 2)]),
        ([2, 2, 2], 0, [(0, 1, 2)]),
        ([1, NAN, 1.2], 1, [(0, 2)]),
        ([1, 2], NAN, []),
        ([1], 1, []),
        ([], 1, []),
    ],
)
def test_groups_by_hand(mean, difference, expected):
    assert cliques(mean, difference) == expected


@given(st.lists(st.integers(2, 20).map(lambda n: n / 4), max_size=7), st.integers(0, 8).map(lambda n: n / 4))
def test_two_methods_share_a_group_exactly_where_they_do_not_differ(mean, difference):
    groups = [set(group) for group in cliques(mean, difference)]
    for i in range(len(mean)):
        for j in range(i):
            assert any({i, j} <= group for group in groups) == (abs(mean[i] - mean[j]) <= difference)
    assert not any(a < b for a in groups for b in groups)


def slow_tau_b(a, b) -> float:
    pairs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i in range(len(a)) for j in range(i)]
    return sum(x * y for x, y in pairs) / math.sqrt(sum(x != 0 for x, _ in pairs) * sum(y != 0 for _, y in pairs))


two_settings = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=8)


@given(two_settings)
def test_tau_is_the_share_of_agreeing_pairs_corrected_for_ties(values):
    a, b = (np.array(column, float) for column in zip(*values, strict=True))
    result = kendall(a, b)
    assert result.n == len(a)
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(result.tau)
        assert math.isnan(result.p)
    else:
        assert result.tau == pytest.approx(slow_tau_b(a, b))


def test_tau_uses_the_methods_that_both_settings_have():
    result = kendall([0.1, NAN, 0.3, 0.4, 0.6], [0.2, 0.9, 0.1, NAN, 0.7])
    assert (result.tau, result.n) == (pytest.approx(1 / 3), 3)
    assert kendall([0.1, NAN], [0.1, 0.2]).n == 1
    assert math.isnan(kendall([0.1, NAN], [0.1, 0.2]).tau)
    with pytest.raises(ValueError, match="each method"):
        kendall([0.1], [0.1, 0.2])


def test_examples_in_docstrings():
    results = doctest.testmod(ranking)
    assert results.attempted > 0
    assert results.failed == 0
