"""A crop as small NIfTI files for a viewer in the browser."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np

from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.colours import UNSURE
from nnactive_ext.pages.slices import grey_window
from nnactive_ext.report.crop import Crop
from nnactive_ext.report.thin import thinned

MOST_VOXELS = 300_000
"""Of a volume: noise packs badly, and four volumes of this many stay below 500 kB."""


def volumes(crop: Crop) -> dict[str, bytes]:
    """Name -> the bytes of a ``.nii.gz``; what the crop has not is left out.

    ``image``: grey values within the window that the pictures have, in 256 steps; ``prediction`` and ``annotation``: label
    values, the latter with 0 where nobody annotated; ``uncertainty``: nat, in 256 steps. Steps are scaled in the header, so
    viewers show the values meant. Larger crops are thinned out along their finest axes.
    """
    low, high = grey_window(crop.image, crop.box)
    image = np.nan_to_num(np.clip(crop.image, low, high), nan=low)
    crop = thinned(replace(crop, image=image), MOST_VOXELS)
    found = {"image": _scaled(crop.image, crop.space, low, high)}
    if crop.annotation is not None:
        known = np.where(crop.annotation != crop.ignore, crop.annotation, 0)
        found["annotation"] = _nifti(known.astype(crop.annotation.dtype), crop.space)
    if crop.prediction is not None:
        found["prediction"] = _nifti(crop.prediction, crop.space)
    if crop.uncertainty is not None:
        most = max(UNSURE, float(crop.uncertainty.max()))
        found["uncertainty"] = _scaled(crop.uncertainty, crop.space, 0, most)
    return found


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
