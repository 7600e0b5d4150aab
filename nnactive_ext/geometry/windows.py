"""The windows that stand for an image: boxes of one size side by side, evenly spread where there are too many."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, triple

MOST = 64
"""Windows of an image, unless the user says how many."""


def windows(case: str, shape: Sequence[int], size: Triple, most: int = MOST) -> list[Patch]:
    """Boxes of ``size`` on a grid over an image, cut off at its far ends.

    Args:
        case: its name.
        shape: of the image, in voxels (z, y, x).
        size: of a box, in voxels.
        most: how many boxes at most; of more, as many at even steps.

    >>> [(w.start[2], w.size[2]) for w in windows("a", (1, 1, 7), (1, 1, 3))]
    [(0, 3), (3, 3), (6, 1)]
    """
    starts = list(itertools.product(*(range(0, n, step) for n, step in zip(shape, size, strict=True))))
    if len(starts) > most:
        starts = [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]
    return [
        Patch(case, triple(start), triple([min(step, n - a) for a, step, n in zip(start, size, shape, strict=True)]))
        for start in starts
    ]
