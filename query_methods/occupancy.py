"""Which boxes of each pool case are taken: what is annotated, and what has been chosen since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from nnactive_ext.engine import allowed_voxels, free_starts
from nnactive_ext.geometry.patch import Patch, Triple, clipped_size
from nnactive_ext.query_methods.base import PoolCase


class Occupancy:
    """The pool and its taken boxes; choosing a patch is :meth:`take`.

    ``overlap``: the share of a patch's voxels that taken boxes may cover before it overlaps (0: not one voxel).
    """

    def __init__(self, pool: Mapping[str, PoolCase], overlap: float = 0.0):
        self.pool = pool
        self.overlap = overlap
        self._taken = {name: list(case.annotated) for name, case in pool.items()}

    def overlaps(self, patch: Patch) -> bool:
        """Whether the union of the taken boxes covers more of the patch than allowed."""
        touching = [box for box in self._taken[patch.case] if patch.overlaps(box)]
        allowed = allowed_voxels(patch.size, self.overlap)
        return len(touching) > 0 and (allowed == 0 or covered(patch, touching) > allowed)

    def take(self, patch: Patch) -> None:
        self._taken[patch.case].append(patch)

    def patch_size(self, name: str) -> Triple:
        case = self.pool[name]
        return clipped_size(case.patch_size, case.shape)

    def free_starts(self, name: str) -> np.ndarray:
        """Bool, one per window start of the case: whether the patch there overlaps nothing taken by more than allowed."""
        boxes = [(patch.start, patch.size) for patch in self._taken[name]]
        return free_starts(self.pool[name].shape, self.patch_size(name), boxes, self.overlap)

    def free_centres(self, name: str) -> np.ndarray:
        """Bool, one per voxel (z, y, x): whether the patch around it, moved inside the image, is free."""
        # Moving inside the image clips the start, which on the map of starts is to repeat its edges.
        margins = [(s // 2, s - 1 - s // 2) for s in self.patch_size(name)]
        return np.pad(self.free_starts(name), margins, mode="edge")


def covered(patch: Patch, boxes: Iterable[Patch]) -> int:
    """How many voxels of the patch the union of the boxes covers; boxes of one case, of any size and place."""
    inside = np.zeros(patch.size, dtype=bool)
    for box in boxes:
        inside[tuple(slice(max(a - o, 0), max(b - o, 0)) for a, b, o in zip(box.start, box.stop, patch.start, strict=True))] = (
            True
        )
    return int(np.count_nonzero(inside))
