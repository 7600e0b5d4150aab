"""How much Dice changed between cycles, per annotated voxel, and how well the test cases tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_ext.experiment.result import CycleResult

PerCase = Mapping[str, Mapping[str, float | None]]
"""Case -> class -> Dice (0 to 1), None where the class is absent in prediction and reference."""
_LEVEL = 0.95
FEWEST = 5
"""Test cases below which there is no interval: with two, Student's t has one degree of freedom and a factor of 12.7."""


@dataclass(frozen=True)
class Change:
    """The change of mean Dice (0 to 1) from one cycle to a later one.

    ``low``, ``high``: its 95 % interval over test cases, None where they do not tell; ``cases`` of them count. ``patches``
    and ``voxels``: annotated in between. ``left_out``: classes that too few test cases have to count.
    """

    first: int
    last: int
    value: float
    low: float | None
    high: float | None
    cases: int
    patches: int
    voxels: int
    left_out: tuple[str, ...] = ()

    @property
    def per_patch(self) -> float | None:
        return self.value / self.patches if self.patches > 0 else None

    def per_voxels(self, unit: int) -> float | None:
        return self.value * unit / self.voxels if self.voxels > 0 else None


@dataclass(frozen=True)
class Slope:
    """Mean Dice gained per annotated voxel: a straight line through the last ``cycles`` cycles, too few for an interval."""

    cycles: int
    value: float


@dataclass(frozen=True)
class Paired:
    """A change of the mean over ``cases`` test cases and its interval; ``left_out``: classes that are not in it."""

    value: float
    low: float | None
    high: float | None
    cases: int
    left_out: tuple[str, ...]


def paired(before: PerCase, after: PerCase, classes: Sequence[str], level: float = _LEVEL) -> Paired | None:
    """The change of the mean over classes of the mean over cases, and how much it depends on which cases there are.

    The interval is Student's t with the jackknife's standard error: each case in turn is left out of both means. Where every
    case has every class that is the paired t interval exactly; where not, its degrees of freedom are those of the class that
    fewest cases have, and it may be too wide. It is cut at -1 and 1, beyond which no change of a Dice lies. Classes that fewer
    than :data:`FEWEST` cases have, before or after, are left out; if all are so, none is, and there is no interval. None where
    no class has a value in both.

    >>> paired({"a": {"x": 0.5}, "b": {"x": 0.25}}, {"a": {"x": 0.75}, "b": {"x": 0.25}}, ["x"]).value
    0.125
    """
    cases = sorted(before.keys() & after.keys())
    tables = [np.array([[_number(dice[c].get(n)) for n in classes] for c in cases], float) for dice in (before, after)]
    tables = [table.reshape(len(cases), len(classes)) for table in tables]
    known = np.minimum(*[(~np.isnan(table)).sum(axis=0) for table in tables])
    if not known.any():
        return None
    told = bool(known.max() >= FEWEST)
    kept = known >= (FEWEST if told else 1)
    left_out = tuple(name for name, stays in zip(classes, kept, strict=True) if not stays)
    old, new = (table[:, kept] for table in tables)
    counted = ~(np.isnan(old) & np.isnan(new)).all(axis=1)
    old, new = old[counted], new[counted]
    value, n = _mean(new) - _mean(old), len(old)
    if not told:
        return Paired(value, None, None, n, left_out)
    without = np.array([_mean(np.delete(new, case, axis=0)) - _mean(np.delete(old, case, axis=0)) for case in range(n)])
    error = math.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    reach = _student(level, int(known[kept].min()) - 1) * error
    return Paired(value, max(-1.0, value - reach), min(1.0, value + reach), n, left_out)


def slope(voxels: Sequence[float], values: Sequence[float]) -> Slope | None:
    """By least squares, through three cycles or more, whose annotated voxels increase; None otherwise."""
    if len(values) < 3 or len(set(voxels)) < 3:
        return None
    return Slope(len(values), float(np.polyfit(voxels, values, 1)[0]))


def change(before: CycleResult, after: CycleResult, key: str | None = None) -> Change | None:
    """Between two results: of their mean Dice, or of the class ``key``; None without a value."""
    classes = list(after.dice_per_class) if key is None else [key]
    found = paired(before.dice_per_case, after.dice_per_case, classes, _level(before, key))
    if found is None:
        return None
    counted = added(before, after)
    return Change(before.cycle, after.cycle, found.value, found.low, found.high, found.cases, *counted, left_out=found.left_out)


def added(before: CycleResult, after: CycleResult) -> tuple[int, int]:
    """Patches and voxels annotated between two results."""
    return after.patches - before.patches, after.annotated_voxels - before.annotated_voxels


def _level(result: CycleResult, key: str | None) -> float:
    """Bonferroni's for single classes: among many of them some would seem to rise by chance."""
    return _LEVEL if key is None else 1 - (1 - _LEVEL) / max(1, len(result.dice_per_class))


def _student(level: float, degrees: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, degrees))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _mean(table: np.ndarray) -> float:
    """Mean over cases (rows), then over the classes (columns) that have any."""
    known = (~np.isnan(table)).sum(axis=0)
    sums = np.nansum(table, axis=0)
    return float((sums[known > 0] / known[known > 0]).mean())
