"""Tiles: the best score of every small block of windows, so that a choice looks at blocks and not at windows."""

from __future__ import annotations

import numpy as np

from nnactive_ext.engine.compiling import kernel
from nnactive_ext.engine.threads import in_pieces

SIDE = 8
"""Windows along each axis of a tile; those at the far edges are smaller."""

TAKEN = -np.inf
"""The score of a window that may not be chosen (any more), and the best of a tile without any other."""


def tile_maxima(scores: np.ndarray) -> tuple[np.ndarray, float]:
    """The best score of each tile, and the lowest of all scores (NaN if any score is not finite)."""
    shape = [-(-n // SIDE) for n in scores.shape]
    maxima = np.empty(shape, scores.dtype)
    lowest = np.empty(shape[0], scores.dtype)
    in_pieces(lambda a, b: _maxima(scores, maxima, lowest, a, b), shape[0], scores.size)
    return maxima, float(lowest.min())


@kernel
def _maxima(scores, maxima, lowest, first, last):
    nz, ny, nx = scores.shape
    high = np.empty(nx, scores.dtype)
    low = np.empty(nx, scores.dtype)
    broken = np.empty(nx, scores.dtype)
    for tz in range(first, last):
        low[:] = np.inf
        broken[:] = 0
        for ty in range(maxima.shape[1]):
            high[:] = -np.inf
            for z in range(tz * SIDE, min(tz * SIDE + SIDE, nz)):
                for y in range(ty * SIDE, min(ty * SIDE + SIDE, ny)):
                    line = scores[z, y]
                    for x in range(nx):
                        v = line[x]
                        high[x] = max(high[x], v)
                        low[x] = min(low[x], v)
                        broken[x] += v - v  # 0, or NaN for what is not finite
            for tx in range(maxima.shape[2]):
                maxima[tz, ty, tx] = high[tx * SIDE : tx * SIDE + SIDE].max()
        lowest[tz] = low.min() + broken.sum()


@kernel(fastmath={"nnan", "nsz"})  # so that it is vectorised; there is no NaN among the scores
def best_of_tile(scores, tz, ty, tx):
    """The best score among the windows of one tile."""
    best = TAKEN
    for z in range(tz * SIDE, min(tz * SIDE + SIDE, scores.shape[0])):
        for y in range(ty * SIDE, min(ty * SIDE + SIDE, scores.shape[1])):
            line = scores[z, y, tx * SIDE : tx * SIDE + SIDE]
            if line.size == SIDE:
                a = max(max(line[0], line[1]), max(line[2], line[3]))
                b = max(max(line[4], line[5]), max(line[6], line[7]))
                best = max(best, max(a, b))
            else:
                for v in line:
                    best = max(best, v)
    return best
