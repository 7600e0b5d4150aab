"""Seeds for a paired t-test: against published numbers, slow versions of the same, and simulated experiments."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from nnactive_ext.metrics import variance
from nnactive_ext.metrics.power import detectable, power, seeds_needed, upper_limit
from nnactive_ext.metrics.trajectory import rise_per_doubling
from nnactive_ext.metrics.variance import paired_spread, variance_components


def rng() -> np.random.Generator:
    return np.random.default_rng(24)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_pairs_for_a_standardised_difference_are_those_of_tables(effect, pairs):
    """As G*Power answers for two dependent means, two-sided, alpha .05, power .80 (Faul et al. 2007)."""
    assert seeds_needed(effect, 1.0) == pairs
    assert seeds_needed(-3 * effect, 3.0) == pairs, "only the ratio counts"


@pytest.mark.parametrize("pairs", [2, 3, 5, 20])
@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0, 9.0, 40.0])
def test_the_power_is_that_of_an_integral_over_the_estimated_deviation(pairs, shift):
    """Also where scipy's noncentral t returns NaN, as its lower tail does at 9 standard errors with 2 pairs."""
    df, critical = pairs - 1, stats.t.ppf(0.975, pairs - 1)
    share = (np.arange(20_000) + 0.5) / 20_000
    limit = critical * np.sqrt(stats.chi2.ppf(share, df) / df)
    slow = np.mean(stats.norm.cdf(shift - limit) + stats.norm.cdf(-shift - limit))
    assert power(pairs, shift / math.sqrt(pairs), 1.0) == pytest.approx(slow, abs=2e-4)


@pytest.mark.parametrize(("difference", "sd"), [(1.0, 0.6), (2.0, 2.0), (2.0, 4.5)])
def test_simulated_experiments_find_the_difference_as_often_as_promised(difference, sd):
    """Methods share what a seed gives both; a t-test over the seeds decides."""
    seeds, draws = seeds_needed(difference, sd), 10_000
    start = rng().normal(0, 5, (draws, seeds))
    one, other = (start + rng().spawn(2)[i].normal(i * difference, sd / math.sqrt(2), start.shape) for i in range(2))
    found = np.mean(stats.ttest_rel(one, other, axis=1).pvalue < 0.05)
    error = math.sqrt(0.8 * 0.2 / draws)
    assert found == pytest.approx(power(seeds, difference, sd), abs=4 * error)
    assert found > 0.8 - 4 * error
    assert power(seeds - 1, difference, sd) < 0.8, "no fewer seeds do"


def test_what_is_detected_is_what_needs_these_seeds():
    for seeds in (2, 3, 8, 60):
        assert power(seeds, detectable(seeds, 2.5), 2.5) == pytest.approx(0.8)
        assert seeds_needed(1.0001 * detectable(seeds, 2.5), 2.5) == seeds
    assert seeds_needed(0.001, 1.0) == pytest.approx((1.95996 + 0.84162) ** 2 / 1e-6, rel=1e-4), "the deviation is known"
    assert seeds_needed(1.0, 1e-9) == 2


@pytest.mark.parametrize("wrong", [(0.0, 1.0), (1.0, 0.0), (1.0, math.nan), (1.0, -1.0)])
def test_no_difference_and_no_deviation_have_no_answer(wrong):
    with pytest.raises(ValueError, match="number of pairs"):
        seeds_needed(*wrong)


def as_values(table: np.ndarray) -> dict[str, dict[int, float]]:
    return {f"m{i}": dict(enumerate(row)) for i, row in enumerate(table)}


def test_the_upper_limit_is_above_the_truth_in_95_percent_of_pilots(monkeypatch):
    """Pilots of 3 seeds and 4 methods, pooled over pairs: 6 degrees of freedom, not 12."""
    monkeypatch.setattr(variance, "_DRAWS", 1)
    draws, random = 1000, rng()
    tables = random.normal(0, 5, (draws, 1, 3)) + random.normal(0, 7, (draws, 4, 1)) + random.normal(0, 1, (draws, 4, 3))
    found = [paired_spread(as_values(table), random) for table in tables]
    assert {one.df for one in found} == {6}
    above = np.mean([upper_limit(one.sd, one.df) > math.sqrt(2) for one in found])
    assert above == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / draws))
    assert np.mean([one.sd**2 for one in found]) == pytest.approx(2, rel=0.08)


