"""Opens large TIFF files (BigTIFF, tiled, compressed, pyramids) as arrays of which regions are read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.multiscale import SPACE, Level
from nnactive_ext.images.opened import Opened
from nnactive_ext.images.tiff import axes_problem, calibrated, tiff_header
from nnactive_ext.images.tiff_spacing import decided_spacing


def open_tiff(path: Path, spacing: Vector | None) -> Opened:
    """Open a TIFF file; its first voxel lies at 0 mm.

    Args:
        path: the file.
        spacing: of the finest level in mm along (z, y, x), if the file does not state it.

    Raises:
        NnActiveError: it is damaged, no volume, or its spacing is not known.
    """
    import tifffile
    import zarr

    header = tiff_header(path)
    if problem := axes_problem(header, timed=True):
        raise NnActiveError(f"{path}: {problem}.")
    finest = decided_spacing(path, header.stated, spacing)
    try:
        tif = tifffile.TiffFile(path)  # open as long as its arrays are
        arrays: list[Any] = [zarr.open(tif.series[0].aszarr(level=n), mode="r") for n in range(len(tif.series[0].levels))]
    except Exception as error:
        raise NnActiveError(f"{path}: cannot be read as TIFF: {brief(error)}") from None
    axes = header.axes.lower()
    whole = [arrays[0].shape[axes.index(axis)] for axis in SPACE]
    levels = []
    for number, array in enumerate(arrays):
        shape = triple(array.shape[axes.index(axis)] for axis in SPACE)
        z, y, x = (mm * n / m for mm, n, m in zip(finest, whole, shape, strict=True))
        levels.append(Level(number, f"level {number}", shape, (z, y, x), (0.0, 0.0, 0.0)))
    return Opened(tuple(arrays), tuple(levels), axes, header.names, spacing, partial(calibrated, tif=tif), sparse=False)
