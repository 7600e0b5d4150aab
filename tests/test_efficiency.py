"""Foreground efficiency: known rates come back, an independent minimiser agrees, and no fit is made where none is honest."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from nnactive_ext.metrics.efficiency import foreground_efficiency

NAN = math.nan
FULL = 0.9
START = 0.3


def curve(gamma: float, shares: np.ndarray, t0: float = 0.0, y0: float = START) -> np.ndarray:
    return (y0 - FULL) * np.exp(-gamma * (shares - t0)) + FULL


def trajectory(gamma: float, end: float, cycles: int = 5, t0: float = 0.0, noise: float = 0.0, seed: int = 0) -> list:
    """Points of one seed from t0 on; ``end`` is gamma times the last share beyond t0. The start is without noise."""
    shares = t0 + np.linspace(0, end / abs(gamma), cycles)
    scatter = np.random.default_rng(seed).normal(0, noise, cycles)
    scatter[0] = 0
    return list(zip(shares.tolist(), (curve(gamma, shares, t0) + scatter).tolist(), strict=True))


def squares(points: np.ndarray, t0: float, y0: float, gamma: float) -> float:
    with np.errstate(over="ignore"):
        return float(((points[:, 1] - curve(gamma, points[:, 0], t0, y0)) ** 2).sum())


def by_brute_force(seeds: list, low: float, high: float) -> float:
    """The best of many rates in equal steps, then the bottom of its valley."""
    points = np.array([p for seed in seeds for p in seed])
    t0, y0 = np.mean([seed[0] for seed in seeds], axis=0)
    tried = np.linspace(low, high, 20001)
    best = tried[np.argmin([squares(points, t0, y0, g) for g in tried])]
    step = tried[1] - tried[0]
    valley = minimize_scalar(
        lambda g: squares(points, t0, y0, g), bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-9}
    )
    return float(valley.x)


@given(st.floats(1e-3, 480), st.floats(0.01, 12), st.integers(2, 8), st.floats(0, 0.3))
def test_known_rates_come_back(gamma, end, cycles, t0):
    fit = foreground_efficiency([trajectory(gamma, end, cycles, t0)], FULL)
    assert fit.gamma == pytest.approx(gamma, rel=1e-4)
    assert (fit.t0, fit.y0, fit.full, fit.points) == (t0, pytest.approx(START), FULL, cycles)


@given(st.floats(-900, -1e-3), st.floats(0.01, 0.4), st.integers(3, 8))
def test_known_rates_come_back_where_the_dice_falls(gamma, end, cycles):
    fit = foreground_efficiency([trajectory(gamma, end, cycles)], FULL)
    assert fit.gamma == pytest.approx(gamma, rel=1e-4)
    assert fit.standard_error < abs(gamma) * 1e-3
    assert fit.refusal is None


def test_a_dice_that_stays_has_rate_zero():
    fit = foreground_efficiency([[(0.0, 0.4), (0.1, 0.4), (0.2, 0.4)]], FULL)
    assert fit.gamma == pytest.approx(0, abs=1e-9)
    assert fit.refusal is None


@pytest.mark.parametrize(("gamma", "end"), [(480, 2), (50, 0.3), (50, 8), (3, 1), (-5, 0.4), (-900, 0.3), (150, 25)])
@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_an_independent_minimiser_agrees(gamma, end, noise):
    seeds = [trajectory(gamma, end, noise=noise, seed=s) for s in range(4)]
    fit = foreground_efficiency(seeds, FULL)
    low, high = sorted((-2 * gamma - 5 / end, 4 * gamma + 5 / end))
    assert fit.gamma == pytest.approx(by_brute_force(seeds, low, high), rel=1e-4, abs=1e-5 * abs(gamma))


def test_starting_budgets_that_differ_between_seeds():
    """t0 and y0 are their means, so the starts themselves do not lie on the curve."""
    rng = np.random.default_rng(3)
    seeds = []
    for _ in range(4):
        shares = 0.01 + 0.004 * rng.random() + np.linspace(0, 0.03, 5)
        seeds.append(list(zip(shares, curve(60, shares, 0.012) + rng.normal(0, 0.02, 5), strict=True)))
    fit = foreground_efficiency(seeds, FULL)
    assert fit.t0 == pytest.approx(np.mean([seed[0][0] for seed in seeds]))
    assert fit.y0 == pytest.approx(np.mean([seed[0][1] for seed in seeds]))
    assert fit.gamma == pytest.approx(by_brute_force(seeds, -200, 400), rel=1e-4)


def test_the_standard_error_is_the_root_of_the_variance():
    seeds = [trajectory(40, 2, noise=0.02, seed=s) for s in range(4)]
    fit = foreground_efficiency(seeds, FULL)
    points = np.array([p for seed in seeds for p in seed])
    slope = (curve(fit.gamma + 1e-4, points[:, 0]) - curve(fit.gamma - 1e-4, points[:, 0])) / 2e-4
    beyond = len(points) - len(seeds)  # the starts lie on the curve and tell nothing
    variance = squares(points, 0, START, fit.gamma) / (beyond - 1) / (slope**2).sum()
    assert fit.standard_error == pytest.approx(math.sqrt(variance), rel=1e-3)


@pytest.mark.parametrize(("cycles", "noise"), [(12, 0.02), (3, 0.005)])
def test_rates_scatter_as_the_standard_error_says(cycles, noise):
    """With three cycles two points judge the fit; as many as three would make it too small by 1 / sqrt(2)."""
    fits = [foreground_efficiency([trajectory(40, 2, cycles, noise=noise, seed=s)], FULL) for s in range(400)]
    scatter = np.std([fit.gamma for fit in fits])
    assert math.sqrt(np.mean([fit.standard_error**2 for fit in fits])) == pytest.approx(scatter, rel=0.15)


def test_starts_are_no_degrees_of_freedom():
    points = trajectory(40, 2, 4, noise=0.02)
    once, often = foreground_efficiency([points], FULL), foreground_efficiency([points, *[points[:1]] * 5], FULL)
    assert (often.gamma, often.standard_error) == pytest.approx((once.gamma, once.standard_error))


def test_the_unit_of_the_dice_does_not_matter():
    points = trajectory(40, 2, noise=0.02)
    fit = foreground_efficiency([points], FULL)
    percent = foreground_efficiency([[(t, 100 * y) for t, y in points]], 100 * FULL)
    assert (percent.gamma, percent.standard_error) == pytest.approx((fit.gamma, fit.standard_error))


def test_the_order_of_seeds_does_not_matter():
    seeds = [trajectory(40, 2, noise=0.02, seed=s) for s in range(4)]
    assert foreground_efficiency(seeds, FULL).gamma == pytest.approx(foreground_efficiency(seeds[::-1], FULL).gamma)


def test_points_with_nan_are_left_out_and_counted():
    points = trajectory(40, 2, 6, noise=0.02)
    holes = [*points[:2], (points[2][0], NAN), points[3], (NAN, points[4][1]), points[5]]
    fit = foreground_efficiency([holes], FULL)
    assert fit.gamma == foreground_efficiency([[points[i] for i in (0, 1, 3, 5)]], FULL).gamma
    assert (fit.points, fit.left_out) == (4, 2)


def test_a_seed_without_a_start_still_has_its_points():
    whole, holed = trajectory(40, 2, noise=0.02), trajectory(40, 2, noise=0.02, seed=1)
    fit = foreground_efficiency([whole, [(0.0, NAN), *holed[1:]]], FULL)
    assert (fit.t0, fit.y0) == (0, pytest.approx(START))  # of the other seed alone
    assert (fit.points, fit.left_out) == (9, 1)
    assert fit.gamma == pytest.approx(by_brute_force([[whole[0], *whole[1:], *holed[1:]]], -50, 200), rel=1e-4)


@pytest.mark.parametrize(
    ("seeds", "full", "why"),
    [
        ([[(0.0, 0.8), (0.1, 0.85), (0.2, 0.86)]], 0.8, "not above"),
        ([[(0.0, 0.8), (0.1, 0.85), (0.2, 0.86)]], 0.7, "not above"),
        ([[(0.0, 0.5), (0.1, 0.6), (0.2, 0.7)]], NAN, "not known"),
        ([], FULL, "starting budget"),
        ([[]], FULL, "starting budget"),
        ([[(0.0, NAN), (0.1, 0.6), (0.2, 0.7)]], FULL, "starting budget"),
        ([[(0.0, 0.5)], [(0.1, 0.6)]], FULL, "no rate"),  # starts alone, though their shares differ
        ([[(0.1, 0.5), (0.1, 0.6), (0.1, 0.7)]], FULL, "no rate"),  # queries without foreground
        ([[(0.1, 0.5), (0.2, NAN), (0.3, NAN)]], FULL, "no rate"),
        ([[(0.2, 0.5)], [(0.1, NAN), (0.2, 0.6)]], FULL, "no rate"),  # nothing beyond the only start that is known
        ([[(0.0, 0.5), (0.1, 0.9), (0.2, 0.9)]], FULL, "No finite rate"),
        ([[(0.0, 0.5), (0.1, 0.92), (0.2, 0.95)], [(0.0, 0.4), (0.1, 0.91)]], FULL, "No finite rate"),
    ],
)
def test_no_fit_where_none_is_honest(seeds, full, why):
    fit = foreground_efficiency(seeds, full)
    assert math.isnan(fit.gamma)
    assert math.isnan(fit.standard_error)
    assert why in fit.refusal
    assert fit.refusal.endswith(".")
    assert np.isnan(fit.at([0.0, 0.1])).all()


def test_equal_starts_are_not_beyond_their_own_mean():
    seeds = [[(0.003, 0.5), (0.1, 0.9), (0.2, 0.9)]] * 6
    fit = foreground_efficiency(seeds, FULL)
    assert 0 < 0.003 - fit.t0 < 1e-15  # this is what makes it a test
    assert "No finite rate" in fit.refusal


def test_a_full_dice_equal_to_the_start_is_not_above_it():
    seeds = [[(0.0, 0.003), (0.1, 0.4), (0.2, 0.5)]] * 6
    fit = foreground_efficiency(seeds, 0.003)
    assert fit.y0 < 0.003  # by the last digit
    assert "not above" in fit.refusal


def test_one_point_beyond_the_start_has_a_rate_without_standard_error():
    fit = foreground_efficiency([trajectory(30, 1, cycles=2)], FULL)
    assert fit.gamma == pytest.approx(30)
    assert math.isnan(fit.standard_error)
    assert "standard error" in fit.refusal
    # A second seed gives a second point.
    two = foreground_efficiency([trajectory(30, 1, cycles=2), trajectory(30, 1, 2, noise=0.02)], FULL)
    assert two.standard_error > 0
    assert two.refusal is None


def test_a_fit_that_fails_is_refused(monkeypatch):
    def gives_up(*_, **__):
        raise RuntimeError("Optimal parameters not found")

    def undetermined(*_, **__):
        return np.array([1.0]), np.array([[math.inf]])

    for stand_in, why in ((gives_up, "converge"), (undetermined, "variance")):
        monkeypatch.setattr("scipy.optimize.curve_fit", stand_in)
        fit = foreground_efficiency([trajectory(30, 1)], FULL)
        assert math.isnan(fit.gamma)
        assert why in fit.refusal


def test_at_is_the_curve():
    fit = foreground_efficiency([trajectory(30, 1, t0=0.02)], FULL)
    shares = np.array([[0.02, 0.03], [0.05, 10.0]])
    np.testing.assert_allclose(fit.at(shares), curve(30, shares, 0.02), rtol=1e-6)
    assert fit.at([0.02]) == pytest.approx([START])


shares = st.integers(0, 20).map(lambda n: n / 40)
dice = st.integers(0, 20).map(lambda n: n / 20)


@given(st.lists(st.lists(st.tuples(shares, dice), min_size=1, max_size=5), min_size=1, max_size=3), st.floats(0.2, 1))
def test_no_other_rate_fits_better_whatever_the_points(seeds, full):
    fit = foreground_efficiency(seeds, full)
    if math.isnan(fit.gamma):
        return
    points = np.array([p for seed in seeds for p in seed])
    found = ((points[:, 1] - fit.at(points[:, 0])) ** 2).sum()
    others = np.concatenate([np.linspace(-300, 300, 2001), [-900, -500, 500, 900, 2000]])
    with np.errstate(over="ignore", invalid="ignore"):
        curves = full + (fit.y0 - full) * np.exp(-np.outer(others, points[:, 0] - fit.t0))
        best = np.nanmin(((points[:, 1] - curves) ** 2).sum(axis=1))
    assert found <= best * (1 + 1e-6) + 1e-12


voxels = st.floats(0, 1).map(lambda share: round(share, 9))  # of a pool with a billion of them
points = st.tuples(st.one_of(voxels, st.just(NAN)), st.one_of(st.floats(0, 1), st.just(NAN)))


@example([[(0.0, 0.0), (1.0, 1.0)]], 7.366169654570971e-299)
@given(st.lists(st.lists(points, max_size=5), max_size=3), st.floats(0, 1))
def test_whatever_the_points_there_is_a_number_or_a_reason_and_no_warning(seeds, full):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = foreground_efficiency(seeds, full)
        fit.at([0.0, 0.5, 1.0])
    assert math.isfinite(fit.standard_error) == (fit.refusal is None)
    assert math.isfinite(fit.gamma) or fit.refusal
    assert fit.points + fit.left_out == sum(map(len, seeds))
