"""Every so many-th voxel of a crop: what is too large to keep or to send, with each voxel left where it is in the patient."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.report.crop import Crop


def thinned(crop: Crop, most: int) -> Crop:
    """``crop`` with at most ``most`` voxels, thinned along its finest axes; itself where it has no more.

    Grey values and uncertainty stand for their neighbours too; labels are those of the voxels that are kept. ``box`` holds
    the voxels kept of the patch, one at least along each axis. ``patch`` stays in voxels of the image.
    """
    steps = _steps(crop.space, most)
    if max(steps) == 1:
        return crop
    thin = tuple(slice(None, None, step) for step in steps)

    def labels(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[thin].copy()  # a view would keep all of it

    uncertainty = None if crop.uncertainty is None else _smoothed(crop.uncertainty, steps)[thin].copy()
    return replace(
        crop,
        box=_box(crop.box, steps),
        image=_smoothed(crop.image, steps)[thin].copy(),
        annotation=labels(crop.annotation),
        prediction=labels(crop.prediction),
        uncertainty=uncertainty,
        space=_space(crop.space, steps),
    )


def _steps(space: Space, most: int) -> list[int]:
    """Every how many-th voxel is kept along (z, y, x)."""
    steps, shape = [1, 1, 1], list(space.shape)
    while math.prod(shape) > most:
        spacing = [mm * step if n > 1 else math.inf for mm, step, n in zip(space.spacing_zyx, steps, shape, strict=True)]
        finest = spacing.index(min(spacing))
        steps[finest] += 1
        shape = [-(-n // step) for n, step in zip(space.shape, steps, strict=True)]
    return steps


def _space(space: Space, steps: list[int]) -> Space:
    """The first voxel is among those kept, so the origin stays."""
    shape = triple([-(-n // step) for n, step in zip(space.shape, steps, strict=True)])
    x, y, z = (mm * step for mm, step in zip(space.spacing, reversed(steps), strict=True))
    return replace(space, shape=shape, spacing=(x, y, z))


def _box(box: Patch, steps: list[int]) -> Patch:
    start, size = [], []
    for first, stop, step in zip(box.start, box.stop, steps, strict=True):
        begin, end = -(-first // step), -(-stop // step)
        if begin == end:  # between two that are kept
            begin -= 1
        start.append(begin)
        size.append(end - begin)
    return Patch(box.case, triple(start), triple(size))


def _smoothed(array: np.ndarray, steps: list[int]) -> np.ndarray:
    """So that a kept voxel stands for its neighbours; as it is where a value is not finite, which would spread."""
    if not np.isfinite(array).all():
        return array
    return gaussian_filter(array, [0.4 * step if step > 1 else 0 for step in steps])
