"""How large an image is by its header, and whether that can be: before a voxel is read or unpacked."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.space import Space
from nnactive_ext.images import metaimage, nrrd
from nnactive_ext.images.nifti_place import is_pair, raw_header
from nnactive_ext.memory import gigabytes, memory_limit
from nnactive_ext.words import count

_LARGER, _MORE = 2, 1 << 20
"""A label map may have so many times the voxels of its image, and so many more: viewers extend label maps a little."""
_COPIES = 3
"""What reading takes, as a multiple of the voxels: the reader's, an array, and what is made of it."""


@dataclass(frozen=True)
class StatedSize:
    """``axes``: voxels along each axis of space; ``numbers``: of each voxel, or images in the file; ``bytes_each``."""

    axes: tuple[int, ...]
    numbers: int
    bytes_each: int

    @property
    def voxels(self) -> int:
        return math.prod(self.axes)

    @property
    def bytes(self) -> int:
        return self.voxels * self.numbers * self.bytes_each


def stated_size(file: Path) -> StatedSize | None:
    """What the header of a NIfTI, NRRD or MetaImage file says; None for other formats, and where it says nothing that can be.

    Args:
        file: it exists.
    """
    try:
        if file.name.lower().endswith((".nii", ".nii.gz")) or is_pair(file):
            header = raw_header(file)
            dim = [int(n) for n in header["dim"]]
            sizes = [max(1, n) for n in dim[1 : 1 + min(7, max(0, dim[0]))]]
            return StatedSize(tuple(sizes[:3]), math.prod(sizes[3:]), max(1, int(header["bitpix"]) // 8))
        if nrrd.is_nrrd(file):
            return nrrd_size(nrrd.fields_of(file))
        if metaimage.is_metaimage(file):
            with open(file, "rb") as stream:
                return metaimage_size(metaimage.fields_of(stream))
    except (OSError, EOFError, ValueError, OverflowError, zlib.error):
        return None  # who reads the file says what is wrong
    return None


def nrrd_size(fields: dict[str, str] | object) -> StatedSize | None:
    """By the fields of a header: the axis that is none of space holds the layers of segmentations."""
    assert isinstance(fields, dict)
    sizes = [max(1, int(n)) for n in fields.get("sizes", "").split()]
    kinds = fields.get("kinds", "").lower().split()
    if not sizes:
        return None
    spatial = [kind in ("domain", "space") for kind in kinds] if len(kinds) == len(sizes) else [True] * len(sizes)
    if len(sizes) > 3 and all(spatial):
        spatial = [False] * (len(sizes) - 3) + [True] * 3
    axes = tuple(n for n, is_axis in zip(sizes, spatial, strict=True) if is_axis)
    others = math.prod(n for n, is_axis in zip(sizes, spatial, strict=True) if not is_axis)
    return StatedSize(axes, others, nrrd.bytes_of(fields.get("type", "")))


def metaimage_size(fields: dict[str, str]) -> StatedSize | None:
    """By the fields of a header."""
    sizes = [max(1, int(n)) for n in fields.get("DimSize", "").split()]
    channels = max(1, int(fields.get("ElementNumberOfChannels", "1")))
    each = metaimage.bytes_of(fields.get("ElementType", ""))
    return StatedSize(tuple(sizes[:3]), channels * math.prod(sizes[3:]), each) if sizes else None


def check_memory(file: Path, needed: int, copies: int = _COPIES) -> None:
    """Refuse an image of ``needed`` bytes that this machine cannot hold ``copies`` times.

    Raises:
        NnActiveError: it is too large.
    """
    limit = memory_limit()
    if limit is not None and needed * copies > limit:
        raise NnActiveError(
            f"{file}: its header speaks of {gigabytes(needed)} of voxels. Reading them takes {gigabytes(needed * copies)} "
            f"of memory; this process may have {gigabytes(limit)}. Cut or resample the image, correct its header, or use a "
            "machine with more memory; volumes of this size are read part by part from OME-Zarr (docs/large_volumes.md)."
        )


def check_image_memory(file: Path) -> None:
    """Refuse an image whose voxels, and a copy of them in single precision, are too large for this machine's memory.

    Raises:
        NnActiveError: it is too large.
    """
    size = stated_size(file) if file.is_file() else None
    if size is not None:
        check_memory(file, size.voxels * size.numbers * (size.bytes_each + 4), 1)


@dataclass(frozen=True)
class Grid:
    """The lattice that a label map must have: that of ``space``, an image. ``placed``: whether files must lie where it does;
    the headers of some images do not say where they lie. ``layers``: how many numbers a voxel may have."""

    space: Space
    placed: bool = True
    layers: int = 1

    def check_size(self, file: Path, size: StatedSize) -> None:
        """Refuse a file whose header speaks of many more voxels than the image has.

        Raises:
            NnActiveError: it does.
        """
        image = math.prod(self.space.shape)
        shape = "x".join(map(str, size.axes))
        if size.voxels > _LARGER * image + _MORE:
            mine = "x".join(map(str, self.space.shape[::-1]))
            raise NnActiveError(
                f"{file}: its header speaks of {shape} voxels, and the image has {mine} (x, y, z), so it is not its label map. "
                "Save the label map on the grid of the exported one."
            )
        if size.numbers > self.layers:
            raise NnActiveError(
                f"{file}: its header speaks of {count(size.numbers, 'number')} for each voxel, and a label map has at most "
                f"{self.layers} with these classes. Save one label map."
            )
        check_memory(file, size.bytes)

    def check_place(self, file: Path, space: Space) -> None:
        """Refuse a file whose voxels are not those of the image, or lie far from it.

        Raises:
            NnActiveError: they are not.
        """
        self.check_size(file, StatedSize(space.shape[::-1], 1, 1))
        if not self.placed:
            return
        try:
            placed = align(self.space, space)
        except ValueError as error:
            raise NnActiveError(
                f"{file}: {error}. Its voxels are not those of the image. Save the label map on the grid of the exported one "
                "(in Slicer: Segmentations > Export > reference volume; elsewhere: resample with nearest neighbour)."
            ) from None
        shape = [space.shape[axis] for axis in placed.axes]
        away = [max(a - n, -a - m) for a, m, n in zip(placed.start, shape, self.space.shape, strict=True)]
        if max(away) > max(self.space.shape):
            raise NnActiveError(
                f"{file}: lies {max(away)} voxels away from the image. Save the label map on the grid of the exported one."
            )
