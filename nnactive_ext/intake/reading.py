"""Reads one channel of a case, or says in words what is wrong with its file or series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.images.dicom import read_series
from nnactive_ext.images.metaimage import what_metaimage_hides
from nnactive_ext.images.nifti import header_problem, numbers, what_itk_hides
from nnactive_ext.intake.find import Source

_SPACING = (1e-4, 1000.0)
"""mm between voxels: below is finer than electron microscopy's, above is a mix-up of units."""
_ORTHONORMAL = 1e-3
"""Text headers hold directions with as few as four digits."""
_ITK_SAYS = {
    "orthonormal": "the axes in its header are not at right angles (sheared) or one has no length. Resample it to a "
    "straight grid, or restore the header",
    "determinant is 0": "the direction in its header is not usable: two axes are parallel or one has no length",
    "Zero-valued spacing": "the spacing in its header is 0 or not a finite number",
    "Unable to determine ImageIO": "not an image of the format that its name says, or damaged",
    "File cannot be read": "damaged or truncated, or the file with its voxels (.raw, .zraw) is missing",
}


def read(source: Source) -> Any:
    """The SimpleITK image: 3D, one finite real number per voxel. NnActiveError names the file and what is wrong."""
    if source.series:
        image = read_series(source.series)
    else:
        image = _read_file(source.path)
    problem = _space_problem(image) or _voxel_problem(image)
    if problem:
        raise NnActiveError(f"{source.path}: {problem}.")
    return image


def _read_file(file: Path) -> Any:
    import SimpleITK as sitk

    if not file.is_file():
        raise NnActiveError(f"{file}: no such file{' (a broken link)' if file.is_symlink() else ''}.")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        hidden = what_itk_hides(file) or header_problem(file) or what_metaimage_hides(file)
        if hidden:
            raise NnActiveError(hidden)
        reader.ReadImageInformation()
        problem = _kind_problem(reader)
        if problem:
            raise NnActiveError(f"{file}: {problem}.")
        return reader.Execute()
    except PermissionError:
        raise NnActiveError(f"{file}: no permission to read it.") from None
    except RuntimeError as error:
        text = next((says for words, says in _ITK_SAYS.items() if words in str(error)), f"cannot be read: {brief(error)}")
        raise NnActiveError(f"{file}: {text.rstrip('.')}.") from None


def _kind_problem(reader: Any) -> str:
    """What keeps this from being a 3D image of single numbers, by its header."""
    import SimpleITK as sitk

    size = "x".join(map(str, reader.GetSize()))
    if reader.GetDimension() == 2:
        return f"a 2D image ({size}); 3D images are needed"
    if reader.GetDimension() != 3:
        return (
            f"{reader.GetDimension()}D ({size}): several volumes in one file. Split it into one file per volume, for "
            "example with SimpleITK's image[:, :, :, i]"
        )
    if reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        return "its voxels are complex numbers. Save the magnitude"
    if reader.GetNumberOfComponents() != 1:
        return (
            f"{reader.GetNumberOfComponents()} numbers in each voxel (colour, vectors or channels). Save each as an image of "
            "its own"
        )
    return ""


def _space_problem(image: Any) -> str:
    size = image.GetSize()
    if min(size) < 2:
        return f"{'x'.join(map(str, size))} voxels: an axis of one voxel, so a 2D image; 3D images are needed"
    spacing = np.array(image.GetSpacing())
    if not ((spacing >= _SPACING[0]) & (spacing <= _SPACING[1])).all():  # NaN fails too
        return f"the spacing {numbers(spacing)} mm cannot be. Correct the header"
    direction = np.reshape(image.GetDirection(), (3, 3))
    if not np.abs(direction.T @ direction - np.eye(3)).max() <= _ORTHONORMAL:
        return (
            f"its axes are not at right angles or not of length 1, by the direction {numbers(direction)} in its header. "
            "Resample it to a straight grid, or restore the header"
        )
    return ""


def _voxel_problem(image: Any) -> str:
    import SimpleITK as sitk

    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind == "f":
        bad = array.size - int(np.isfinite(array).sum())
        if bad:
            return f"{bad} voxels are NaN or infinite. Replace them"
    if array.min() == array.max():
        return f"all its voxels are {array.flat[0]:g}: an empty image"
    return ""
