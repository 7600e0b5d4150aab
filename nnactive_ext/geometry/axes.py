"""The axes of an image reordered and flipped, never resampled: along the patient's for a reader, upright for a radiologist."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.geometry.space import Space

_AXES = ("LR", "PA", "SI")
"""The two letters of each axis of the world (x, y, z), the one it runs towards first."""


def orientation(direction: Sequence[float]) -> str:
    """ITK's code of the patient's axes closest to an image's (x, y, z): "LPS" for the identity."""
    import SimpleITK as sitk

    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines([float(value) for value in direction])


def reoriented(space: Space, code: str = "RAS") -> Space:
    """The space that ``SimpleITK.DICOMOrient(image, code)`` gives an image in ``space``: voxels keep their places in the
    patient, oblique axes stay oblique. A ``code`` that does not name each axis once is a ValueError.

    >>> reoriented(Space((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), "RAS").origin
    (3.0, 2.0, 0.0)
    """
    wanted = [_axis(letter) for letter in code]
    if sorted(wanted) != [0, 1, 2]:
        raise ValueError(f"{code!r} does not name each of the axes L-R, P-A and S-I once")
    now = orientation(space.direction)
    source = [[_axis(letter) for letter in now].index(axis) for axis in wanted]
    flipped = np.array([code[i] != now[source[i]] for i in range(3)])
    size = np.array(space.shape[::-1])[source]
    spacing = np.array(space.spacing)[source]
    direction = np.reshape(space.direction, (3, 3))[:, source]
    # A flipped axis begins where it ended.
    origin = space.origin + direction @ (flipped * (size - 1) * spacing)
    direction = np.where(flipped, -direction, direction)
    z, y, x = (int(n) for n in size[::-1])
    first, second, third = (float(v) for v in spacing)
    a, b, c = (float(v) for v in origin)
    return Space((z, y, x), (first, second, third), (a, b, c), tuple(direction.ravel().tolist()))


def _axis(letter: str) -> int:
    return next((i for i, letters in enumerate(_AXES) if letter in letters), -1)


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
