"""An image of fewer voxels at the same places in the patient, to look through a whole one in a browser."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space


def thin(array: np.ndarray, space: Space, most: int) -> tuple[np.ndarray, Space]:
    """Every n-th voxel along each axis, the finest axes first, until ``most`` or fewer are left.

    Args:
        array: (z, y, x).
        space: where its voxels are.
        most: voxels that may be left.

    Returns:
        The array (z, y, x) and its space. Every voxel is one of the given array, at its own place.

    >>> space = Space((4, 6, 6), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    >>> array, thinner = thin(np.zeros((4, 6, 6)), space, 40)
    >>> array.shape, thinner.spacing
    ((4, 3, 3), (2.0, 2.0, 5.0))
    """
    steps = [1, 1, 1]
    while math.prod(-(-n // step) for n, step in zip(space.shape, steps, strict=True)) > most:
        sides = [mm * step if n > step else math.inf for mm, step, n in zip(space.spacing_zyx, steps, space.shape, strict=True)]
        steps[sides.index(min(sides))] += 1
    thinned = array[tuple(slice(None, None, step) for step in steps)]
    x, y, z = (mm * step for mm, step in zip(space.spacing, reversed(steps), strict=True))
    return thinned, replace(space, shape=triple(thinned.shape), spacing=(x, y, z))
