"""The arrays of an open volume, as its format's reader found them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.multiscale import Level


def unchanged(voxels: np.ndarray) -> np.ndarray:
    return voxels


@dataclass(frozen=True, eq=False)
class Opened:
    """``arrays``: a zarr array for each of ``levels``; ``axes``: a letter of "tczyx" for each of their axes; ``channels``: the
    names that the file states; ``spacing``: what the user gave; ``calibrated``: makes grey values of stored numbers;
    ``sparse``: whether chunks may be missing; ``version``: of OME-Zarr, empty for TIFF."""

    arrays: tuple[Any, ...]
    levels: tuple[Level, ...]
    axes: str
    channels: tuple[str, ...] = ()
    spacing: Vector | None = None
    calibrated: Callable[[np.ndarray], np.ndarray] = unchanged
    sparse: bool = True
    version: str = ""
    units: tuple[str, ...] = ("micrometer",) * 3
    """In which labels of the volume state their scale, along (z, y, x)."""
    mm: Vector = (1e-3, 1e-3, 1e-3)
    """In each of these units."""

    def size(self, axis: str) -> int:
        """The length of an axis; 1 if there is none of this name."""
        return int(self.arrays[0].shape[self.axes.index(axis)]) if axis in self.axes else 1
