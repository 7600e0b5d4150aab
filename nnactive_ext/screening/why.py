"""Why a case was flagged, in one plain sentence for each score: what it has, and what the reference has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.ood import robust_z
from nnactive_ext.ood.geometry import FLOOR
from nnactive_ext.screening import names
from nnactive_ext.screening.measuring import Measured
from nnactive_ext.screening.scoring import Screening
from nnactive_ext.words import count

_AXES = ("z", "y", "x")
_AGGREGATED = {"mean": "mean", "max": "largest patch mean of", "threshold": "mean of the largest values of"}
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
    if score in names.RATIOS:
        return "a window unlike the annotated patches of its class"
    if score in names.FILES:
        return "less like the relevant texts than theirs"
    values = [one.values[score] for one in others if score in one.values]
    theirs = f"; theirs mostly {_mostly(values)}" if values else ""
    if score == names.DISAGREEMENT:
        dice = [1 - value for value in values]
        return f"members disagree (Dice {1 - own.values[score]:.2f}{f'; theirs mostly {_mostly(dice)}' if dice else ''})"
    what = "members are unsure" if score in (names.MSP, names.ENTROPY) else "members see little evidence"
    return f"{what} ({_AGGREGATED[screening.options.aggregation]} {score} {number(own.values[score])}{theirs})"


def reasons(screening: Screening, case: int, most: int | None = None) -> str:
    """Why a case was flagged, by the ``most`` strangest of the scores that flagged it (None: by all)."""
    found = list(dict.fromkeys(why(screening, case, one.name) for one in screening.by(case)))
    left = len(found) - len(found[:most])
    return "; ".join([*found[:most], *([f"{left} more"] if left else [])])


def _geometry(own: Measured, others: Sequence[Measured]) -> str:
    counts = {one.channels for one in others}
    if counts and own.channels not in counts:
        return f"{count(own.channels, 'channel')}; theirs {max(counts)}"
    mine, known = np.array([*own.spacing, *own.extent]), np.array([[*one.spacing, *one.extent] for one in others])
    z = np.nan_to_num([abs(robust_z(np.log(mm), np.log(column), FLOOR)) for mm, column in zip(mine, known.T, strict=True)])
    axis = int(np.argmax(z))
    what = f"{('spacing', 'extent')[axis // 3]} along {_AXES[axis % 3]}"
    return f"{what} {number(mine[axis])} mm; theirs mostly {_mostly(known[:, axis])}"


def _intensities(own: Measured, others: Sequence[Measured]) -> str:
    known = [one.quantiles for one in others if one.quantiles is not None]
    if own.quantiles is None or not known:
        return "intensities unlike theirs"
    theirs = np.stack(known)  # (R, channel, 101)
    found = []
    for channel, quantiles in enumerate(own.quantiles):
        for level in _LEVELS:
            column = theirs[:, channel, level]
            away = float(np.nan_to_num(np.abs(robust_z(quantiles[level], column)), posinf=1e9))
            of = f" of channel {channel}" if len(own.quantiles) > 1 else ""
            below = f"{level} % of voxels{of} are at most {number(quantiles[level])}; theirs mostly {_mostly(column)}"
            found.append((away, f"intensities unlike theirs ({below})"))
    return max(found, key=lambda one: one[0])[1]


def _mostly(values: Sequence[float] | np.ndarray) -> str:
    """The range of the middle 80 %, which a few strangers among them do not change."""
    low, high = (number(value) for value in np.quantile(np.asarray(values, float), (0.1, 0.9)).tolist())
    return low if low == high else f"{low} to {high}"


def number(value: float) -> str:
    """A number in as few digits as tell it.

    >>> [number(v) for v in (0.1234, 3.0, 1230.6, -0.5)]
    ['0.12', '3', '1,231', '-0.5']
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def z_words(z: float) -> str:
    """A robust z as people read it; the same for infinite and very large ones.

    >>> z_words(6.34), z_words(float("inf"))
    ('6.3', '> 999')
    """
    return f"{z:.1f}" if z <= 999 else "> 999"
