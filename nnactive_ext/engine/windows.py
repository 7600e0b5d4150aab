"""Windows and boxes: which windows there are, and which of them share a voxel with a box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nnactive_ext.patch import Triple, triple

Box = tuple[Sequence[int], Sequence[int]]
"""Start and size of a box of voxels along (z, y, x)."""


def window_shape(shape: Sequence[int], size: Triple) -> Triple:
    """Windows of ``size`` along each axis of a map of ``shape``; ValueError where they do not fit."""
    if len(shape) != 3 or not all(1 <= s <= n for s, n in zip(size, shape, strict=True)):
        raise ValueError(f"windows of {size} do not fit into a map of {tuple(shape)}; clip the size to the map first")
    return triple([n - s + 1 for n, s in zip(shape, size, strict=True)])


def window_starts(count: int, stride: int) -> np.ndarray:
    """Every ``stride``-th of ``count`` starts along an axis, and the last.

    >>> window_starts(6, 2).tolist()
    [0, 2, 4, 5]
    """
    starts = np.arange(0, count, stride)
    return starts if starts[-1] == count - 1 else np.append(starts, count - 1)


def free_starts(shape: Sequence[int], size: Sequence[int], boxes: Iterable[Box]) -> np.ndarray:
    """Which windows of an image of ``shape`` share no voxel with any of ``boxes``: bool, one per window start.

    Boxes that only touch do not overlap; boxes may reach outside the image and may have any size, even none.
    A size larger than the image raises ValueError.
    """
    size = triple(size)
    free = np.ones(window_shape(shape, size), dtype=bool)
    for start, extent in boxes:
        if min(extent) > 0:
            touched = (slice(max(b - s + 1, 0), max(b + n, 0)) for b, n, s in zip(start, extent, size, strict=True))
            free[tuple(touched)] = False
    return free
