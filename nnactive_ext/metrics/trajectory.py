"""What a trajectory (the Dice of each cycle) comes to: the area under its curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def aubc(budgets: Sequence[float], values: Sequence[float]) -> float:
    """Area under the budget curve: trapezoids over ``budgets``, divided by their range, so a constant 0.8 gives 0.8.

    A single cycle gives its value; a NaN among ``values`` gives NaN. Budgets may be unevenly spaced but must increase;
    anything else, different lengths, or no cycle at all are a ValueError.

    >>> aubc([10, 20, 40], [0.0, 1.0, 1.0])
    0.8333333333333334
    """
    x, y = np.asarray(budgets, float), np.asarray(values, float)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"one value for each budget is needed, given: {x.shape} budgets, {y.shape} values")
    if not (np.diff(x) > 0).all():
        raise ValueError(f"the budgets must increase from cycle to cycle, given: {x.tolist()}")
    if len(x) == 1:
        return float(y[0])
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))
