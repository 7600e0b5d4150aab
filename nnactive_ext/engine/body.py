"""Which windows of an image hold enough of the body, and which hold almost nothing but air."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_BODY = 0.1
"""The share of a window's voxels that must be body, or else the window is air."""
_PLANES = 32
"""Windows along the first axis that are looked at together, to save memory."""

Interval = tuple[np.ndarray, np.ndarray]
"""Where windows start and stop along one axis of the image, in (continuous) voxels; half open."""


@dataclass(frozen=True)
class Body:
    """The body in an image, as a mask of coarse blocks, which is small enough to be kept for many cases.

    ``inside``: bool (z, y, x), one per block. ``edges``: along each axis the voxels at which blocks begin, and the image's end.
    """

    inside: np.ndarray
    edges: tuple[np.ndarray, np.ndarray, np.ndarray]

    def enough(self, windows: Sequence[Interval], order: Sequence[int] = (0, 1, 2), least: float = LEAST_BODY) -> np.ndarray:
        """Which windows are body to at least the share ``least``.

        Args:
            windows: for each axis of the result, where windows lie along the image's axis that ``order`` names for it.
            order: the image's axes in the order of the result's.
            least: a share of a window's voxels.

        Returns:
            bool, one per window. Parts of windows outside the image do not count.
        """
        first, second, third = (_weights(self.edges[axis], windows[i]) for i, axis in enumerate(order))
        blocks = self.inside.transpose(order).astype(np.float32)
        shares = np.tensordot(blocks, third, axes=(2, 1))  # (first, second, windows of the third)
        shares = np.tensordot(second, shares, axes=(1, 1)).transpose(1, 0, 2)
        flat = np.ascontiguousarray(shares).reshape(len(shares), -1)
        result = np.empty((len(first), len(second), len(third)), bool)
        for start in range(0, len(first), _PLANES):
            piece = first[start : start + _PLANES] @ flat
            result[start : start + _PLANES] = (piece >= least - 1e-5).reshape(-1, *result.shape[1:])
        return result


def windows_along(count: int, size: int, most: int | None = None) -> Interval:
    """The windows of ``size`` voxels along an axis of ``count`` voxels: all, or some ``most`` of them at equal distances."""
    windows = count - size + 1
    starts = np.arange(0, windows, 1 if most is None else -(-windows // most), dtype=float)
    return starts, starts + size


def _weights(edges: np.ndarray, windows: Interval) -> np.ndarray:
    """(windows, blocks): the share of each window's voxels that lie in each block, along one axis."""
    starts, stops = (np.clip(ends, edges[0], edges[-1])[:, None] for ends in windows)
    shared = np.minimum(stops, edges[None, 1:]) - np.maximum(starts, edges[None, :-1])
    return (np.maximum(shared, 0) / np.maximum(stops - starts, 1e-9)).astype(np.float32)
