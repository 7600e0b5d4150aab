"""Which boxes of each pool case are taken: what is annotated, and what has been chosen since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from nnactive_ext.engine import allowed_voxels, free_starts
from nnactive_ext.engine.body import windows_along
from nnactive_ext.geometry.patch import Patch, Triple, clipped_size
from nnactive_ext.query_methods.base import PoolCase

_KEPT = 32
"""Cases whose windows of air are kept in memory, as bits."""


class Occupancy:
    """The pool and its taken boxes; choosing a patch is :meth:`take`. Windows that are nearly all air are not free, either.

    ``overlap``: the share of a patch's voxels that taken boxes may cover before it overlaps (0: not one voxel).
    """

    def __init__(self, pool: Mapping[str, PoolCase], overlap: float = 0.0):
        self.pool = pool
        self.overlap = overlap
        self._taken = {name: list(case.annotated) for name, case in pool.items()}
        self._open: dict[str, np.ndarray | None] = {}

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
        """Bool, one per window start of the case: whether the patch there overlaps nothing taken by more than allowed, and is
        not nearly all air."""
        boxes = [(patch.start, patch.size) for patch in self._taken[name]]
        free = free_starts(self.pool[name].shape, self.patch_size(name), boxes, self.overlap)
        if name not in self._open:
            if len(self._open) >= _KEPT:
                self._open.pop(next(iter(self._open)))
            found = open_starts(self.pool[name])
            self._open[name] = None if found is None else np.packbits(found)
        bits = self._open[name]
        return free if bits is None else free & np.unpackbits(bits, count=free.size).astype(bool).reshape(free.shape)

    def free_centres(self, name: str) -> np.ndarray:
        """Bool, one per voxel (z, y, x): whether the patch around it, moved inside the image, is free."""
        # Moving inside the image clips the start, which on the map of starts is to repeat its edges.
        margins = [(s // 2, s - 1 - s // 2) for s in self.patch_size(name)]
        return np.pad(self.free_starts(name), margins, mode="edge")


def open_starts(case: PoolCase) -> np.ndarray | None:
    """Bool, one per window start of the case: False where the patch is nearly all air; None where no air is left out, also
    because no patch holds enough of the body."""
    body = case.load_body() if case.load_body else None
    if body is None:
        return None
    size = clipped_size(case.patch_size, case.shape)
    found = body.enough([windows_along(n, s) for n, s in zip(case.shape, size, strict=True)])
    return found if found.any() else None


def covered(patch: Patch, boxes: Iterable[Patch]) -> int:
    """How many voxels of the patch the union of the boxes covers; boxes of one case, of any size and place."""
    inside = np.zeros(patch.size, dtype=bool)
    for box in boxes:
        inside[tuple(slice(max(a - o, 0), max(b - o, 0)) for a, b, o in zip(box.start, box.stop, patch.start, strict=True))] = (
            True
        )
    return int(np.count_nonzero(inside))
