"""Euclidean distances between descriptors, in double precision, so that equal descriptors are at distance exactly 0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import cdist

ROWS = 512
"""Rows of a block of distances: with 12,000 columns it takes 49 MB."""
NEAR = 1e-12
"""The rounding of |a|^2 + |b|^2 - 2ab in double precision, as a share of |a|^2 + |b|^2."""


def points(descriptors: np.ndarray, what: str = "descriptors") -> np.ndarray:
    """Descriptors as float64 (N, D).

    Raises:
        ValueError: the array has not two axes, or a value is NaN or infinite.
    """
    values = np.asarray(descriptors, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"{what} need two axes (patches, dimensions), not the shape {values.shape}.")
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise ValueError(f"{what}: row {row} is not finite. A network that diverged gives such descriptors; train it again.")
    return values


def nearest_centre(a: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The squared distance of each row of ``a`` (N, D) to the nearest of ``centres`` (M, D), infinite where M is 0.

    It is the sum of squared differences. So it does not depend on where a row stands, and equal rows get equal distances.
    """
    nearest = np.full(len(a), np.inf)
    for start in range(0, len(centres), ROWS):
        block = centres[start : start + ROWS]
        for row in range(0, len(a), 4 * ROWS):
            rows = slice(row, row + 4 * ROWS)
            np.minimum(nearest[rows], cdist(a[rows], block, "sqeuclidean").min(1), out=nearest[rows])
    return nearest


def blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """All squared distances between ``a`` (N, D) and ``b`` (M, D): rows, distances (rows, M) and how far they may be rounded.

    They are |a|^2 + |b|^2 - 2ab, ten times faster than differences. What is closer to 0, or to a radius, than the rounding
    is to be settled by :func:`pairs`. Call it with one BLAS thread: the last bits depend on their number.
    """
    b_squared = np.einsum("ij,ij->i", b, b)
    for start in range(0, len(a), ROWS):
        rows = slice(start, min(start + ROWS, len(a)))
        part = a[rows]
        sums = np.einsum("ij,ij->i", part, part)[:, None] + b_squared
        squared = part @ b.T
        squared *= -2
        squared += sums
        np.maximum(squared, 0, out=squared)
        sums *= NEAR
        yield rows, squared, sums


def pairs(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The squared distances of ``a[i]`` and ``b[j]``, (k,) from the indices ``i`` and ``j`` (k,), by differences."""
    squared = np.empty(len(i))
    for start in range(0, len(i), 4096):
        part = slice(start, start + 4096)
        difference = a[i[part]] - b[j[part]]
        squared[part] = np.einsum("ij,ij->i", difference, difference)
    return squared
