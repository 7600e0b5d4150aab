"""The query patch: a half-open box of voxels in one case; geometry only, no files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Triple = tuple[int, int, int]
"""Three whole numbers along (z, y, x)."""


def triple(values: Iterable) -> Triple:
    """Three numbers as a tuple of ints; anything else is a ValueError."""
    z, y, x = (int(v) for v in values)
    return z, y, x


Slices = tuple[slice, slice, slice]
"""An index for a (z, y, x) array."""


@dataclass(frozen=True, order=True)
class Patch:
    """A box ``start <= voxel < start + size`` along (z, y, x) of the case called ``case``.

    Patches order by case name, then position, which is how ties are broken everywhere.
    """

    case: str
    start: Triple
    size: Triple

    @property
    def stop(self) -> Triple:
        (z, y, x), (depth, height, width) = self.start, self.size
        return z + depth, y + height, x + width

    @property
    def slices(self) -> Slices:
        """Index for a (z, y, x) array."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    @property
    def voxels(self) -> int:
        return self.size[0] * self.size[1] * self.size[2]

    def overlaps(self, other: Patch) -> bool:
        """Whether the two share a voxel; boxes that only touch do not, nor do boxes of different cases."""
        return self.case == other.case and all(
            a < c + m and c < a + n for a, n, c, m in zip(self.start, self.size, other.start, other.size, strict=True)
        )

    def overlaps_any(self, others: Iterable[Patch]) -> bool:
        return any(self.overlaps(other) for other in others)

    def inside(self, shape: Sequence[int]) -> bool:
        """Whether the box is not empty and lies within an image of ``shape``."""
        return all(0 <= a < b <= n for a, b, n in zip(self.start, self.stop, shape, strict=True))


def shared(one: Patch, other: Patch) -> tuple[Slices, Slices]:
    """The voxels that two boxes of one lattice share, as an index into an array of each box; empty where they share none.

    >>> shared(Patch("a", (0, 0, 0), (4, 4, 4)), Patch("a", (3, 0, -1), (4, 4, 4)))[1]
    (slice(0, 1, None), slice(0, 4, None), slice(1, 4, None))
    """
    low = [max(a, b) for a, b in zip(one.start, other.start, strict=True)]
    high = [max(a, min(m, n)) for a, m, n in zip(low, one.stop, other.stop, strict=True)]

    def within(box: Patch) -> Slices:
        z, y, x = (slice(a - s, b - s) for a, b, s in zip(low, high, box.start, strict=True))
        return z, y, x

    return within(one), within(other)


def clipped_size(size: Sequence[int], shape: Sequence[int]) -> Triple:
    """The patch size in an image of ``shape``: where the patch is larger, the image's extent."""
    return triple([min(int(s), int(n)) for s, n in zip(size, shape, strict=True)])


def centred(case: str, centre: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> Patch:
    """The patch around ``centre``, moved inside the image; its size changes only where it is larger than the image."""
    size = clipped_size(size, shape)
    start = [min(max(int(c) - s // 2, 0), n - s) for c, s, n in zip(centre, size, shape, strict=True)]
    return Patch(case, triple(start), size)
