"""Voxel maps to patch scores, and scores to windows that do not overlap; plain arrays, no files.

A *window* is a box of the query patch's size inside the map. A map of windows has one value for every window start
(stride 1, the last start included), so along each axis it is ``extent - size + 1`` long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nnactive_ext.patch import Triple, triple

Box = tuple[Sequence[int], Sequence[int]]
"""Start and size of a box of voxels along (z, y, x)."""


def box_means(score_map: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Mean of the map over each window: (z, y, x) -> float32, one value per window start (thesis 7.3).

    Three running sums, one per axis, so the cost is that of a few copies of the map whatever the size. The means of a
    map that is nowhere negative are not negative either, and exactly 0 over zeros, so their logarithm is no NaN.

    A size larger than the map along an axis, and a NaN or an infinity anywhere, raise ValueError.

    >>> box_means(np.array([[[1.0, 3.0, 5.0]]]), (1, 1, 2))
    array([[[2., 4.]]], dtype=float32)
    """
    size = triple(size)
    _window_shape(score_map.shape, size)
    low, high = float(score_map.min()), float(score_map.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise ValueError(f"the score map has values from {low} to {high}; it must be finite")

    sums = score_map
    for axis, width in enumerate(size):
        sums = _window_sums(sums, width, axis)
    return (sums / float(np.prod(size))).astype(np.float32)


def free_starts(shape: Sequence[int], size: Sequence[int], boxes: Iterable[Box]) -> np.ndarray:
    """Which windows of an image of ``shape`` share no voxel with any of ``boxes``: bool, one per window start.

    Boxes that only touch do not overlap; boxes may reach outside the image and may have any size.
    A size larger than the image raises ValueError.
    """
    size = triple(size)
    free = np.ones(_window_shape(shape, size), dtype=bool)
    for box in boxes:
        free[_overlapping(box, size)] = False
    return free


def greedy(keys: np.ndarray, size: Sequence[int], blocked: Iterable[Box], k: int) -> list[tuple[Triple, float]]:
    """Up to ``k`` windows (start, key), best first, that overlap neither a blocked box nor an earlier pick.

    ``keys``: one float per window start, of windows of ``size``. Ties go to the lowest position in C order. Windows
    with the key -inf are taken only when nothing else is left. Fewer than ``k`` come back when the map is full.
    A NaN among the keys raises ValueError, blocked or not.
    """
    size = triple(size)
    if np.isnan(keys).any():
        raise ValueError("a key is NaN: the scores it was made from are broken")
    # -inf marks what is taken, so usable windows of that key move to the lowest finite number first.
    left = np.maximum(keys, np.finfo(keys.dtype).min)
    for box in blocked:
        left[_overlapping(box, size)] = -np.inf

    picks: list[tuple[Triple, float]] = []
    while len(picks) < k:
        start = triple(np.unravel_index(int(left.argmax()), left.shape))
        if left[start] == -np.inf:
            break
        picks.append((start, float(keys[start])))
        left[_overlapping((start, size), size)] = -np.inf
    return picks


def _window_shape(shape: Sequence[int], size: Triple) -> Triple:
    if len(shape) != 3 or not all(1 <= s <= n for s, n in zip(size, shape, strict=True)):
        raise ValueError(f"windows of {size} do not fit into a map of {tuple(shape)}; clip the size to the map first")
    return triple([n - s + 1 for n, s in zip(shape, size, strict=True)])


def _window_sums(values: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Sums over ``width`` neighbours along one axis, in float64."""
    running = np.moveaxis(np.cumsum(values, axis=axis, dtype=np.float64), axis, 0)
    # Differences of one running sum, not a sum that adds and subtracts as it moves: rounding cannot make the running
    # sum of non-negative numbers fall, so no difference is negative.
    sums = running[width - 1 :].copy()
    sums[1:] -= running[:-width]
    return np.moveaxis(sums, 0, axis)


def _overlapping(box: Box, size: Triple) -> tuple[slice, ...]:
    """The starts of the windows of ``size`` that share a voxel with ``box``."""
    return tuple(slice(max(b - s + 1, 0), max(b + n, 0)) for b, n, s in zip(*box, size, strict=True))
