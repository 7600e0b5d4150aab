"""The mean of a feature map over a box that its cells do not fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pooling_weights(start: float, size: float, stride: float, cells: int) -> tuple[slice, np.ndarray]:
    """How much of the interval [start, start + size) each cell covers, along one axis.

    Args:
        start: in voxels.
        size: in voxels.
        stride: voxels per cell; cell i covers [i stride, (i + 1) stride).
        cells: how many there are.

    Returns:
        Which cells the interval touches, and the lengths of what they share with it, float64, in voxels.

    Raises:
        ValueError: the interval touches no cell.

    >>> pooling_weights(3, 5, 2, 4)
    (slice(1, 4, None), array([1., 2., 2.]))
    """
    edges = np.arange(cells + 1) * stride
    lengths = np.minimum(edges[1:], start + size) - np.maximum(edges[:-1], start)
    touched = np.flatnonzero(lengths > 0)
    if not touched.size:
        raise ValueError(f"[{start}, {start + size}) touches none of {cells} cells of {stride} voxels.")
    inside = slice(int(touched[0]), int(touched[-1]) + 1)
    return inside, lengths[inside].astype(np.float64)


def pooled(features: np.ndarray, start: Sequence[float], size: Sequence[float], stride: Sequence[float]) -> np.ndarray:
    """The mean of a feature map over a box, each cell weighted by the volume that it shares with the box.

    A constant map gives its constant; a box of whole cells their plain mean; the parts of a box, weighted by their volumes,
    the whole.

    Args:
        features: float (D, cells along each axis ...), with one or more axes.
        start: of the box, in voxels along these axes.
        size: of the box, in voxels.
        stride: voxels per cell.

    Returns:
        float32 (D,), summed in double precision.

    Raises:
        ValueError: the box touches no cell.
    """
    axes = [pooling_weights(*axis) for axis in zip(start, size, stride, features.shape[1:], strict=True)]
    mean = np.asarray(features[(slice(None), *(inside for inside, _ in axes))], np.float64)
    for _, lengths in reversed(axes):
        mean = mean @ (lengths / lengths.sum())
    return mean.astype(np.float32)
