"""A crop as small NIfTI files for a viewer in the browser."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter

from nnactive_ext.annotation.slices import grey_window
from nnactive_ext.patch import triple
from nnactive_ext.report.crop import Crop
from nnactive_ext.report.heat import UNSURE
from nnactive_ext.space import Space

MOST_VOXELS = 300_000
"""Of a volume: noise packs badly, and four volumes of this many stay below 500 kB."""


def volumes(crop: Crop) -> dict[str, bytes]:
    """Name -> the bytes of a ``.nii.gz``; what the crop has not is left out.

    ``image``: grey values within the window that the pictures have, in 256 steps; ``prediction`` and ``annotation``: label
    values, the latter with 0 where nobody annotated; ``annotated``: 1 where somebody did; ``uncertainty``: nat, in 256
    steps; ``box``: 1 in the patch. Steps are scaled in the header, so viewers show the values meant. Larger crops are
    thinned out along their finest axes.
    """
    steps = _steps(crop.space)
    space, thin = thinned(crop.space, steps), tuple(slice(None, None, step) for step in steps)
    low, high = grey_window(crop.image, crop.box)
    image = np.nan_to_num(np.clip(crop.image, low, high), nan=low)
    box = np.zeros(crop.space.shape, np.uint8)
    box[crop.box.slices] = 1
    found = {"image": _scaled(_smoothed(image, steps)[thin], space, low, high), "box": _nifti(box[thin], space)}
    if crop.annotation is not None:
        known = crop.annotation != crop.ignore
        found["annotation"] = _nifti(np.where(known, crop.annotation, 0).astype(crop.annotation.dtype)[thin], space)
        found["annotated"] = _nifti(known.astype(np.uint8)[thin], space)
    if crop.prediction is not None:
        found["prediction"] = _nifti(crop.prediction[thin], space)
    if crop.uncertainty is not None:
        uncertainty = _smoothed(crop.uncertainty, steps)[thin]
        found["uncertainty"] = _scaled(uncertainty, space, 0, max(UNSURE, float(uncertainty.max())))
    return found


def _steps(space: Space) -> list[int]:
    """Every how many-th voxel is kept along (z, y, x)."""
    steps, shape = [1, 1, 1], list(space.shape)
    while math.prod(shape) > MOST_VOXELS:
        spacing = [mm * step if n > 1 else math.inf for mm, step, n in zip(space.spacing_zyx, steps, shape, strict=True)]
        finest = spacing.index(min(spacing))
        steps[finest] += 1
        shape = [-(-n // step) for n, step in zip(space.shape, steps, strict=True)]
    return steps


def thinned(space: Space, steps: list[int]) -> Space:
    """The space of every so many-th voxel, the first one among them."""
    shape = triple([-(-n // step) for n, step in zip(space.shape, steps, strict=True)])
    x, y, z = (mm * step for mm, step in zip(space.spacing, reversed(steps), strict=True))
    return replace(space, shape=shape, spacing=(x, y, z))


def _smoothed(array: np.ndarray, steps: list[int]) -> np.ndarray:
    """So that a kept voxel stands for its neighbours."""
    return gaussian_filter(array, [0.4 * step if step > 1 else 0 for step in steps]) if max(steps) > 1 else array


def _scaled(array: np.ndarray, space: Space, low: float, high: float) -> bytes:
    """With 256 values from ``low`` to ``high``."""
    slope = (high - low) / 255 or 1.0
    return _nifti(np.clip(np.rint((array - low) / slope), 0, 255).astype(np.uint8), space, slope, low)


def _nifti(array: np.ndarray, space: Space, slope: float = 1.0, intercept: float = 0.0) -> bytes:
    import nibabel

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ space.affine  # NIfTI's RAS
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), affine)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return gzip.compress(image.to_bytes(), compresslevel=9, mtime=0)  # no date: the same crop gives the same bytes
