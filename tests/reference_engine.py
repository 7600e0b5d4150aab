"""The query engine as slow and obvious as it can be written, for the fast one to be compared with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Pick(NamedTuple):
    start: tuple[int, int, int]
    score: float
    key: float


def windows(shape, size):
    """How many windows there are along each axis."""
    return tuple(n - s + 1 for n, s in zip(shape, size, strict=True))


def box(start, size):
    """The index of a box's voxels, as far as they lie in the image."""
    return tuple(slice(max(a, 0), max(a + s, 0)) for a, s in zip(start, size, strict=True))


def painted(shape, boxes):
    voxels = np.zeros(shape, dtype=bool)
    for start, size in boxes:
        voxels[box(start, size)] = True
    return voxels


def most_covered(size, overlap):
    """How many voxels of a window may be covered."""
    return int(np.floor(overlap * np.prod(size) + 1e-9))


def on_grid(starts, stride):
    """For each window start, whether the stride reaches it; the last one along an axis always counts."""
    steps = (stride,) * 3 if isinstance(stride, int) else stride
    reached = np.zeros(starts, dtype=bool)
    reached[np.ix_(*([a % s == 0 or a == n - 1 for a in range(n)] for n, s in zip(starts, steps, strict=True)))] = True
    return reached


def box_means(score_map, size, weight=None):
    values = score_map.astype(float)
    if weight is not None:
        values = values * np.clip(weight.astype(float), 0, 1)
    means = np.empty(windows(score_map.shape, size))
    for start in np.ndindex(means.shape):
        means[start] = values[box(start, size)].mean()
    return means


def allowed(starts, size, boxes, overlap=0.0, stride=1):
    """For each window start, whether the window may be taken when the boxes are."""
    covered = painted([n + s - 1 for n, s in zip(starts, size, strict=True)], boxes)
    for axis in range(3):
        covered = np.lib.stride_tricks.sliding_window_view(covered, size[axis], axis).sum(axis=-1)
    return (covered <= most_covered(size, overlap)) & on_grid(starts, stride)


def free_starts(shape, size, boxes):
    taken, free = painted(shape, boxes), np.empty(windows(shape, size), dtype=bool)
    for start in np.ndindex(free.shape):
        free[start] = not taken[box(start, size)].any()
    return free


def select(scores, size, k, blocked=(), beta=None, rng=None, overlap=0.0, stride=1):
    keys = scores.astype(float)
    if beta is not None:
        with np.errstate(divide="ignore"):
            keys = np.log(keys) + rng.gumbel(0, 1 / beta, keys.shape)
    taken = painted([n + s - 1 for n, s in zip(scores.shape, size, strict=True)], blocked)
    reached, most = on_grid(scores.shape, stride), most_covered(size, overlap)
    picks = []
    for start in sorted(np.ndindex(scores.shape), key=lambda start: -keys[start]):  # equal keys stay in C order
        if len(picks) < k and reached[start] and taken[box(start, size)].sum() <= most:
            taken[box(start, size)] = True
            picks.append(Pick(start, float(scores[start]), float(keys[start])))
    return picks


def merged(picks_of_images, n):
    """The best ``n`` of several images' picks, as (image, pick)."""
    pooled = [(image, pick) for image, picks in enumerate(picks_of_images) for pick in picks]
    return sorted(pooled, key=lambda one: -one[1].key)[:n]
