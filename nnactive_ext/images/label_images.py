"""Reads the voxels, the place and the header of an image file, and refuses what no label map can be or what is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.metaimage import what_metaimage_hides
from nnactive_ext.images.names import check_name
from nnactive_ext.images.nifti import header_problem, what_itk_hides
from nnactive_ext.images.nrrd import what_nrrd_hides
from nnactive_ext.images.stated import read_as_stated, unit_problem, why_copied
from nnactive_ext.images.voxels import not_finite

ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
"""What can be read; a .nhdr or .mhd names the file beside it that holds the voxels."""

_SAVE_AGAIN = "Save it again in the viewer, or copy it again."


@dataclass(frozen=True)
class LabelImage:
    """``layers``: (layer, z, y, x), whole numbers or finite floats, one layer in most files. ``header``: what the file
    says in words."""

    layers: np.ndarray
    space: Space
    header: Mapping[str, str]


def read_image(file: Path) -> LabelImage:
    """Read the voxels, the space and the header of an image file.

    Args:
        file: NIfTI, NRRD or MetaImage.

    Returns:
        Voxels as (layer, z, y, x), most files have one layer; space; header.

    Raises:
        NnActiveError: the file is missing, damaged, or not a 3D image of real numbers.
    """
    if file.is_dir():
        raise NnActiveError(f"{file}: a folder, not an image. Name a file ({', '.join(ENDINGS)}).")
    if not file.is_file():
        raise NnActiveError(f"{file}: no such file.")
    check_name(file)
    if not file.name.lower().endswith(ENDINGS):
        raise NnActiveError(f"{file}: label maps cannot be read from this format. Save it as one of {', '.join(ENDINGS)}.")
    if file.stat().st_size == 0:
        raise NnActiveError(f"{file}: an empty file. {_SAVE_AGAIN}")
    if file.name.lower().endswith(".nii.gz") and file.with_suffix("").exists():
        # ITK then takes the header from the one and the voxels from the other.
        raise NnActiveError(f"{file}: {file.with_suffix('').name} lies beside it. Move the one that is not meant elsewhere.")
    problem = what_itk_hides(file) or what_metaimage_hides(file) or what_nrrd_hides(file)
    if problem:
        raise NnActiveError(f"{problem.rstrip('.')}. {_SAVE_AGAIN}")
    if problem := header_problem(file) or unit_problem(file):
        raise NnActiveError(problem)
    try:
        image, array = _load(file)
    except (RuntimeError, MemoryError) as error:
        raise NnActiveError(f"{file}: {_explanation(error)}") from None
    if image.GetDimension() != 3:
        raise NnActiveError(f"{file}: a {image.GetDimension()}D image, and label maps are 3D. Save one 3D label map.")
    if array.dtype.kind not in "uif":
        raise NnActiveError(f"{file}: holds {image.GetPixelIDTypeAsString()}s, which no label map does. Save a label map.")
    bad = 0 if array.dtype.kind != "f" else array.size - int(np.isfinite(array).sum())
    if bad:
        raise NnActiveError(f"{file}: {not_finite(bad)}. {_SAVE_AGAIN}")
    space = Space.of_image(image)
    if not np.isfinite(space.affine).all():
        raise NnActiveError(f"{file}: its origin, spacing or direction is not a finite number. {_SAVE_AGAIN}")
    header = {key: _text(image.GetMetaData(key)) for key in image.GetMetaDataKeys()}
    return LabelImage(np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None], space, header)


def _load(file: Path) -> tuple[Any, np.ndarray]:
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK would write to the terminal what we check or do not need
    try:
        image = read_as_stated(file) if why_copied(file) else sitk.ReadImage(str(file))
        return image, sitk.GetArrayFromImage(image)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _text(value: str) -> str:
    """NRRD headers are UTF-8 by now; bytes that are not come from programs that wrote Latin-1."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _explanation(error: Exception) -> str:
    """What ITK said, in words of the user."""
    text = str(error)
    if "orthonormal" in text:
        return (
            "its axes are not at right angles, which ITK does not read. Resample it, or save it in the viewer on the grid of "
            "the image that was sent out."
        )
    if "Unable to determine ImageIO" in text:
        return f"not an image of the kind its name says, or damaged. {_SAVE_AGAIN}"
    if "No such file or directory" in text:  # of MetaImage files that exist: ITK's reader gives no other reason
        return f"damaged, truncated, or without the file that holds its voxels. {_SAVE_AGAIN}"
    last = [line.strip() for line in text.splitlines() if line.strip()][-1:]
    return f"cannot be read: {''.join(last) or type(error).__name__}. {_SAVE_AGAIN}"
