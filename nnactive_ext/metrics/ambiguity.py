"""Whether uncertainty lies where raters differ (NCC), members differ as raters do (GED), and how much members differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from nnactive_ext.metrics.overlap import Classes, dice_per_case

_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.int64)


def ncc(uncertainty: np.ndarray, variance: np.ndarray) -> float:
    """Pearson's correlation of an uncertainty map with the raters' variance map (thesis B.11-12).

    Args:
        uncertainty: of any shape.
        variance: of the same shape.

    Returns:
        -1 to 1, unchanged by scaling and shifting a map; NaN where a map is constant.

    >>> round(ncc(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])), 6)
    0.937043
    """
    one, other = (np.asarray(values, float).ravel() for values in (uncertainty, variance))
    if one.shape != other.shape:
        raise ValueError(f"maps of one shape are needed, given: {one.shape} and {other.shape} voxels")
    if not len(one) or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    one, other = one - one.mean(), other - other.mean()
    both = math.sqrt(float(one @ one)) * math.sqrt(float(other @ other))
    return float(one @ other) / both if both > 0 else math.nan


def variance_map(raters: Sequence[np.ndarray], classes: Classes) -> np.ndarray:
    """The variance over raters of "this voxel is of this class", summed over ``classes``.

    Args:
        raters: label maps of one shape, one for each rater.
        classes: name -> label, or labels of a region; with background for exclusive classes, so that all count alike.

    Returns:
        float64, of the maps' shape; 0 where all raters agree.

    >>> variance_map([np.array([0, 1, 1]), np.array([0, 1, 0])], {"background": 0, "one": 1}).tolist()
    [0.0, 0.0, 0.5]
    """
    total = np.zeros(np.shape(raters[0]))
    for labels in classes.values():
        share = sum(np.isin(rater, labels).astype(float) for rater in raters) / len(raters)
        total += share * (1 - share)
    return total


def ged_squared(references: Sequence[np.ndarray], predictions: Sequence[np.ndarray], classes: Classes) -> float:
    """Squared generalised energy distance between raters and members: 2 E d(y, y') - E d(y, y) - E d(y', y') (thesis B.13).

    d = 1 - Dice, mean over ``classes``; a class in neither map has Dice 1. All pairs count, a map with itself, too.

    Args:
        references: label maps of one shape, one for each rater.
        predictions: label maps of that shape, one for each member.
        classes: name -> label, or labels of a region, without background.

    Returns:
        0 for equal sets; the smaller, the more alike.

    >>> raters = [np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])]
    >>> round(ged_squared(raters, [np.array([1, 1, 0, 0]), np.array([1, 1, 1, 0])], {"one": 1}), 6)
    0.25
    """
    across = [_distance(y, predicted, classes) for y in references for predicted in predictions]
    return 2 * _mean(across) - _within(references, classes) - _within(predictions, classes)


def _within(maps: Sequence[np.ndarray], classes: Classes) -> float:
    """The mean distance over all ordered pairs; a map is at distance 0 from itself."""
    return 2 * math.fsum(_distance(a, b, classes) for a, b in combinations(maps, 2)) / len(maps) ** 2


def _distance(one: np.ndarray, other: np.ndarray, classes: Classes) -> float:
    dice = dice_per_case(one, other, classes).values()
    return 1 - _mean([1.0 if math.isnan(value) else value for value in dice])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


class Disagreement:
    """1 - the mean pairwise Dice of the members' foreground, any class as one mask; members come one by one.

    One bit a voxel and member is kept. Both masks empty: Dice 1; one of them: 0. A single member has none.

    >>> members = Disagreement()
    >>> for mask in ([1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]):
    ...     members.add(np.array(mask, bool))
    >>> round(1 - members.value, 5)
    0.65556
    """

    def __init__(self) -> None:
        self._masks: list[np.ndarray] = []

    def add(self, foreground: np.ndarray) -> None:
        """A member's foreground, bool, of any shape that all members share."""
        self._masks.append(np.packbits(np.asarray(foreground, bool)))

    @property
    def value(self) -> float:
        """0 (all alike) to 1; NaN for fewer than two members."""
        sizes = [int(_BITS[mask].sum()) for mask in self._masks]
        dice = [
            2 * int(_BITS[self._masks[a] & self._masks[b]].sum()) / (sizes[a] + sizes[b]) if sizes[a] + sizes[b] else 1.0
            for a, b in combinations(range(len(sizes)), 2)
        ]
        return 1 - _mean(dice) if dice else math.nan
