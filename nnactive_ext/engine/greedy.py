"""Choice without noise: best first, ties by position."""

from __future__ import annotations

import numpy as np

from nnactive_ext.engine.compiling import kernel
from nnactive_ext.engine.taking import take_box
from nnactive_ext.engine.tiles import SIDE, TAKEN


@kernel
def take_best(scores, maxima, starts, size, covered, allowed, picked, values, count):
    """Fill ``picked`` (indices of windows) and ``values`` (scores) from ``count`` on, until full or nothing is left; the new
    count."""
    ny, nx = scores.shape[1], scores.shape[2]
    region = np.empty((3, 2), np.int64)
    while count < picked.shape[0]:
        best = _highest(maxima.ravel())
        if best == TAKEN:
            break
        position = np.int64(scores.size)
        for tz in range(maxima.shape[0]):
            for ty in range(maxima.shape[1]):
                for tx in range(maxima.shape[2]):
                    if maxima[tz, ty, tx] == best and ((tz * ny + ty) * nx + tx) * SIDE < position:
                        position = min(position, _position(scores, tz, ty, tx, best))
        picked[count, 0] = position // (ny * nx)
        picked[count, 1] = position // nx % ny
        picked[count, 2] = position % nx
        values[count] = best
        take_box(scores, maxima, starts, size, _start(starts, picked[count]), size, covered, allowed, region)
        count += 1
    return count


@kernel(fastmath={"nnan", "nsz"})  # so that it is vectorised; there is no NaN among them
def _highest(values):
    best = TAKEN
    for v in values:
        if v > best:
            best = v
    return best


@kernel
def _position(scores, tz, ty, tx, value):
    """The first window of the tile with this score, as its position in C order among all windows."""
    for z in range(tz * SIDE, min(tz * SIDE + SIDE, scores.shape[0])):
        for y in range(ty * SIDE, min(ty * SIDE + SIDE, scores.shape[1])):
            for x in range(tx * SIDE, min(tx * SIDE + SIDE, scores.shape[2])):
                if scores[z, y, x] == value:
                    return (np.int64(z) * scores.shape[1] + y) * scores.shape[2] + x
    return np.int64(scores.size)  # never: the tile's best is one of its scores


@kernel
def _start(starts, index):
    start = np.empty(3, np.int64)
    for axis in range(3):
        start[axis] = starts[axis, index[axis]]
    return start
