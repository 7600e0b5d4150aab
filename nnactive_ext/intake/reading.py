"""Reads one channel of a case, or says in words what is wrong with its file or series."""

from __future__ import annotations

from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.checks import read_image_file, space_problem
from nnactive_ext.images.dicom import read_series
from nnactive_ext.intake.find import Source


def read(source: Source) -> Any:
    """The SimpleITK image: 3D, one real number per voxel. NnActiveError names the file and what is wrong."""
    image = read_series(source.series) if source.series else read_image_file(source.path)
    problem = _thin(image) or space_problem(image)
    if problem:
        raise NnActiveError(f"{source.path}: {problem}.")
    return image


def _thin(image: Any) -> str:
    """A dataset may hold single slices, for ``-c 2d``; people annotate volumes."""
    size = image.GetSize()
    if min(size) < 2:
        return f"{'x'.join(map(str, size))} voxels: an axis of one voxel, so a 2D image; 3D images are needed"
    return ""
