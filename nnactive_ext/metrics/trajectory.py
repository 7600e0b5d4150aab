"""What a trajectory (the Dice of each cycle) comes to: its area, its end, the budget it needs for a target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def aubc(budgets: Sequence[float], values: Sequence[float]) -> float:
    """Area under the budget curve, divided by the range of budgets, so a constant 0.8 gives 0.8.

    Args:
        budgets: patches after each cycle; they must increase and may be unevenly spaced.
        values: the Dice of each cycle.

    Returns:
        The area by trapezoids, in the unit of ``values``. A single cycle gives its value; a NaN among ``values`` gives NaN.

    Raises:
        ValueError: budgets do not increase, the lengths differ, or there is no cycle.

    >>> aubc([10, 20, 40], [0.0, 1.0, 1.0])
    0.8333333333333334
    """
    x, y = _curve(budgets, values)
    if len(x) == 1:
        return float(y[0])
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


def final(values: Sequence[float]) -> float:
    """The value of the last cycle.

    Args:
        values: the Dice of each cycle.

    Returns:
        The last value, NaN where that cycle has none.

    Raises:
        ValueError: there is no cycle.

    >>> final([0.4, 0.7, 0.6])
    0.6
    """
    if not len(values):
        raise ValueError("a trajectory without cycles has no final value")
    return float(values[-1])


def budget_to_target(budgets: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """Smallest budget at which the curve is at the target or above.

    Straight lines join the cycles. A first cycle at the target or above gives its budget: the effect of a smaller one is
    unknown. A curve that falls again later still reached the target where it first crossed it. A cycle with NaN
    is left out, so the line joins its neighbours.

    Args:
        budgets: patches after each cycle; they must increase.
        values: the Dice of each cycle.
        target: in the unit of ``values``.

    Returns:
        The budget in patches, or None where no cycle gets there.

    Raises:
        ValueError: as :func:`aubc`, and for a target of NaN.

    >>> budget_to_target([10, 20, 40], [0.25, 0.5, 0.75], 0.625)
    30.0
    >>> budget_to_target([10, 20, 40], [0.25, 0.5, 0.75], 0.9) is None
    True
    """
    if math.isnan(target):
        raise ValueError("the target is NaN")
    x, y = _curve(budgets, values)
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    reached = np.flatnonzero(y >= target)
    if not len(reached):
        return None
    after = reached[0]
    if after == 0 or y[after] == target:
        return float(x[after])
    before = after - 1
    share = (target - y[before]) / (y[after] - y[before])
    return float(x[before] + share * (x[after] - x[before]))


def _curve(budgets: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(budgets, float), np.asarray(values, float)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"one value for each budget is needed, given: {x.shape} budgets, {y.shape} values")
    if not (np.diff(x) > 0).all():
        raise ValueError(f"the budgets must increase from cycle to cycle, given: {x.tolist()}")
    return x, y


def rise_per_doubling(budgets: Sequence[float], values: Sequence[float]) -> float:
    """By how much the values rise when the budget doubles: the slope of a straight line over log2 of the budgets.

    Args:
        budgets: patches after each cycle; they must increase and be above 0.
        values: the Dice of each cycle.

    Returns:
        The slope by least squares, in the unit of ``values`` per doubling; NaN for fewer than two cycles or a NaN among them.

    Raises:
        ValueError: as :func:`aubc`, and for a budget of 0.

    >>> rise_per_doubling([10, 20, 40], [0.5, 0.6, 0.7])
    0.1
    """
    x, y = _curve(budgets, values)
    if x[0] <= 0:
        raise ValueError(f"a budget of {x[0]:g} cannot be doubled")
    if len(x) < 2:
        return math.nan
    doublings = np.log2(x) - np.log2(x).mean()
    return float(np.round((doublings * y).sum() / (doublings**2).sum(), 12))
