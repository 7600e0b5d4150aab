"""Which windows of an image are free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nnactive_ext.engine.means import box_means
from nnactive_ext.engine.windows import Box, allowed_voxels, window_shape
from nnactive_ext.geometry.patch import triple


def free_starts(shape: Sequence[int], size: Sequence[int], boxes: Iterable[Box], overlap: float = 0.0) -> np.ndarray:
    """Which windows of an image are free.

    Args:
        shape: of the image, voxels along (z, y, x).
        size: of a window, voxels along (z, y, x).
        boxes: (start, size) in voxels; they may reach outside the image and may have any size, even none. Boxes that only
            touch a window do not overlap it.
        overlap: the share of a window's voxels that the union of the boxes may cover (0: none).

    Returns:
        bool (z, y, x), one value per window start.

    Raises:
        ValueError: the size is larger than the image.
    """
    size = triple(size)
    free = np.ones(window_shape(shape, size), dtype=bool)
    if allowed := allowed_voxels(size, overlap):
        covered = np.zeros(shape, np.float32)
        for start, extent in boxes:
            covered[tuple(slice(max(b, 0), max(b + n, 0)) for b, n in zip(start, extent, strict=True))] = 1
        return box_means(covered, size) * float(np.prod(size)) <= allowed + 0.5
    for start, extent in boxes:
        if min(extent) > 0:
            touched = (slice(max(b - s + 1, 0), max(b + n, 0)) for b, n, s in zip(start, extent, size, strict=True))
            free[tuple(touched)] = False
    return free
