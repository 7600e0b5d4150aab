"""Crops turned the way radiologists look at them: head, front and the patient's right come first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.geometry.space import Space

ENDS = (("H", "F"), ("A", "P"), ("R", "L"))
"""Where the upright axes begin and end: head to foot, anterior to posterior, right to left."""
_INCREASING = "LPH"
"""Where world x, y and z grow."""


@dataclass(frozen=True)
class Upright:
    """A space turned and flipped, never resampled, so that its axes run as :data:`ENDS` as closely as they can.

    ``axes``: the array axis behind each upright one; ``flipped``: which upright axes run against the array's. An oblique
    space keeps its obliqueness, which :attr:`tilt` tells.
    """

    space: Space
    axes: Triple
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, space: Space) -> Upright:
        columns = np.reshape(space.direction, (3, 3))[:, ::-1]  # by array axis (z, y, x) instead of ITK's (x, y, z)
        world = (2, 1, 0)  # the world axis of each upright one
        axes = max(permutations(range(3)), key=lambda order: sum(abs(columns[w, a]) for w, a in zip(world, order, strict=True)))
        along = [columns[w, a] for w, a in zip(world, axes, strict=True)]
        return cls(space, triple(axes), (bool(along[0] > 0), bool(along[1] < 0), bool(along[2] < 0)))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """In mm, along the upright axes."""
        first, second, third = (self.space.spacing[2 - axis] for axis in self.axes)
        return first, second, third

    @property
    def tilt(self) -> float:
        """The largest angle, in degrees, between an upright axis and the patient's."""
        columns = np.reshape(self.space.direction, (3, 3))[:, ::-1]
        along = [abs(columns[w, a]) for w, a in zip((2, 1, 0), self.axes, strict=True)]
        return math.degrees(math.acos(min(1.0, *along)))

    def array(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array`` (z, y, x) along the upright axes."""
        first, second, third = (slice(None, None, -1) if flip else slice(None) for flip in self.flipped)
        return array.transpose(self.axes)[first, second, third]

    def box(self, box: Patch) -> Patch:
        """``box`` in voxels of the upright array."""
        size = [box.size[axis] for axis in self.axes]
        start = [
            self.space.shape[axis] - box.stop[axis] if flip else box.start[axis]
            for axis, flip in zip(self.axes, self.flipped, strict=True)
        ]
        return Patch(box.case, triple(start), triple(size))

    def middle(self, box: Patch) -> Triple:
        """The voxel of the upright array in the middle of ``box``; of two the one that comes later in the given array."""
        middle = [a + n // 2 for a, n in zip(box.start, box.size, strict=True)]
        return triple(
            [
                self.space.shape[axis] - 1 - middle[axis] if flip else middle[axis]
                for axis, flip in zip(self.axes, self.flipped, strict=True)
            ]
        )

    def position(self, box: Patch) -> tuple[tuple[float, str], ...]:
        """How far, in mm, the middle voxel of ``box`` is from world's origin, and towards where, along the upright axes."""
        world = self.space.to_world([a + n // 2 for a, n in zip(box.start, box.size, strict=True)])
        ends = {"L": "R", "P": "A", "H": "F"}
        sides = [(abs(mm), plus if mm >= 0 else ends[plus]) for mm, plus in zip(world, _INCREASING, strict=True)]
        return tuple(reversed(sides))
