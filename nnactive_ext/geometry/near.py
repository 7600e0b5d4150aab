"""Which of many patches a patch overlaps, without a look at those that lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Generic, TypeVar

from nnactive_ext.geometry.patch import Patch

T = TypeVar("T")


class Near(Generic[T]):
    """Patches of one case, each with something that belongs to it, sorted into cells of ``side`` voxels (z, y, x).

    >>> near = Near[str]((4, 4, 4))
    >>> near.add(Patch("a", (0, 0, 0), (4, 4, 4)), "first")
    >>> near.overlapping(Patch("a", (3, 0, 0), (4, 4, 4)))
    [(Patch(case='a', start=(0, 0, 0), size=(4, 4, 4)), 'first')]
    """

    def __init__(self, side: Sequence[int]) -> None:
        self._side = [max(1, n) for n in side]
        self._cells: dict[tuple[int, ...], list[int]] = {}
        self._added: list[tuple[Patch, T]] = []

    def add(self, patch: Patch, belonging: T) -> None:
        for cell in self._of(patch):
            self._cells.setdefault(cell, []).append(len(self._added))
        self._added.append((patch, belonging))

    def overlapping(self, patch: Patch) -> list[tuple[Patch, T]]:
        """Those that were added and share a voxel with ``patch``, in the order in which they were added."""
        if not self._added:
            return []
        numbers = {number for cell in self._of(patch) for number in self._cells.get(cell, ())}
        return [self._added[number] for number in sorted(numbers) if self._added[number][0].overlaps(patch)]

    def _of(self, patch: Patch) -> Iterator[tuple[int, ...]]:
        """The cells that a patch reaches."""
        z, y, x = [
            range(a // side, (a + n - 1) // side + 1) for a, n, side in zip(patch.start, patch.size, self._side, strict=True)
        ]
        return product(z, y, x)
