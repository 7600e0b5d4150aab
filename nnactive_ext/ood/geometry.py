"""How unlike the others a case's spacing, extent and number of channels are: what its header says, without its voxels."""

from __future__ import annotations

import numpy as np

from nnactive_ext.ood.flags import robust_z

FLOOR = 0.01
"""The smallest divisor of the z of a logarithm. Headers of one scanner differ by rounding: 1 % is no difference."""


def geometry_z(spacing: np.ndarray, extent: np.ndarray, channels: np.ndarray, in_reference: np.ndarray) -> np.ndarray:
    """Robust z of ln spacing and ln extent along each axis, and of the number of channels.

    Args:
        spacing: float (N, 3), in mm.
        extent: float (N, 3), in mm: voxels times spacing.
        channels: int (N,).
        in_reference: bool (N,). A case of the reference is compared with all of it, itself included, as in ``judge``.

    Returns:
        float64 (N, 7), of either sign: three of the spacing, three of the extent, one of the channels; NaN where fewer than
        three cases are in the reference. Where all of it have one number of channels, another number has an infinite z.

    Raises:
        ValueError: a spacing or an extent is not positive.
    """
    lengths = np.concatenate([np.asarray(spacing, np.float64), np.asarray(extent, np.float64)], axis=1)
    if not (lengths > 0).all():
        case = int(np.flatnonzero(~(lengths > 0).all(1))[0])
        raise ValueError(f"case {case} has the spacing and extent {lengths[case].tolist()}; lengths in mm must be positive.")
    logs, chosen = np.log(lengths), np.asarray(in_reference, bool)
    columns = [robust_z(column, column[chosen], FLOOR) for column in logs.T]
    numbers = np.asarray(channels, np.float64)
    return np.stack([*columns, robust_z(numbers, numbers[chosen])], axis=1)


def geometry_scores(spacing: np.ndarray, extent: np.ndarray, channels: np.ndarray, in_reference: np.ndarray) -> np.ndarray:
    """``geometry``: the largest absolute value of :func:`geometry_z`, which is a z already: the limit of a flag applies to it.

    Args:
        spacing: float (N, 3), in mm.
        extent: float (N, 3), in mm.
        channels: int (N,).
        in_reference: bool (N,).

    Returns:
        float64 (N,), never negative; NaN where fewer than three cases are in the reference.
    """
    return np.abs(geometry_z(spacing, extent, channels, in_reference)).max(1)
