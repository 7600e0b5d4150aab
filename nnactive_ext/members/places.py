"""Where network patches lie to describe boxes of an image: one around each box, or several side by side over a larger one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, triple


@dataclass(frozen=True)
class Place:
    """A network patch that begins at ``start``, and the ``part`` of a box that it describes, both in voxels of the padded
    image.

    The parts of a box are apart and fill it.
    """

    start: Triple
    part: Patch

    @property
    def within(self) -> Patch:
        """``part`` in voxels of the network patch."""
        start = [a - b for a, b in zip(self.part.start, self.start, strict=True)]
        return Patch(self.part.case, triple(start), self.part.size)


def padding(shape: Sequence[int], window: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros before and after an image of ``shape`` along each axis, as nnU-Net pads what is smaller than a network patch."""
    missing = [max(0, w - n) for n, w in zip(shape, window, strict=True)]
    return [(m // 2, m - m // 2) for m in missing]


def places(box: Patch, window: Triple, shape: Triple) -> list[Place]:
    """The network patches that describe a box of an image.

    Along an axis along which the box fits into the network patch, this is centred on it and moved inside the padded image.
    Along another one there are ceil(size / window), equally spaced from the box's start to its end, and each describes the
    voxels that lie deepest in it, the first of those equally deep.

    Args:
        box: in voxels of the image.
        window: the network patch (z, y, x); 1 along z for a 2D network.
        shape: of the image.

    >>> [(p.start[2], p.part.start[2], p.part.size[2]) for p in places(Patch("", (0, 0, 1), (1, 1, 7)), (1, 1, 4), (1, 1, 9))]
    [(1, 1, 4), (4, 5, 3)]
    """
    axes = []
    for axis, (before, after) in enumerate(padding(shape, window)):
        first, size, extent = box.start[axis] + before, box.size[axis], shape[axis] + before + after
        axes.append(_along(first, size, window[axis], extent))
    return [
        Place(triple([a for a, _, _ in one]), Patch(box.case, triple([b for _, b, _ in one]), triple([n for _, _, n in one])))
        for one in itertools.product(*axes)
    ]


def _along(first: int, size: int, window: int, extent: int) -> list[tuple[int, int, int]]:
    """Along one axis: start of each network patch, and start and size of the part of the box that it describes."""
    if size <= window:
        # Half a voxel is rounded down, so that equal boxes have equal surroundings.
        start = min(max(first - (window - size) // 2, 0), extent - window)
        return [(start, first, size)]
    number = -(-size // window)
    starts = np.round(np.linspace(first, first + size - window, number)).astype(int).tolist()
    # A voxel v lies deeper in the first of two neighbours while its centre v + 1/2 is not beyond the middle of their centres.
    edges = [first, *((a + b + window + 1) // 2 for a, b in itertools.pairwise(starts)), first + size]
    return [(start, a, b - a) for start, (a, b) in zip(starts, itertools.pairwise(edges), strict=True)]
