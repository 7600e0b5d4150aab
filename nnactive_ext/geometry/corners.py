"""How far apart two places of one array are, and axes that are a little off the right angle made straight."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

ALLOWED = 0.1
"""Voxels by which no corner of an image may move, that is by which two places may differ and still be one."""

_RIGHT_ANGLE = 1e-3
"""Text headers hold directions with as few as four digits."""


def is_straight(direction: Sequence[float] | np.ndarray) -> bool:
    """Whether the axes in ``direction`` (3x3 or row-major, in columns) have length 1 and are at right angles, but for rounding.

    >>> is_straight([1, 0, 0, 0, 1, 0, 0, 0, 1]), is_straight([1, 0.01, 0, 0, 1, 0, 0, 0, 1])
    (True, False)
    """
    axes = np.reshape(direction, (3, 3))
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= _RIGHT_ANGLE)  # NaN fails, too


def farthest(one: np.ndarray, other: np.ndarray, size: Sequence[int]) -> float:
    """How far apart, in voxels, two places of an array are at the corner where they differ most.

    Args:
        one: 4x4, from index (x, y, z) to mm; its voxels are the unit. Infinity comes back where it has no inverse.
        other: likewise.
        size: voxels along (x, y, z).

    Returns:
        The largest Euclidean distance of a corner's two places, in voxels of ``one``.

    >>> farthest(np.diag([2.0, 1, 1, 1]), np.eye(4), (11, 4, 4))
    5.0
    """
    corners = np.array([[*index, 1.0] for index in product(*((0, n - 1) for n in size))]).T
    try:
        with np.errstate(all="ignore"):
            moved = np.linalg.solve(one[:3, :3], (other - one)[:3] @ corners)
    except np.linalg.LinAlgError:
        return float("inf")
    distance = float(np.sqrt((moved**2).sum(axis=0)).max())
    return distance if np.isfinite(distance) else float("inf")


def straightened(affine: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The place with axes at right angles that is closest to ``affine`` (4x4, from index (x, y, z) to mm): the directions of
    its axes become the nearest rotation, spacing and centre of the image stay. An axis of no length is a ValueError."""
    axes = np.asarray(affine, float)[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if not (np.isfinite(spacing).all() and spacing.all()):
        raise ValueError("an axis without a length")
    left, _, right = np.linalg.svd(axes / spacing)
    straight = np.eye(4)
    straight[:3, :3] = (left @ right) * spacing
    middle = (np.asarray(size, float) - 1) / 2
    straight[:3, 3] = affine[:3, 3] + (axes - straight[:3, :3]) @ middle
    return straight
