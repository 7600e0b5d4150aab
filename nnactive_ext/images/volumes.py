"""Volumes too large for memory, OME-Zarr or TIFF: what they state, and the voxels of a region of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.patch import Triple
from nnactive_ext.geometry.space import Space, Vector
from nnactive_ext.images.large_tiff import open_tiff
from nnactive_ext.images.multiscale import Level
from nnactive_ext.images.ome_zarr import is_zarr, open_zarr
from nnactive_ext.images.opened import Opened
from nnactive_ext.images.tiff import TIFF, is_tiff, plain_type

VOLUMES = (".ome.zarr", ".zarr", ".ome.zarr.zip", ".zarr.zip", ".ozx", ".zip", *TIFF, ".btf")
"""How names of volumes end."""
_AT_ONCE = 1 << 28
"""So many bytes of chunks are decoded at a time."""
LARGEST_CHUNK = 1 << 30


@dataclass(frozen=True)
class Block:
    """A box of voxels of a volume, from ``start`` on, of ``size`` voxels (z, y, x) on a level, at a time point."""

    volume: Path
    start: Triple
    size: Triple
    level: int = 0
    time: int | None = None
    spacing: Vector | None = None
    """Of the finest level, in mm along (z, y, x), as the user gave it."""


@dataclass(frozen=True, eq=False)
class Volume:
    """An open volume on one of its ``levels``; ``channels``: their names, or as many empty ones."""

    path: Path
    level: Level
    levels: tuple[Level, ...]
    channels: tuple[str, ...]
    time: int | None
    opened: Opened = field(repr=False)

    @property
    def space(self) -> Space:
        """The place of its voxels in mm: its own physical coordinates are taken as ITK's."""
        z, y, x = self.level.origin
        return Space(self.level.shape, self.level.spacing[::-1], (x, y, z), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))

    @property
    def dtype(self) -> np.dtype:
        return self.opened.arrays[self.level.number].dtype

    @property
    def chunks(self) -> Triple:
        """Voxels of a chunk along (z, y, x), which is read and decoded as a whole."""
        chunks = self.opened.arrays[self.level.number].chunks
        z, y, x = (int(chunks[self.opened.axes.index(axis)]) for axis in "zyx")
        return z, y, x

    def on(self, level: int) -> Volume:
        """The same volume on another level."""
        return open_volume(self.path, level, self.time, self.opened.spacing)

    def read(self, channel: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """The voxels (z, y, x) of a box inside the volume.

        Raises:
            NnActiveError: names the file and the box where a chunk is damaged.
        """
        import zarr

        array, axes = self.opened.arrays[self.level.number], self.opened.axes
        box = {axis: slice(a, a + n) for axis, a, n in zip("zyx", start, size, strict=True)}
        index = tuple(box.get(axis, channel if axis == "c" else (self.time or 0)) for axis in axes)
        chunk = math.prod(array.chunks) * array.dtype.itemsize
        try:
            with zarr.config.set({"async.concurrency": max(1, min(10, _AT_ONCE // chunk))}):
                voxels = np.asarray(array[index])
        except MemoryError:
            raise
        except Exception as error:  # codecs raise whatever they stumble over
            where = ", ".join(f"{axis} {box[axis].start} to {box[axis].stop - 1}" for axis in "zyx")
            raise NnActiveError(
                f"{self.path}: the voxels {where} of level {self.level.number} cannot be read, a chunk is damaged or its "
                f"compression is not known: {brief(error)}. Restore the file from its original."
            ) from None
        left = [axis for axis in axes if axis in box]
        voxels = np.transpose(voxels, [left.index(axis) for axis in "zyx"])
        return self.opened.calibrated(plain_type(np.ascontiguousarray(voxels), self.path))

    def missing_chunks(self) -> tuple[int, int]:
        """How many chunks of the level are not in the file, of how many; they are read as the array's fill value."""
        array = self.opened.arrays[self.level.number]
        stored = array.shards or array.chunks  # a shard is one file
        number = math.prod(math.ceil(n / s) for n, s in zip(array.shape, stored, strict=True))
        present = array.nchunks_initialized * math.prod(array.chunks) // math.prod(stored) if self.opened.sparse else number
        return number - present, number


def is_volume(path: Path) -> bool:
    """By its name, or by what lies in it, whether :func:`open_volume` is to read it."""
    return is_zarr(path) or (path.is_file() and path.name.lower().endswith(VOLUMES))


def volume_name(path: Path) -> str:
    """A volume's name without its ending."""
    name = path.name
    ending = next((end for end in sorted(VOLUMES, key=len, reverse=True) if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)] or name


def block_bytes(block: Block) -> int:
    """Bytes of the voxels of one channel of a block."""
    return math.prod(block.size) * open_volume(block.volume, block.level, block.time, block.spacing).dtype.itemsize


@lru_cache(maxsize=4)
def open_volume(path: Path, level: int = 0, time: int | None = None, spacing: Vector | None = None) -> Volume:
    """Open an OME-Zarr image (a folder or a .zip) or a TIFF file; no voxel is read.

    Args:
        path: where it is.
        level: which of its resolutions, 0 the finest.
        time: which time point, from 0; None where there is one only.
        spacing: of the finest level in mm along (z, y, x), for a volume that does not state it.

    Raises:
        NnActiveError: it is damaged or not supported, has no such level, or several time points of which none was chosen.
    """
    if not path.exists():
        raise NnActiveError(f"{path}: no such file or folder (-i).")
    try:
        import zarr

        if int(zarr.__version__.split(".")[0]) < 3:
            raise ImportError
    except ImportError:
        raise NnActiveError(
            f'{path}: large volumes are read with the package zarr 3: pip install "nnactive-ext[zarr]" (Python 3.11 or newer)'
        ) from None
    opened = open_tiff(path, spacing) if is_tiff(path) or path.suffix.lower() == ".btf" else open_zarr(path, spacing)
    levels = opened.levels
    if not 0 <= level < len(levels):
        raise NnActiveError(f"-level {level}: {path} has the levels {'; '.join(map(str, levels))}.")
    times = opened.size("t")
    if times > 1 and time is None:
        raise NnActiveError(f"{path}: it holds {times} time points. Choose one with -time, from 0 to {times - 1}.")
    if time is not None and not 0 <= time < times:
        raise NnActiveError(f"-time {time}: {path} has {times} time point(s), numbered from 0.")
    array = opened.arrays[level]
    if min(levels[level].shape) < 2:
        raise NnActiveError(f"{path}: its level {levels[level]} is a 2D image; 3D images are needed.")
    if array.dtype.kind not in "biuf":
        raise NnActiveError(f"{path}: its voxels are of the type {array.dtype}; real numbers are needed.")
    if (held := math.prod(array.chunks) * array.dtype.itemsize) > LARGEST_CHUNK:
        raise NnActiveError(
            f"{path}: each chunk (or strip) holds {held / 2**30:.1f} GB, which has to be decoded as a whole. Save it again in "
            "smaller chunks, such as 128 x 128 x 128 voxels, or as tiled TIFF."
        )
    channels = opened.size("c")
    names = opened.channels if len(opened.channels) == channels else ("",) * channels
    return Volume(path, levels[level], levels, names, time, opened)
