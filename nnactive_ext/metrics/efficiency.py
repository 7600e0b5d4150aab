"""Foreground efficiency: how fast the Dice grows with the annotated foreground, as the rate of a fitted exponential."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Point = tuple[float, float]
"""Annotated foreground voxels / all foreground voxels of the pool (0..1), and the mean Dice, after one cycle."""

_FLAT = 40.0
"""exp(-40) of the way to the full Dice cannot be told from having arrived."""
_VOXEL = 1e-10
"""Less than one voxel of any pool, as a share."""


@dataclass(frozen=True)
class Efficiency:
    """y(t) = (y0 - full) exp(-gamma (t - t0)) + full, fitted; gamma is the efficiency."""

    gamma: float
    """Per unit of t, so larger is faster; negative where the Dice fell. NaN where there is no honest fit."""
    standard_error: float
    """Of gamma: the square root of its variance. NaN where the points leave nothing to judge the fit by."""
    t0: float
    """Mean share of the foreground in the starting budgets."""
    y0: float
    """Mean Dice after the starting budgets."""
    full: float
    """Dice of the same trainer on all labels, which y(t) tends to."""
    points: int
    """How many points there were to fit, the starting budgets among them."""
    refusal: str | None
    """One sentence on why gamma, or its standard error alone, is missing; None where both are there."""
    left_out: int = 0
    """Points left out because a number in them is missing."""

    def at(self, t: Sequence[float] | np.ndarray) -> np.ndarray:
        """The fitted curve at shares ``t`` of any shape; NaN where gamma is."""
        with np.errstate(over="ignore"):
            return self.full + (self.y0 - self.full) * np.exp(-self.gamma * (np.asarray(t, float) - self.t0))


def foreground_efficiency(seeds: Sequence[Sequence[Point]], full: float) -> Efficiency:
    """Fit one rate to the points of all seeds of one method in one setting (C.4, Eq. C.1), by least squares.

    There is no gamma, and a sentence instead, where ``full`` is unknown or not above the start, where no cycle annotated new
    foreground, where the Dice is at or above ``full`` from the first new foreground on (any rate that is fast enough fits), and
    where the fit has no finite variance. One point beyond the start gives gamma without a standard error.

    The standard error takes the points as independent and t0, y0, and ``full`` as known, so it is rather too small. The
    residuals are judged by the n points beyond the start alone, with n - 1 degrees of freedom: the start lies on the
    curve whatever gamma is. The published "+-" of this metric is a variance, the square of such an error, and counts
    the starts as points, which makes it smaller still. Compare methods inside one setting only, and never by this alone: a
    method can score high by querying little foreground.

    Args:
        seeds: for each seed its points (foreground share, Dice), the first after its starting budget; seeds may have different
            numbers of cycles. A point with a NaN is left out and counted.
        full: the Dice on all labels, in the unit of the other Dice.

    Returns:
        The rate, its standard error and the number of points, or the reason why there is no rate.

    >>> shares = [0.0, 0.01, 0.02]
    >>> fit = foreground_efficiency([[(t, 0.9 - 0.5 * math.exp(-50 * t)) for t in shares]], full=0.9)
    >>> round(fit.gamma, 6), fit.points, fit.refusal
    (50.0, 3, None)
    >>> foreground_efficiency([[(0.0, 0.8), (0.1, 0.85)]], full=0.8).refusal
    'The Dice on all labels (0.8) is not above that at the start (0.8): nothing to approach.'
    """
    known = [[p for p in seed if np.isfinite(p).all()] for seed in seeds]
    points = np.array([p for seed in known for p in seed], float).reshape(-1, 2)
    starts = np.array([seed[0] for seed in seeds if len(seed) and np.isfinite(seed[0]).all()], float).reshape(-1, 2)
    t0, y0 = starts.mean(axis=0).tolist() if len(starts) else (math.nan, math.nan)
    left_out = sum(len(seed) for seed in seeds) - len(points)
    beyond = np.array([new for seed in seeds for new in _beyond(seed, t0)], bool)
    refusal = _no_fit(y0, full, int(beyond.sum()))
    gamma = error = math.nan
    if refusal is None:
        gamma, error, refusal = _fit(points[:, 0] - t0, points[:, 1], y0, full, beyond)
    return Efficiency(gamma, error, t0, y0, full, len(points), refusal, left_out)


def _beyond(seed: Sequence[Point], t0: float) -> list[bool]:
    """Of each of a seed's known points: whether it has more foreground than its start, or than t0 where that is not known."""
    if not len(seed):
        return []
    start = seed[0][0] if np.isfinite(seed[0]).all() else t0
    return [i > 0 and t > start for i, (t, y) in enumerate(seed) if math.isfinite(t) and math.isfinite(y)]


