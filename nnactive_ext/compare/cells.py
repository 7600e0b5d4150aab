"""Numbers as readers of a table see them; a dash where there is none."""

from __future__ import annotations

import math

from nnactive_ext.metrics.averages import MeanAndSpread
from nnactive_ext.metrics.efficiency import Efficiency

NONE = "-"


def percent(value: float) -> str:
    """
    >>> percent(0.61234), percent(math.nan)
    ('61.23', '-')
    """
    return NONE if math.isnan(value) else f"{100 * value:.2f}"


def spread(value: MeanAndSpread, factor: float = 100.0, counted: bool = True) -> str:
    """Mean, deviation, and number of seeds if ``counted``; without the deviation where there is one seed.

    >>> spread(MeanAndSpread(0.6, 0.012, 4)), spread(MeanAndSpread(0.6, math.nan, 1))
    ('60.00 ± 1.20 (4)', '60.00 (1)')
    """
    if not value.n:
        return NONE
    std = "" if math.isnan(value.std) else f" ± {factor * value.std:.2f}"
    return f"{factor * value.mean:.2f}{std}" + (f" ({value.n})" if counted else "")


def average(value: tuple[float, float]) -> str:
    """Mean over settings and 1.96 of its standard errors over seeds.

    >>> average((0.6, 0.012)), average((0.6, math.nan))
    ('60.00 ± 1.20', '60.00')
    """
    mean, half = value
    return percent(mean) + ("" if math.isnan(half) else f" ± {100 * half:.2f}")


def efficiency(value: Efficiency | None) -> str:
    """Gamma and its standard error."""
    if value is None or math.isnan(value.gamma):
        return NONE
    error = "" if math.isnan(value.standard_error) else f" ± {value.standard_error:.2g}"
    return f"{value.gamma:.3g}{error}"


def budget(value: float | None) -> str:
    """A number of patches; None is a budget that was not reached."""
    return "not reached" if value is None else f"{value:.4g}"


def p_value(p: float) -> str:
    """
    >>> p_value(0.0412), p_value(1e-7)
    ('0.041', '< 0.001')
    """
    return NONE if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
