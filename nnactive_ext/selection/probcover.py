"""ProbCover: the candidate whose ball covers most points that no ball covers yet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from nnactive_ext.selection.degenerate import warn
from nnactive_ext.selection.distances import blocks, pairs, points
from nnactive_ext.selection.k_center import k_center
from nnactive_ext.selection.k_means import clusters

PURITY = 0.95


def probcover(
    candidates: np.ndarray,
    annotated: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    candidate_class: np.ndarray,
    annotated_class: np.ndarray,
    classes: int,
    delta: float | Literal["auto"] = "auto",
    purity: float = PURITY,
) -> np.ndarray:
    """Cover as many points as possible with balls of radius delta round the chosen (Yehuda et al., NeurIPS 2022).

    A ball holds what is strictly nearer than delta, of candidates and annotated. The balls of the annotated cover from the
    start. When everything is covered, :func:`~nnactive_ext.selection.k_center.k_center` goes on.

    Args:
        candidates: float (N, D), of unit length as published.
        annotated: float (M, D).
        n: how many to choose.
        rng: seeds k-means, where it is needed.
        candidate_class: int (N,), the class that the member predicts for each patch.
        annotated_class: int (M,), the class of each annotated patch.
        classes: how many foreground classes there are. Where all patches have one class, the clusters of a k-means with
            ``classes + 1`` clusters take the place of classes.
        delta: the radius, or ``auto``: :func:`purity_radius`.
        purity: for ``auto``: the share of balls that hold one class only.

    Returns:
        int64 (min(n, N),), indices of candidates in the order of choice. Memory: (N + M) N / 8 bytes.

    Raises:
        ValueError: a descriptor is not finite.
    """
    u = np.concatenate([points(candidates), points(annotated)])
    n = min(n, len(candidates))
    if delta == "auto":
        delta = _automatic(u, np.concatenate([candidate_class, annotated_class]), classes, purity, rng)
        if delta == 0:
            warn("The radius of ProbCover is 0: patches of two classes have equal descriptors. Farthest-first chooses instead.")
    chosen = _covering(u, len(candidates), n, delta)
    if len(chosen) < n:
        rest = np.setdiff1d(np.arange(len(candidates)), chosen)
        centres = np.concatenate([u[len(candidates) :], u[chosen]])
        chosen = np.concatenate([chosen, rest[k_center(u[rest], centres, n - len(chosen), rng)]])
    return chosen


def purity_radius(descriptors: np.ndarray, classes: np.ndarray, purity: float = PURITY) -> float:
    """The largest radius at which at least the share ``purity`` of the balls round all points holds one class only.

    With the N distances to the nearest point of another class, in ascending order, it is number floor((1 - purity) N) + 1.
    Infinite where all points have one class.

    Args:
        descriptors: float (N, D).
        classes: int (N,).
        purity: in 0 .. 1.

    Returns:
        The radius, in the unit of the descriptors.
    """
    u, classes = points(descriptors), np.asarray(classes)
    nearest = np.full(len(u), -1)
    with threadpool_limits(1):
        for rows, squared, _ in blocks(u, u):
            squared[classes[rows, None] == classes] = np.inf
            best = squared.argmin(1)
            nearest[rows] = np.where(np.isfinite(squared[np.arange(len(best)), best]), best, -1)
    impure = np.full(len(u), np.inf)
    known = np.flatnonzero(nearest >= 0)
    impure[known] = np.sqrt(pairs(u, u, known, nearest[known]))
    # 1e-9: (1 - 0.9) * 10 is 1, and less than 1 in floating point.
    return float(np.sort(impure)[min(math.floor((1 - purity) * len(u) + 1e-9), len(u) - 1)])


def bank_subset(
    annotated: np.ndarray, annotated_class: np.ndarray, limit: int, classes: int, rng: np.random.Generator
) -> np.ndarray:
    """Which annotated patches a bank of at most ``limit`` keeps: of each class its share, by ProbCover.

    A class keeps at least one patch. This is the subset selection of SISOM (Kotp et al., its "(3)").

    Args:
        annotated: float (M, D).
        annotated_class: int (M,).
        limit: the largest number of patches, at least the number of classes that occur.
        classes: how many foreground classes there are.
        rng: seeds k-means, where it is needed.

    Returns:
        int64 (min(M, limit),), indices of annotated patches, ascending.
    """
    if len(annotated) <= limit:
        return np.arange(len(annotated))
    names, sizes = np.unique(annotated_class, return_counts=True)
    exact = limit * sizes / len(annotated)
    shares = np.maximum(1, np.floor(exact).astype(int))
    for c in np.argsort(shares - exact, kind="stable")[: max(0, limit - int(shares.sum()))]:
        shares[c] += 1
    while shares.sum() > limit:
        shares[np.argmax(shares)] -= 1
    delta = _automatic(points(annotated), annotated_class, classes, PURITY, rng)
    kept = []
    for name, share in zip(names, shares.tolist(), strict=True):
        own = np.flatnonzero(annotated_class == name)
        one, none = np.zeros(len(own), int), np.zeros(0, int)
        vectors = annotated[own]
        balls = probcover(
            vectors, vectors[:0], share, rng, candidate_class=one, annotated_class=none, classes=classes, delta=delta
        )
        kept.append(own[balls])
    return np.sort(np.concatenate(kept))


def _automatic(u: np.ndarray, classes: np.ndarray, foreground: int, purity: float, rng: np.random.Generator) -> float:
    if len(u) and len(np.unique(classes)) == 1:
        classes = clusters(u, foreground + 1, rng)
    return purity_radius(u, classes, purity) if len(u) else 0.0


def _covering(u: np.ndarray, candidates: int, n: int, radius: float) -> np.ndarray:
    """Up to ``n`` of the first ``candidates`` points, until all points are covered."""
    balls = np.zeros((len(u), (candidates + 7) // 8), np.uint8)  # bit c of row i: point i is in the ball of candidate c
    uncovered = np.ones(len(u), bool)
    counts = np.zeros(candidates, np.int64)
    for rows, inside in _inside(u, radius):
        uncovered[rows] = ~inside[:, candidates:].any(1)
        inside = inside[:, :candidates]
        balls[rows] = np.packbits(inside, axis=1)
        counts += inside[uncovered[rows]].sum(0)
    chosen: list[int] = []
    while len(chosen) < n:
        pick = int(np.argmax(counts))
        if counts[pick] == 0:
            break
        chosen.append(pick)
        new = np.flatnonzero(uncovered & ((balls[:, pick >> 3] >> (7 - (pick & 7))) & 1).astype(bool))
        uncovered[new] = False
        for start in range(0, len(new), 256):
            counts -= np.unpackbits(balls[new[start : start + 256]], axis=1, count=candidates).sum(0, dtype=np.int64)
    return np.array(chosen, np.int64)


def _inside(u: np.ndarray, radius: float) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows, and which points are strictly nearer than ``radius``, bool (rows, N)."""
    with threadpool_limits(1):
        for rows, squared, rounding in blocks(u, u):
            inside = squared < radius**2
            if np.isfinite(radius):
                i, j = np.nonzero(np.abs(squared - radius**2) <= rounding)
                inside[i, j] = np.sqrt(pairs(u[rows], u, i, j)) < radius
            yield rows, inside
