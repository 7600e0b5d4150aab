"""A queried patch with what was seen, predicted and annotated around it, thinned out where it is large."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.members.prediction import Apart


@dataclass(frozen=True, eq=False)
class Crop:
    """All arrays are (z, y, x), of one shape, on the image's own grid.

    ``cycle``: in whose loop file the patch is (0: the starting budget); ``patch`` in voxels of the image, ``box`` the same
    in voxels of the crop. ``stratum``, ``score``: as the loop file has them ("" and None where it does not say).
    ``overlap``: the share of the patch's voxels that patches of earlier cycles cover, 0 to 1. ``image``: float32, one
    channel. ``annotation``: the partial labels as they are now, ``ignore`` where nobody annotated; None where the file is
    gone. ``prediction``: the label map of the members that chose the patch (of ``cycle - 1``); ``uncertainty``: the
    entropy of their mean prediction in nat, float32. Where these two are None, ``missing`` says why, in a sentence for
    people; else it is empty. ``space`` is that of the crop, not of the whole image. ``ignore``: the value in ``annotation``
    where nobody annotated (-1: there is none). ``apart``: how far the members that chose the patch are apart in the crop; None
    where that is not known.
    """

    cycle: int
    patch: Patch
    box: Patch
    stratum: str
    score: float | None
    overlap: float
    image: np.ndarray
    annotation: np.ndarray | None
    prediction: np.ndarray | None
    uncertainty: np.ndarray | None
    space: Space
    missing: str
    ignore: int = -1
    apart: Apart | None = None


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
