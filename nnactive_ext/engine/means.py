"""Mean of a map over every window, at a cost that does not depend on the window's size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.engine.compiling import kernel
from nnactive_ext.engine.threads import in_pieces
from nnactive_ext.engine.windows import window_shape
from nnactive_ext.geometry.patch import triple


def box_means(score_map: np.ndarray, size: Sequence[int], weight: np.ndarray | None = None) -> np.ndarray:
    """Mean of a map over each window (thesis 7.3).

    Sums are in float64 and only ever added to, so the means of a map that is nowhere negative are not negative either,
    exactly 0 over zeros, and right to 5e-7 of themselves whatever else is in the map. They are rounded to float32 once
    on the way, so windows whose values are whole numbers with a sum below 2^24 keep their ties.

    Args:
        score_map: (z, y, x).
        size: voxels of a window along (z, y, x).
        weight: an array of the map's shape; the mean is then of clip(weight, 0, 1) x map, which is never written out.

    Returns:
        float32 (z, y, x), one value per window start: ``extent - size + 1`` along each axis.

    Raises:
        ValueError: the size is larger than the map along an axis, a value is NaN, or a value of the map is infinite.

    >>> box_means(np.array([[[1.0, 3.0, 5.0]]]), (1, 1, 2))
    array([[[2., 4.]]], dtype=float32)
    """
    depth, height, width = triple(size)
    shape = window_shape(score_map.shape, (depth, height, width))
    if weight is not None and weight.shape != score_map.shape:
        raise ValueError(f"a weight of shape {weight.shape} for a map of shape {score_map.shape}")
    values = plain(score_map)
    weights = values if weight is None else plain(weight)

    planes, rows, voxels = values.shape[0], shape[1], values.size
    sums = np.empty((planes, *shape[1:]), np.float32)
    finite = np.ones((2, max(planes, rows)), np.bool_)

    def sum_planes(first: int, last: int) -> None:
        _sum_planes(values, weights, weight is not None, height, width, sums, finite[0], first, last)

    def mean_columns(first: int, last: int) -> None:
        _mean_columns(sums, depth, 1 / (depth * height * width), finite[1], first, last)

    in_pieces(sum_planes, planes, voxels)
    in_pieces(mean_columns, rows, voxels)
    if not finite.all():
        raise ValueError("the score map, or a sum over a window of it, is not finite (NaN or infinite)")
    return sums[: shape[0]]


def plain(values: np.ndarray) -> np.ndarray:
    """As the loops are compiled for it: in C order and of single precision, or double where it is so already."""
    return np.ascontiguousarray(values, dtype=np.float64 if values.dtype == np.float64 else np.float32)


@kernel
def _copy(target, values):
    for x in range(target.size):
        target[x] = values[x]


@kernel
def _add(target, values):
    for x in range(target.size):
        target[x] += values[x]


@kernel
def _weighted(target, values, weight):
    for x in range(target.size):
        target[x] = min(max(np.float64(weight[x]), 0.0), 1.0) * values[x]


@kernel
def _scaled(target, values, factor):
    for x in range(target.size):
        target[x] = values[x] * factor


@kernel
def _scaled_sum(target, one, other, factor):
    for x in range(target.size):
        target[x] = (one[x] + other[x]) * factor


@kernel
def _sum_of_four(target, values, step):
    one, two, three, four = values, values[step:], values[2 * step :], values[3 * step :]
    for x in range(target.size):
        target[x] = (one[x] + two[x]) + (three[x] + four[x])


@kernel
def _row_sums(result, row, spare, width):
    """Sums over ``width`` neighbours, put together from those over 1, 4, 16, ...; overwrites ``row`` and ``spare``."""
    count, step, done, length = result.size, 1, 0, row.size
    while True:
        for _ in range(width // step % 4):  # the digits of width to the base 4
            if done == 0:
                _copy(result, row[:count])
            else:
                _add(result, row[done : done + count])
            done += step
        if done == width:
            return
        length -= 3 * step
        _sum_of_four(spare[:length], row, step)
        row, spare = spare, row
        step *= 4


# Along y and z lines come in blocks as long as a window. A window is the end of one block and the beginning of the next, so
# its sum is that of the last lines of the block before, summed backwards when it was complete, and the running sum of the
# current block. Nothing is ever subtracted.


@kernel
def _add_line(running, line, j):
    """``line`` is the ``j``-th of its block."""
    if j == 0:
        _copy(running, line)
    else:
        _add(running, line)


@kernel
def _window_sum(target, before, running, j, factor):
    """``factor`` times the sum of the window that ends with the ``j``-th line of a block."""
    if j == len(before) - 1:
        _scaled(target, running, factor)
    else:
        _scaled_sum(target, before[j + 1], running, factor)


@kernel
def _sum_backwards(block):
    """Each line becomes the sum of itself and those after it (but for the first, which nobody needs)."""
    for i in range(len(block) - 2, 0, -1):
        _add(block[i], block[i + 1])


@kernel
def _sum_planes(values, weight, weighted, height, width, sums, finite, first, last):
    """Sums over ``height`` x ``width`` windows of the planes ``first`` to ``last``."""
    ny, nx = values.shape[1], values.shape[2]
    mx = nx - width + 1
    row = np.empty(nx, np.float64)
    spare = np.empty(nx, np.float64)
    running = np.empty(mx, np.float64)
    current = np.empty((height, mx), np.float64)
    before = np.empty((height, mx), np.float64)
    for z in range(first, last):
        for y in range(ny):
            if weighted:
                _weighted(row, values[z, y], weight[z, y])
            else:
                _copy(row, values[z, y])
            j = y % height
            _row_sums(current[j], row, spare, width)
            _add_line(running, current[j], j)
            if y >= height - 1:
                _window_sum(sums[z, y - height + 1], before, running, j, 1.0)
            if j == height - 1 or y == ny - 1:
                finite[z] &= np.isfinite(running.sum())
            if j == height - 1:
                _sum_backwards(current)
                current, before = before, current


@kernel
def _mean_columns(sums, depth, factor, finite, first, last):
    """Sums of planes become means over ``depth`` planes times ``factor``, in place, row by row (``first`` to ``last``)."""
    nz, nx = sums.shape[0], sums.shape[2]
    running = np.empty(nx, np.float64)
    current = np.empty((depth, nx), np.float64)
    before = np.empty((depth, nx), np.float64)
    for y in range(first, last):
        for z in range(nz):
            j = z % depth
            _copy(current[j], sums[z, y])
            _add_line(running, current[j], j)
            if z >= depth - 1:
                _window_sum(sums[z - depth + 1, y], before, running, j, factor)
            if j == depth - 1 or z == nz - 1:
                finite[y] &= np.isfinite(running.sum())
            if j == depth - 1:
                _sum_backwards(current)
                current, before = before, current
