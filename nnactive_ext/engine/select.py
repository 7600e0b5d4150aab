"""The engine's choice: windows one after another, best first, that overlap neither what is taken nor each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from nnactive_ext.engine.greedy import take_best
from nnactive_ext.engine.race import race
from nnactive_ext.engine.taking import take_box
from nnactive_ext.engine.tiles import TAKEN, tile_maxima
from nnactive_ext.engine.windows import Box, allowed_voxels, window_starts
from nnactive_ext.geometry.patch import Triple, triple


class Pick(NamedTuple):
    """A chosen window: where it starts (z, y, x), its score, and the key it was ranked by."""

    start: Triple
    score: float
    key: float


def select(
    scores: np.ndarray,
    size: Sequence[int],
    k: int,
    *,
    blocked: Iterable[Box] = (),
    allowed: np.ndarray | None = None,
    beta: float | None = None,
    rng: np.random.Generator | None = None,
    overlap: float = 0.0,
    stride: int | Sequence[int] = 1,
    overwrite_scores: bool = False,
) -> list[Pick]:
    """Choose up to ``k`` windows that do not overlap, best first.

    A window is allowed if at most ``overlap`` of its voxels are covered by the union of the ``blocked`` boxes and earlier
    picks. Ties go to the lowest position in C order.

    Args:
        scores: (z, y, x) float, one for each start of a window of ``size`` (stride 1).
        size: voxels of a window along (z, y, x).
        k: how many windows.
        blocked: boxes (start, size) in voxels; they may reach outside the image.
        allowed: bool, one for each start like ``scores``: windows that are False are never picked (None: all are allowed).
        beta: without it the key is the score. With it (and ``rng``) the key is ln(score) + e, e ~ Gumbel(0, 1/beta) for each
            window (power perturbation, thesis Eq 3.3, 7.1, D.2); windows of score 0 then have the key -inf and are taken
            only when nothing else is left.
        rng: where noise comes from.
        overlap: the share of a window's voxels that may be covered (0: none).
        stride: along each axis only each ``stride``-th start counts, and the last.
        overwrite_scores: saves a copy of ``scores``.

    Returns:
        The picks; fewer than ``k`` when no allowed window is left.

    Raises:
        ValueError: a score is NaN or infinite, or below 0 with noise; ``allowed`` has another shape than ``scores``.

    >>> select(np.array([[[1.0, 3.0, 2.0, 2.0]]]), (1, 1, 2), 2)
    [Pick(start=(0, 0, 1), score=3.0, key=3.0), Pick(start=(0, 0, 3), score=2.0, key=2.0)]
    """
    size = triple(size)
    steps = (stride,) * 3 if isinstance(stride, (int, np.integer)) else triple(stride)
    if scores.ndim != 3 or min(size) < 1 or min(steps) < 1 or k < 0:
        raise ValueError(
            f"expected a 3D array of scores, positive sizes and strides, and k of at least 0, not {scores.shape}, {size}, "
            f"{steps}, {k}"
        )
    if beta is not None and (rng is None or not 0 < beta < np.inf):
        raise ValueError(f"noise needs a generator and a positive beta, not {beta}")
    if not 0 <= overlap < 1:
        raise ValueError(f"the allowed overlap is a share of at least 0 and below 1, not {overlap}")
    if allowed is not None and allowed.shape != scores.shape:
        raise ValueError(f"expected one allowed or not for each of {scores.shape} windows, not {allowed.shape}")
    axes = [window_starts(n, step) for n, step in zip(scores.shape, steps, strict=True)]
    left = _own(scores, axes, overwrite_scores)
    maxima, lowest = tile_maxima(left)
    if not np.isfinite(lowest):
        raise ValueError("a score is NaN or infinite: what it was made from is broken")
    if beta is not None and lowest < 0:
        raise ValueError(f"noise on ln(score) needs scores of at least 0; there is {lowest}")

    if allowed is not None:
        left[~allowed[np.ix_(*axes)]] = TAKEN
        maxima, _ = tile_maxima(left)

    extent = np.array(size)
    starts = np.zeros((3, max(map(len, axes))), np.int64)
    for row, axis in zip(starts, axes, strict=True):
        row[: len(axis)] = axis
    most = allowed_voxels(size, overlap)
    image = [n + s - 1 for n, s in zip(scores.shape, size, strict=True)]
    covered = np.zeros(image if overlap else (0, 0, 0), np.uint8)
    for box in blocked:
        corner, box_size = (np.array(triple(values)) for values in box)
        if box_size.min() > 0:
            take_box(left, maxima, starts, extent, corner, box_size, covered, most, np.empty((3, 2), np.int64))

    picked, values, keys = np.empty((k, 3), np.int64), np.empty(k), np.full(k, -np.inf)
    count = 0
    if beta is not None:
        count = race(left, maxima, starts, extent, covered, most, float(beta), rng, picked, values, keys)
    count = take_best(left, maxima, starts, extent, covered, most, picked, values, count)
    if beta is None:
        keys = values
    picks = (triple([axis[i] for axis, i in zip(axes, index, strict=True)]) for index in picked[:count])
    return [Pick(*pick) for pick in zip(picks, values[:count].tolist(), keys[:count].tolist(), strict=True)]


def _own(scores: np.ndarray, axes: Sequence[np.ndarray], overwrite: bool) -> np.ndarray:
    """The scores of the windows that count, as a contiguous array the engine may write to."""
    kind = np.float32 if scores.dtype == np.float32 else np.float64
    if tuple(map(len, axes)) != scores.shape:
        return scores[np.ix_(*axes)].astype(kind, order="C")
    usable = overwrite and scores.dtype == kind and scores.flags.c_contiguous and scores.flags.writeable
    return scores if usable else scores.astype(kind, order="C")
