"""Choice with noise, without a random number per window: the windows run an exponential race.

Adding Gumbel(0, 1/beta) to every ln(score) and choosing greedily by these keys is, in distribution, a race (thesis
Eq 3.3; Maddison et al. 2014, A* sampling): a window of weight w = score^beta arrives after a time T ~ Exp(w), those that
arrive first are chosen, and the key is -ln(T) / beta. Exponential times forget, so the race can be run one arrival at a
time: the next arrival among all windows comes after Exp(sum of weights) and is window i with probability w_i / sum.

Weights are not summed either. A tile is given the weight that its best score times its number of windows would have, or
any other upper bound; arrivals come at that rate, and an arrival counts with the probability by which the bound exceeds
the truth (thinning). Where too many do not count, a tile's weights are summed once. Weights are kept as logarithms, so
any beta and any range of scores will do.
"""

from __future__ import annotations

import numpy as np

from nnactive_ext.engine.compiling import kernel
from nnactive_ext.engine.taking import take_box
from nnactive_ext.engine.tiles import SIDE

# A tile's weights are summed, which takes 512 logarithms, once so many of its arrivals have not counted. Logarithms are
# of float64: beta multiplies their error.
_PATIENCE = 4


@kernel
def race(scores, maxima, starts, size, covered, allowed, beta, rng, picked, values, keys):
    """Fill ``picked`` (indices of windows), ``values`` (scores) and ``keys``, until full or no positive score is left.

    How many there are is returned.
    """
    tiles = np.empty(maxima.shape)  # ln of an upper bound of each tile's weight
    failures = np.zeros(maxima.shape, np.uint8)  # arrivals that did not count
    rows = np.empty(maxima.shape[:2])
    planes = np.empty(maxima.shape[0])
    region = np.zeros((3, 2), np.int64)
    for axis in range(3):
        region[axis, 1] = scores.shape[axis]
    _set_bounds(scores, maxima, failures, beta, region, tiles, rows, planes)
    total = _log_sum(planes)

    weights = np.empty(SIDE**3)
    start = np.empty(3, np.int64)
    count, time = 0, -np.inf  # ln of the time at which the race stands
    while count < picked.shape[0] and total > -np.inf:
        time = _log_add(time, np.log(rng.standard_exponential()) - total)
        z = _draw(planes, rng)
        y = _draw(rows[z], rng)
        x = _draw(tiles[z, y], rng)
        if failures[z, y, x] < _PATIENCE:
            number = int(rng.random() * _windows(scores, z, y, x))
            _index(scores, z, y, x, number, start)
            share = np.float64(scores[start[0], start[1], start[2]]) / maxima[z, y, x]
            if share <= 0 or np.log(rng.random()) > beta * np.log(share):
                failures[z, y, x] += 1
                continue
        else:
            weight = _weigh(scores, maxima, z, y, x, beta, weights)
            if np.log(rng.random()) > weight - tiles[z, y, x]:
                tiles[z, y, x] = weight
                rows[z, y] = _log_sum(tiles[z, y])
                planes[z] = _log_sum(rows[z])
                total = _log_sum(planes)
                continue
            _index(scores, z, y, x, _draw(weights[: _windows(scores, z, y, x)], rng), start)

        values[count] = scores[start[0], start[1], start[2]]
        keys[count] = -time / beta
        for axis in range(3):
            picked[count, axis] = start[axis]
            start[axis] = starts[axis, start[axis]]
        count += 1
        take_box(scores, maxima, starts, size, start, size, covered, allowed, region)
        _set_bounds(scores, maxima, failures, beta, region, tiles, rows, planes)
        total = _log_sum(planes)
    return count


@kernel
def _set_bounds(scores, maxima, failures, beta, region, tiles, rows, planes):
    """Bounds of the tiles with a window in ``region``, and the sums they are in; a sum that is lower stays."""
    for z in range(region[0, 0] // SIDE, (region[0, 1] - 1) // SIDE + 1):
        for y in range(region[1, 0] // SIDE, (region[1, 1] - 1) // SIDE + 1):
            for x in range(region[2, 0] // SIDE, (region[2, 1] - 1) // SIDE + 1):
                bound = _bound(scores, maxima, z, y, x, beta)
                if failures[z, y, x] < _PATIENCE or bound < tiles[z, y, x]:
                    tiles[z, y, x] = bound
            rows[z, y] = _log_sum(tiles[z, y])
        planes[z] = _log_sum(rows[z])


@kernel
def _windows(scores, z, y, x):
    """How many windows a tile has."""
    nz, ny, nx = scores.shape
    return min(SIDE, nz - z * SIDE) * min(SIDE, ny - y * SIDE) * min(SIDE, nx - x * SIDE)


@kernel
def _index(scores, z, y, x, number, index):
    """The index of the window ``number`` of a tile, counted in C order."""
    height, width = min(SIDE, scores.shape[1] - y * SIDE), min(SIDE, scores.shape[2] - x * SIDE)
    index[0] = z * SIDE + number // (height * width)
    index[1] = y * SIDE + number // width % height
    index[2] = x * SIDE + number % width


@kernel
def _bound(scores, maxima, z, y, x, beta):
    """ln of what a tile weighs at most."""
    if maxima[z, y, x] <= 0:
        return -np.inf
    return beta * np.log(np.float64(maxima[z, y, x])) + np.log(_windows(scores, z, y, x))


@kernel
def _weigh(scores, maxima, z, y, x, beta, weights):
    """ln of what the free windows of a tile weigh; ``weights`` get that of each, in C order."""
    i = 0
    for a in range(z * SIDE, min(z * SIDE + SIDE, scores.shape[0])):
        for b in range(y * SIDE, min(y * SIDE + SIDE, scores.shape[1])):
            for score in scores[a, b, x * SIDE : min(x * SIDE + SIDE, scores.shape[2])]:
                weights[i] = beta * np.log(np.float64(score)) if score > 0 else -np.inf
                i += 1
    return _log_sum(weights[:i])


@kernel
def _log_sum(values):
    """ln of the sum of exp(values); -inf where all are."""
    high = -np.inf
    for v in values:
        high = max(high, v)
    if high == -np.inf:
        return high
    total = 0.0
    for v in values:
        total += np.exp(v - high)
    return high + np.log(total)


@kernel
def _log_add(a, b):
    high = max(a, b)
    return high + np.log1p(np.exp(min(a, b) - high))


@kernel
def _draw(values, rng):
    """An index, with probability proportional to exp(values); at least one of these is not -inf."""
    high = -np.inf
    for v in values:
        high = max(high, v)
    total = 0.0
    for v in values:
        total += np.exp(v - high)
    left, last = rng.random() * total, 0
    for i in range(values.size):
        weight = np.exp(values[i] - high)
        if weight > 0:
            left -= weight
            last = i
            if left < 0:
                break
    return last