def test_the_pooled_deviation_is_that_of_all_pairs():
    table = rng().normal(0, 2, (4, 5)) + rng().normal(0, 30, (1, 5))
    pairs = [np.var(a - b, ddof=1) for a, b in itertools.combinations(table, 2)]
    found = paired_spread(as_values(table), rng())
    assert (found.sd**2, found.df) == (pytest.approx(np.mean(pairs)), 3 * 4)
    assert found.worst[:2] == (pytest.approx(math.sqrt(max(pairs))), 4)
    assert paired_spread(as_values(table * 7 + 3), rng()).p == found.p, "neither unit nor level counts"
    two = paired_spread(as_values(table[:2]), rng())
    assert (two.sd, two.df, two.p) == (pytest.approx(np.std(table[0] - table[1], ddof=1)), 4, 1.0)


def test_a_missing_seed_of_one_method_is_not_missed_by_the_others():
    """Against least squares over the values that are there."""
    table = rng().normal(0, 1, (3, 5))
    table[2, 4] = table[0, 0] = math.nan
    values = as_values(table)
    values["m1"][9] = 1000.0  # a seed that no other method has
    found = paired_spread(values, rng())
    cells = [(m, s) for m in range(3) for s in range(5) if not math.isnan(table[m, s])]
    design = np.array([[*(m == i for i in range(3)), *(s == j for j in range(1, 5))] for m, s in cells], float)
    y = np.array([table[cell] for cell in cells])
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    df = len(cells) - 7
    assert (found.df, found.sd) == (df, pytest.approx(math.sqrt(2 * (rest**2).sum() / df)))


def test_pairs_that_spread_differently_are_seen_and_equal_ones_seldom(monkeypatch):
    monkeypatch.setattr(variance, "_DRAWS", 200)
    random, draws = rng(), 400
    equal = [paired_spread(as_values(random.normal(size=(3, 5))), random).p < 0.05 for _ in range(draws)]
    assert np.mean(equal) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / draws))
    table = rng().normal(size=(3, 8))
    table[1] *= 12
    found = paired_spread(as_values(table), rng())
    assert found.p < 0.05
    assert "m1" in found.worst[2]


@pytest.mark.parametrize(
    "values", [{}, {"a": {1: 1.0, 2: 2.0}}, {"a": {1: 1.0, 2: 2.0}, "b": {2: 1.0}}, {"a": {1: 1.0}, "b": {2: 1.0}}]
)
def test_no_pair_with_two_seeds_has_no_spread(values):
    assert paired_spread(values, rng()) is None


def slow_components(groups: list[list[float]]) -> tuple[float, float]:
    """Mean squares by their definition, one value after another."""
    total = [value for group in groups for value in group]
    grand = sum(total) / len(total)
    within = between = 0.0
    for group in groups:
        mean = sum(group) / len(group)
        for value in group:
            within += (value - mean) ** 2
            between += (mean - grand) ** 2
    within /= len(total) - len(groups)
    between /= len(groups) - 1
    size = (len(total) - sum(len(group) ** 2 for group in groups) / len(total)) / (len(groups) - 1)
    return within, (between - within) / size


def test_components_are_those_of_an_analysis_of_variance_by_hand():
    random = rng()
    groups = [list(random.normal(random.normal(0, 3), 1, n)) for n in (2, 5, 1, 3)]
    found, (within, between) = variance_components([*groups, []]), slow_components(groups)
    assert (found.within**2, found.between**2) == (pytest.approx(within), pytest.approx(between))
    assert (found.within_df, found.between_df, found.negative) == (7, 3, False)
    assert variance_components([[1.0], [2.0]]) is None
    assert variance_components([[1.0, 2.0]]) is None


def test_components_are_right_on_average_and_never_negative():
    random, estimates = rng(), []
    for _ in range(1000):
        groups = [list(random.normal(random.normal(0, 1), 2, n)) for n in (2, 3, 4)]
        estimates.append((*slow_components(groups), variance_components(groups)))
    within, between = (np.mean([one[i] for one in estimates]) for i in range(2))
    assert within == pytest.approx(4, rel=0.1)
    assert between == pytest.approx(1, abs=0.4)
    assert all((one[2].between == 0) == one[2].negative for one in estimates)
    assert any(one[2].negative for one in estimates)


def test_the_rise_is_a_slope_over_doublings():
    budgets, dice = [20, 40, 60, 80, 100], [0.4, 0.47, 0.5, 0.52, 0.55]
    slope = np.polynomial.Polynomial.fit(np.log2(budgets), dice, 1).convert().coef[1]
    assert rise_per_doubling(budgets, dice) == pytest.approx(slope)
    assert math.isnan(rise_per_doubling([20], [0.5]))
    with pytest.raises(ValueError, match="doubled"):
        rise_per_doubling([0, 20], [0.4, 0.5])
