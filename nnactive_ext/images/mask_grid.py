"""Brings masks to one grid: whole ones must have it already, those that 3D Slicer cut to what it painted are filled up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.patch import Patch, shared, triple
from nnactive_ext.images.label_files import LabelFile

NOTHING = -1
"""The value of voxels that no mask holds yet."""


def start_of(mask: LabelFile) -> LabelFile:
    """A label map without labels on the grid of its first mask."""
    return replace(mask, labels=np.full(mask.labels.shape, NOTHING, np.int32))


def joined(first: Path, made: LabelFile, file: Path, mask: LabelFile) -> tuple[LabelFile, np.ndarray]:
    """Bring a label map and one more mask to one grid: that of the whole one, or the smallest that holds both if both are cut.

    Args:
        first: the file of the first mask, for messages.
        made: the label map so far (z, y, x), ``NOTHING`` where no mask was.
        file: the file of the mask.
        mask: the mask (z, y, x), bool.

    Returns:
        The label map and the mask (z, y, x) on that grid. A mask that was cut is False where it says nothing.

    Raises:
        NnActiveError: the voxels differ in size or place, two whole ones cover different parts of the image, or what is painted
            in one that was cut lies outside a whole one.
    """
    try:
        placed = align(made.space, mask.space)
    except ValueError as error:
        raise NnActiveError(f"{file}: not on the grid of {first.name}: {error}. Save both on one grid.") from None
    voxels = placed.turned(mask.labels)
    here, there = Patch("", (0, 0, 0), triple(made.labels.shape)), Patch("", placed.start, triple(voxels.shape))
    grid = here if made.whole else there if mask.whole else _around(here, there)
    labels, array = _moved(made.labels, here, grid, NOTHING), _moved(voxels, there, grid, False)
    lost = _fewer(labels != NOTHING, made.labels != NOTHING) if grid != here else grid != there and _fewer(array, voxels)
    if lost or (made.whole and mask.whole and here != there):
        raise NnActiveError(
            f"{file}: covers another part of the image than {first.name}. Save both on one grid (in 3D Slicer: export with the "
            "image as the reference volume)."
        )
    whole = made.whole or mask.whole
    return replace(made, labels=labels, space=made.space.crop(grid), whole=whole), array


def _fewer(now: np.ndarray, before: np.ndarray) -> bool:
    return bool(np.count_nonzero(now) < np.count_nonzero(before))


def _around(one: Patch, other: Patch) -> Patch:
    start, stop = np.minimum(one.start, other.start), np.maximum(one.stop, other.stop)
    return Patch("", triple(start), triple(stop - start))


def _moved(array: np.ndarray, held: Patch, grid: Patch, rest: int) -> np.ndarray:
    """``array``, which lies at ``held``, on ``grid``; ``rest`` where it says nothing."""
    if held == grid:
        return array
    made = np.full(grid.size, rest, array.dtype)
    target, source = shared(grid, held)
    made[target] = array[source]
    return made
