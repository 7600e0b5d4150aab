"""Bounds on what a choice can find, at a fraction of its cost: where they are low, nothing has to be chosen."""

from __future__ import annotations

import math

import numpy as np

from nnactive_ext.engine.compiling import kernel
from nnactive_ext.engine.means import plain
from nnactive_ext.engine.threads import in_pieces

_SLACK = 1e-9
"""Of the logarithms in a race; they are right to less."""


def largest_product(weight: np.ndarray, score_map: np.ndarray) -> float:
    """The largest clip(weight, 0, 1) x map of all voxels.

    No mean of a window exceeds it (:func:`nnactive_ext.engine.means.box_means`), but for rounding.

    Args:
        weight: (z, y, x), any float, as ``score_map``.
        score_map: (z, y, x), finite.

    Returns:
        The number.

    >>> largest_product(np.array([[[0.5, 2.0]]], np.float16), np.array([[[4.0, 1.0]]]))
    2.0
    """
    largest = np.empty(score_map.shape[0])

    def planes(first: int, last: int) -> None:
        for z in range(first, last):  # a plane at a time: half precision is copied
            largest[z] = _largest_product(plain(weight[z]), plain(score_map[z]))

    in_pieces(planes, len(largest), score_map.size)
    return float(largest.max())


@kernel
def _largest_product(weight, score_map):
    best = -np.inf
    for y in range(score_map.shape[0]):
        for x in range(score_map.shape[1]):
            best = max(best, min(max(np.float64(weight[y, x]), 0.0), 1.0) * score_map[y, x])
    return best


def most_of_a_race(best: float, windows: int, beta: float, rng: np.random.Generator) -> float:
    """A key that no pick of :func:`nnactive_ext.engine.select.select` with noise exceeds.

    The race's first arrival comes after a time Exp(1) / sum of weights, and the sum is at most that of ``windows`` weights
    best^beta. The time is drawn first, so the same generator says now what it will be.

    Args:
        best: no score is larger.
        windows: how many there are, at most.
        beta: of the race.
        rng: as the choice gets it, and nobody has drawn from.

    Returns:
        The bound; -inf where no score is above 0.
    """
    if best <= 0:
        return -math.inf
    weights = math.log(windows) + beta * math.log(best)
    return (weights - math.log(rng.standard_exponential())) / beta + _SLACK * (1 + abs(weights) / beta)
