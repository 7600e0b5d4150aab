"""Why a case was flagged, in one plain sentence for each score: what it has, and what the reference has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.screening import names
from nnactive_ext.screening.measuring import Measured
from nnactive_ext.screening.scoring import Screening

_AXES = ("z", "y", "x")
_LEVELS = (1, 5, 25, 50, 75, 95, 99)
"""Per cent of the voxels at which intensities are compared."""


def why(screening: Screening, case: int, score: str) -> str:
    """What makes a case strange by a score, without the score's numbers."""
    own = screening.measured[case]
    others = [one for i, one in enumerate(screening.measured) if screening.reference[i] and i != case]
    if score == names.GEOMETRY:
        return _geometry(own, others)
    if score == names.HISTOGRAM:
        return _intensities(own, others)
    if score in names.WINDOWS:
        return "content unlike theirs"
    values = [one.values[score] for one in others if score in one.values]
    theirs = f"; theirs {_between(values)}" if values else ""
    if score == names.DISAGREEMENT:
        dice = [1 - value for value in values]
        return f"members disagree (Dice {1 - own.values[score]:.2f}{f'; theirs {_between(dice)}' if dice else ''})"
    return f"members are unsure (mean {score} {number(own.values[score])}{theirs})"


def reasons(screening: Screening, case: int) -> str:
    """Why a case was flagged, by all scores that flagged it."""
    return "; ".join(dict.fromkeys(why(screening, case, one.name) for one in screening.by(case)))


def _geometry(own: Measured, others: Sequence[Measured]) -> str:
    if channels := {one.channels for one in others} - {own.channels}:
        if own.channels not in {one.channels for one in others}:
            return f"{own.channels} channels; theirs {max(channels)}"
    best, words = 0.0, ""
    for what, lengths in (("spacing", own.spacing), ("extent", own.extent)):
        known = np.array([getattr(one, what) for one in others])
        for axis, mm in enumerate(lengths):
            column = np.log(known[:, axis])
            away = abs(np.log(mm) - np.median(column)) / max(0.01, float(np.median(np.abs(column - np.median(column)))))
            if away > best:
                best, words = away, f"{what} along {_AXES[axis]} {number(mm)} mm; theirs {_between(known[:, axis])}"
    return words or "lengths unlike theirs"


def _intensities(own: Measured, others: Sequence[Measured]) -> str:
    known = [one.quantiles for one in others if one.quantiles is not None]
    if own.quantiles is None or not known:
        return "intensities unlike theirs"
    theirs = np.stack(known)  # (R, channel, 101)
    best, words = 0.0, ""
    for channel, quantiles in enumerate(own.quantiles):
        spread = max(float(np.ptp(theirs[:, channel])), 1e-12)
        for level in _LEVELS:
            value, column = float(quantiles[level]), theirs[:, channel, level]
            outside = max(value - column.max(), column.min() - value) / spread
            if outside > best:
                of = f" of channel {channel}" if len(own.quantiles) > 1 else ""
                best = outside
                words = f"{level} % of voxels{of} at or below {number(value)}; in theirs at or below {_between(column)}"
    return f"intensities as in none of them ({words})" if words else "intensities mixed as in none of them"


def _between(values: Sequence[float] | np.ndarray) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def number(value: float) -> str:
    """A number in as few digits as tell it.

    >>> [number(v) for v in (0.1234, 3.0, 1230.6, -0.5)]
    ['0.12', '3', '1231', '-0.5']
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def z_words(z: float) -> str:
    """A robust z as people read it; the same for infinite and very large ones.

    >>> z_words(6.34), z_words(float("inf"))
    ('6.3', '> 999')
    """
    return f"{z:.1f}" if z <= 999 else "> 999"
