"""Reads one channel of a case, or says in words what is wrong with its file or series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.images.checks import read_image_file, space_problem
from nnactive_ext.images.dicom import read_series
from nnactive_ext.images.pairs import check_pair
from nnactive_ext.images.slices import read_slices, stated_by_slices
from nnactive_ext.images.tiff import is_tiff, read_tiff, tiff_header
from nnactive_ext.images.tiff_spacing import decided_spacing
from nnactive_ext.images.volumes import Block, open_volume
from nnactive_ext.intake.find import Source
from nnactive_ext.refusals import refusing


def read(source: Source) -> Any:
    """The SimpleITK image: 3D, one real number per voxel. NnActiveError names the file and what is wrong."""
    with refusing(source.path):
        return _read(source)


def _read(source: Source) -> Any:
    if source.block:
        image = _read_block(source.block, source.channel)
    elif source.series:
        image = read_series(source.series)
    else:
        image = _placeless(source) if source.slices or is_tiff(source.path) else _read_file(source.path)
    problem = _thin(image) or space_problem(image)
    if problem:
        raise NnActiveError(f"{source.path}: {problem}.")
    return image


def _placeless(source: Source) -> Any:
    """Of a format that knows no patient: the first voxel lies at 0, and the axes are those of the array."""
    import SimpleITK as sitk

    if source.slices:
        stated, voxels = stated_by_slices(source.slices), read_slices(source.slices)
    else:
        stated, voxels = tiff_header(source.path).stated, read_tiff(source.path, source.channel)
    given = source.spacing if source.strict or None in stated else None
    spacing = decided_spacing(source.path, stated, given)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing[::-1])
    return image


def _read_block(block: Block, channel: int) -> Any:
    volume = open_volume(block.volume, block.level, block.time, block.spacing)
    space = volume.space.crop(Patch("", block.start, block.size))
    return space.image(volume.read(channel, block.start, block.size))


def _read_file(file: Path) -> Any:
    if file.suffix.lower() == ".hdr":
        check_pair(file)
    return read_image_file(file)


def _thin(image: Any) -> str:
    """A dataset may hold single slices, for ``-c 2d``; people annotate volumes."""
    size = image.GetSize()
    if min(size) < 2:
        return f"{'x'.join(map(str, size))} voxels: an axis of one voxel, so a 2D image; 3D images are needed"
    return ""
