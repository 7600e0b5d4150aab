"""Windows and boxes: which windows there are, and how much of one may be covered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.geometry.patch import Triple, triple

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


def allowed_voxels(size: Triple, overlap: float) -> int:
    """How many voxels of a window may be covered.

    Args:
        size: voxels of a window along (z, y, x).
        overlap: the share that may be covered; 0.29 of 100 voxels are 29.

    Returns:
        A number of voxels.
    """
    voxels = size[0] * size[1] * size[2]
    return min(int(overlap * voxels + 1e-9), voxels - 1)
