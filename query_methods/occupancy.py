"""Which boxes of each pool case are taken: what is annotated, and what has been chosen since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from nnactive_ext.engine import allowed_voxels, free_starts
from nnactive_ext.engine.body import windows_along
from nnactive_ext.geometry.patch import Patch, Slices, Triple, clipped_size
from nnactive_ext.query_methods.base import PoolCase

_KEPT = 32
"""Cases whose windows of air are kept in memory, as bits."""
_MAP_BYTES = 1 << 29
"""Of maps of free windows that are kept in memory, but for one."""


class Occupancy:
    """The pool and its taken boxes; choosing a patch is :meth:`take`. Windows that are nearly all air are not free, either.

    ``overlap``: the share of a patch's voxels that taken boxes may cover before it overlaps (0: not one voxel).
    """

    def __init__(self, pool: Mapping[str, PoolCase], overlap: float = 0.0):
        self.pool = pool
        self.overlap = overlap
        self._taken = {name: list(case.annotated) for name, case in pool.items()}
        self._open: dict[str, np.ndarray | None] = {}
        self._maps: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def overlaps(self, patch: Patch) -> bool:
        """Whether the union of the taken boxes covers more of the patch than allowed."""
        touching = [box for box in self._taken[patch.case] if patch.overlaps(box)]
        allowed = allowed_voxels(patch.size, self.overlap)
        return len(touching) > 0 and (allowed == 0 or covered(patch, touching) > allowed)

    def take(self, patch: Patch) -> None:
        self._taken[patch.case].append(patch)
        if self.overlap:
            self._maps.pop(patch.case, None)
        elif patch.case in self._maps:
            free, planes = self._maps[patch.case]
            size = self.patch_size(patch.case)
            z, y, x = (slice(max(a - s + 1, 0), max(b, 0)) for a, b, s in zip(patch.start, patch.stop, size, strict=True))
            planes[z] -= np.count_nonzero(free[z, y, x], axis=(1, 2))
            free[z, y, x] = False

    def patch_size(self, name: str) -> Triple:
        case = self.pool[name]
        return clipped_size(case.patch_size, case.shape)

    def free_starts(self, name: str) -> np.ndarray:
        """Bool, one per window start of the case: whether the patch there overlaps nothing taken by more than allowed, and is
        not nearly all air."""
        return self._map(name)[0].copy()

    def has_room(self, name: str) -> bool:
        """Whether any window of the case is free."""
        return bool(self._map(name)[1].any())

    def draw_start(self, name: str, rng: np.random.Generator) -> Triple | None:
        """The start of a free window, uniformly; None if there is none."""
        free, planes = self._map(name)
        return draw_true(free, rng, planes)

    def free_centres(self, name: str, box: Slices | None = None) -> np.ndarray:
        """Bool, one per voxel (z, y, x) of the case, or of a box in it: whether the patch around it, moved inside the image, is
        free."""
        free, _ = self._map(name)
        shape, size = self.pool[name].shape, self.patch_size(name)
        inside, margins = [], []
        for b, s, n in zip(box or [slice(0, n) for n in shape], size, free.shape, strict=True):
            # Moving inside the image clips the start, which on the map of starts is to repeat its edges.
            low, high = b.start - s // 2, b.stop - s // 2
            inside.append(slice(min(max(low, 0), n - 1), max(min(high, n), 1)))
            length = inside[-1].stop - inside[-1].start
            before = min(max(-low, 0), b.stop - b.start - length)
            margins.append((before, b.stop - b.start - length - before))
        return np.pad(free[tuple(inside)], margins, mode="edge")

    def _map(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The map of free windows of a case, bool, and how many are free in each of its planes along z."""
        if name not in self._maps:
            boxes = [(patch.start, patch.size) for patch in self._taken[name]]
            free = free_starts(self.pool[name].shape, self.patch_size(name), boxes, self.overlap)
            if (bits := self._open_bits(name)) is not None:
                free &= np.unpackbits(bits, count=free.size).astype(bool).reshape(free.shape)
            while self._maps and sum(kept.size for kept, _ in self._maps.values()) + free.size > _MAP_BYTES:
                self._maps.pop(next(iter(self._maps)))
            self._maps[name] = free, np.count_nonzero(free, axis=(1, 2))
        return self._maps[name]

    def _open_bits(self, name: str) -> np.ndarray | None:
        if name not in self._open:
            if len(self._open) >= _KEPT:
                self._open.pop(next(iter(self._open)))
            found = open_starts(self.pool[name])
            self._open[name] = None if found is None else np.packbits(found)
        return self._open[name]


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


def draw_true(mask: np.ndarray, rng: np.random.Generator, planes: np.ndarray | None = None) -> Triple | None:
    """The position of one true voxel of a (z, y, x) mask, uniformly; None if there is none. ``planes``: how many of them are in
    each plane along z, where that is known."""
    # By plane, because the list of all true voxels can be many times larger than the mask.
    total = np.cumsum(np.count_nonzero(mask, axis=(1, 2)) if planes is None else planes)
    if total[-1] == 0:
        return None
    index = int(rng.integers(total[-1]))
    z = int(np.searchsorted(total, index, side="right"))
    from_end = index - int(total[z])
    y, x = divmod(int(np.flatnonzero(mask[z])[from_end]), mask.shape[2])
    return z, y, x
