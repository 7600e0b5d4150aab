"""Aggregations: from a voxel map to one score per patch, for every position of the patch.

An aggregation takes the (z, y, x) map, a weight per voxel or None (the map is then ``weight x map``, with the weight
clipped to [0, 1]), the size of the patch and the case's statistics; it returns a float32 array with one value per window
start, ``extent - size + 1`` along each axis. ``total``, ``Largest`` and ``above_threshold`` are those of thesis chapter 6,
which scores whole images; for a patch as large as the image they are the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from nnactive_ext.engine import box_means
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.query_methods.base import Statistics, needs_of

Aggregation = Callable[[np.ndarray, np.ndarray | None, Triple, Statistics], np.ndarray]


def mean(voxel_map: np.ndarray, weight: np.ndarray | None, size: Triple, statistics: Statistics) -> np.ndarray:
    """mean over the patch (thesis 7.3)"""
    return box_means(voxel_map, size, weight)


def total(voxel_map: np.ndarray, weight: np.ndarray | None, size: Triple, statistics: Statistics) -> np.ndarray:
    """sum over the patch (thesis 6)

    It differs from the mean where patches differ in voxels: in a dataset of mixed spacings, and in images smaller than
    the patch, which then count for less.
    """
    sums = box_means(voxel_map, size, weight)
    sums *= float(np.prod(size))
    return sums


@dataclass(frozen=True)
class Largest:
    """The maximum over the ``side``-cubes inside the patch of their means (thesis 6).

    A cube larger than the patch along an axis has the patch's extent there.
    """

    side: int = 10

    def __call__(self, voxel_map: np.ndarray, weight: np.ndarray | None, size: Triple, statistics: Statistics) -> np.ndarray:
        cube = triple([min(self.side, extent) for extent in size])
        largest = box_means(voxel_map, cube, weight)
        for axis, (patch, inner) in enumerate(zip(size, cube, strict=True)):
            width = patch - inner + 1  # starts of cubes inside one patch
            if width > 1:
                largest = maximum_filter1d(largest, width, axis)
                # scipy's window of an output begins width // 2 before it; ours at it, and only those wholly inside count.
                inside = slice(width // 2, width // 2 + largest.shape[axis] - width + 1)
                largest = largest[(slice(None),) * axis + (inside,)]
        return np.ascontiguousarray(largest)

    def __str__(self) -> str:
        return f"largest mean over a {self.side}-cube inside the patch (thesis 6)"


def above_threshold(voxel_map: np.ndarray, weight: np.ndarray | None, size: Triple, statistics: Statistics) -> np.ndarray:
    """mean over the patch's voxels above the case's (1 - predicted foreground share) quantile (thesis 6)

    The quantile is that of the weighted map. A patch without such a voxel scores 0, as all do in a case in which no
    foreground is predicted.
    """
    if weight is not None:
        voxel_map = np.clip(weight, 0, 1) * voxel_map
    threshold = np.quantile(voxel_map, 1 - statistics.foreground_share)
    above = (voxel_map > threshold).astype(np.float32)
    share = box_means(above, size)
    above *= voxel_map
    sums = box_means(above, size)
    # A share below one voxel's is the rounding of 0.
    none = share < 0.5 / np.prod(size)
    share[none] = 1
    sums /= share
    sums[none] = 0
    return sums


AGGREGATIONS: dict[str, Callable[[], Aggregation]] = {
    "mean": lambda: mean,
    "sum": lambda: total,
    "max": Largest,
    "threshold": lambda: above_threshold,
}


def aggregation_needs(aggregation: Aggregation) -> frozenset[str]:
    """What an aggregation needs of the statistics beside the mean: ours nothing, others what :func:`needs_of` says."""
    ours = isinstance(aggregation, Largest) or any(aggregation is one for one in (mean, total, above_threshold))
    return frozenset() if ours else needs_of(aggregation)


def parse_aggregation(text: str) -> Aggregation:
    """``mean``, ``sum``, ``threshold``, ``max`` or ``max:K`` with a whole number K of at least 1; else ValueError.

    >>> parse_aggregation("max:5")
    Largest(side=5)
    """
    name, colon, side = text.partition(":")
    if name not in AGGREGATIONS or (colon and name != "max"):
        raise ValueError(f"expected one of {', '.join(AGGREGATIONS)}, or max:K")
    if not colon:
        return AGGREGATIONS[name]()
    if not side.isdecimal() or int(side) < 1:
        raise ValueError("the cube of max:K needs a whole number of voxels, at least 1")
    return Largest(int(side))
