"""Which boxes of each pool case are taken: what is annotated, and what has been chosen since."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnactive_ext.engine import free_starts
from nnactive_ext.patch import Patch, Triple, clipped_size
from nnactive_ext.query_methods.base import PoolCase


class Occupancy:
    """The pool and its taken boxes; choosing a patch is :meth:`take`."""

    def __init__(self, pool: Mapping[str, PoolCase]):
        self.pool = pool
        self._taken = {name: list(case.annotated) for name, case in pool.items()}

    def overlaps(self, patch: Patch) -> bool:
        """Whether the patch shares a voxel with a taken box."""
        return patch.overlaps_any(self._taken[patch.case])

    def take(self, patch: Patch) -> None:
        self._taken[patch.case].append(patch)

    def patch_size(self, name: str) -> Triple:
        case = self.pool[name]
        return clipped_size(case.patch_size, case.shape)

    def free_starts(self, name: str) -> np.ndarray:
        """Bool, one per window start of the case: whether the patch there is free, overlapping nothing taken."""
        boxes = [(patch.start, patch.size) for patch in self._taken[name]]
        return free_starts(self.pool[name].shape, self.patch_size(name), boxes)

    def free_centres(self, name: str) -> np.ndarray:
        """Bool, one per voxel (z, y, x): whether the patch around it, moved inside the image, is free."""
        # Moving inside the image clips the start, which on the map of starts is to repeat its edges.
        margins = [(s // 2, s - 1 - s // 2) for s in self.patch_size(name)]
        return np.pad(self.free_starts(name), margins, mode="edge")