def _no_fit(y0: float, full: float, beyond: int) -> str | None:
    """Why there is nothing to fit, or None."""
    if not math.isfinite(y0):
        return "No seed has a Dice and a foreground share for its starting budget, where the curve begins."
    if not math.isfinite(full):
        return "The Dice on all labels, which the curve tends to, is not known."
    if full <= y0 or math.isclose(full, y0, rel_tol=1e-9):  # y0 is a mean, with a mean's rounding
        return f"The Dice on all labels ({full:.4g}) is not above that at the start ({y0:.4g}): nothing to approach."
    if not beyond:
        return "No cycle with a Dice has more annotated foreground than its starting budget, so no rate can be seen."
    return None


def _fit(t: np.ndarray, y: np.ndarray, y0: float, full: float, beyond: np.ndarray) -> tuple[float, float, str | None]:
    """Gamma, its standard error and a refusal, for shares ``t`` beyond t0; ``beyond``: which points judge the fit."""
    from scipy.optimize import OptimizeWarning, curve_fit

    # In units of the longest way gamma is about 1 to 10, whatever the dataset's share of foreground.
    longest = float(np.abs(t).max())
    way, left = t / longest, (full - y) / (full - y0)  # how far along, and what is left of the way to the full Dice
    way[np.abs(way) < _VOXEL] = 0  # the mean of equal starts is not quite their share in floating point
    if _arrives_at_once(way, left):
        sentence = "No finite rate fits better than one that reaches the Dice on all labels with the first new foreground."
        return math.nan, math.nan, sentence

    def curve(x: np.ndarray, rate: float) -> np.ndarray:
        return np.exp(-rate * x)

    def slope(x: np.ndarray, rate: float) -> np.ndarray:
        return (-x * np.exp(-rate * x))[:, None]

    start = _best_of_many(way, left)
    try:
        with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # it says that there is no covariance, and so do we
            best, covariance = curve_fit(curve, way, left, p0=[start], jac=slope, sigma=np.ones_like(way), absolute_sigma=True)
    except (RuntimeError, ValueError):
        return math.nan, math.nan, "The fit did not converge."
    rate = float(best[0])
    with np.errstate(over="ignore"):
        squares = float(((curve(way, rate) - left)[beyond] ** 2).sum())
    freedom = int(beyond.sum()) - 1
    error = math.sqrt(covariance[0, 0] * squares / max(freedom, 1))
    if not (math.isfinite(rate) and math.isfinite(error)):
        return math.nan, math.nan, "The fit has no finite variance: the points do not determine a rate."
    if not freedom:
        return rate / longest, math.nan, "One point beyond the start gives a rate but no standard error."
    return rate / longest, error / longest, None


def _arrives_at_once(way: np.ndarray, left: np.ndarray) -> bool:
    """Whether the points beyond the start fit no rate better than one so fast that nothing is left at any of them."""
    way, left = way[way > 0], left[way > 0]
    if not len(way):
        return False
    best = _squares(way, left, _rates(way)).min()
    with np.errstate(over="ignore"):  # what is left may be huge, where the full Dice is hardly above that at the start
        return bool(best >= (left**2).sum() * (1 - 1e-12))


def _best_of_many(way: np.ndarray, left: np.ndarray) -> float:
    """Of a grid of rates, the one that fits best: squares of exponentials can have several minima."""
    rates = _rates(way)
    return float(rates[np.argmin(_squares(way, left, rates))])


def _rates(way: np.ndarray) -> np.ndarray:
    """From falling steeply at the last point to having arrived at the first, in steps no fit can hide between."""
    beyond = way[way > 0] if (way > 0).any() else np.ones(1)
    falling = np.linspace(-_FLAT, 0, 801) / beyond.max()
    fastest = _FLAT / beyond.min()
    return np.concatenate([falling, np.geomspace(1e-3, fastest, int(20 * math.log(fastest / 1e-3)))])


def _squares(way: np.ndarray, left: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Sum of squared errors of each rate."""
    with np.errstate(over="ignore"):
        return ((np.exp(-np.outer(rates, way)) - left) ** 2).sum(axis=1)
