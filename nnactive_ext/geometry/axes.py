"""The axes of an image reordered and flipped, never resampled, with the arithmetic of ``nibabel.orientations``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.geometry.space import Space, Vector

_WORLD = (("R", "L"), ("A", "P"), ("I", "S"))
"""Where each axis of the world (x, y, z) begins and ends."""
_TOLERANCE = 0.1
"""Voxels by which two lattices may differ: headers hold single precision, viewers write what they have rounded."""
_CANONICAL = "LPI"
"""ITK's code of :data:`ENDS`: its letters are where x, y and z end."""
ENDS = (("H", "F"), ("A", "P"), ("R", "L"))
"""Where the canonical axes begin and end: head to foot, anterior to posterior, right to left."""
_SIDES = ("RL", "AP", "FH")
"""Where world's axes begin and end."""
BETWEEN = 20.0
"""Degrees between an axis and the patient's, from which on it is called oblique and has two letters at its ends."""


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
    from nibabel.orientations import inv_ornt_aff

    turn, size = _turn(space, code), np.array(space.shape[::-1])
    source = np.argsort(turn[:, 0])
    # Not from the matrix, in which spacing and direction are multiplied: these numbers stay as they are.
    direction = np.reshape(space.direction, (3, 3))[:, source] * turn[source, 1]
    first, second, third = (float(space.spacing[axis]) for axis in source)
    a, b, c = (space.affine @ inv_ornt_aff(turn, size))[:3, 3].tolist()
    return Space(triple(size[source][::-1]), (first, second, third), (a, b, c), tuple(direction.ravel().tolist()))


def _turn(space: Space, code: str) -> np.ndarray:
    """From the axes (x, y, z) of ``space`` to those of ``code``: for each of them the new axis and 1, or -1 where it is
    flipped. The code of an oblique space is ITK's, which nnU-Net's readers follow."""
    from nibabel.orientations import axcodes2ornt, ornt_transform

    if sorted("RLAPIS".find(letter) // 2 for letter in code) != [0, 1, 2]:
        raise ValueError(f"{code!r} does not name each of the axes L-R, P-A and S-I once")
    now = axcodes2ornt(tuple(orientation(space.direction)), _WORLD)
    return ornt_transform(now, axcodes2ornt(tuple(code), _WORLD))


@dataclass(frozen=True)
class Turn:
    """The axes of a (z, y, x) array in another order: ``axes``: the array's axis behind each new one; ``flipped``: which of
    the new ones run backwards."""

    axes: Triple
    flipped: tuple[bool, bool, bool]

    @classmethod
    def to_code(cls, space: Space, code: str = "RAS") -> Turn:
        """What :func:`reoriented` does to an array in ``space``."""
        return cls(*_in_array_order(_turn(space, code)))

    @property
    def changes(self) -> bool:
        """Whether it is more than leaving the array as it is."""
        return self.axes != (0, 1, 2) or any(self.flipped)

    @property
    def back(self) -> Turn:
        """The turn that undoes this one."""
        new = triple(np.argsort(self.axes))
        z, y, x = (self.flipped[axis] for axis in new)
        return Turn(new, (z, y, x))

    def turned(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array`` (z, y, x) along the new axes."""
        from nibabel.orientations import apply_orientation

        return apply_orientation(array, self._orientation)

    def turned_space(self, space: Space) -> Space:
        """The space of the turned array: each voxel keeps its place in the patient.

        >>> space = Space((2, 3, 4), (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
        >>> turned = Turn((2, 1, 0), (True, False, False)).turned_space(space)
        >>> turned.shape, turned.spacing, turned.origin
        ((4, 3, 2), (5.0, 1.0, 1.0), (3.0, 0.0, 0.0))
        """
        first = [0, 0, 0]
        for axis, backwards in zip(self.axes, self.flipped, strict=True):
            first[axis] = space.shape[axis] - 1 if backwards else 0
        along = np.reshape(space.direction, (3, 3))[:, ::-1][:, list(self.axes)] * np.where(self.flipped, -1, 1)
        z, y, x = (space.spacing_zyx[axis] for axis in self.axes)
        shape = triple([space.shape[axis] for axis in self.axes])
        return Space(shape, (x, y, z), space.to_world(first), tuple(along[:, ::-1].ravel().tolist()))

    @property
    def _orientation(self) -> np.ndarray:
        """Nibabel's, of the array's axes."""
        new = np.argsort(self.axes)
        return np.stack([new, np.where(self.flipped, -1, 1)[new]], axis=1)


def _in_array_order(turn: np.ndarray) -> tuple[Triple, tuple[bool, bool, bool]]:
    """The fields of a :class:`Turn` from nibabel's orientation of the axes (x, y, z)."""
    source = np.argsort(turn[:, 0])[::-1]
    z, y, x = (bool(turn[axis, 1] < 0) for axis in source)
    return triple(2 - source), (z, y, x)


@dataclass(frozen=True)
class Canonical(Turn):
    """A space turned and flipped, never resampled, so that its axes run as :data:`ENDS` as closely as they can.

    An oblique space keeps its obliqueness, which :attr:`tilt` tells.
    """

    space: Space

    @classmethod
    def of(cls, space: Space) -> Canonical:
        return cls(*_in_array_order(_turn(space, _CANONICAL)), space)

    @property
    def spacing(self) -> Vector:
        """In mm, along the canonical axes."""
        return reoriented(self.space, _CANONICAL).spacing_zyx

    @property
    def tilt(self) -> float:
        """The largest angle, in degrees, between a canonical axis and the patient's."""
        along = np.abs(np.diag(np.reshape(reoriented(self.space, _CANONICAL).direction, (3, 3))))
        return math.degrees(math.acos(min(1.0, along.min())))

    @property
    def directions(self) -> np.ndarray:
        """Columns: where the canonical axes run in world."""
        return np.reshape(reoriented(self.space, _CANONICAL).direction, (3, 3))[:, ::-1]

    def ends(self, axis: int) -> tuple[str, str]:
        """What is near the beginning and the end of a canonical axis: the patient's side, or of an oblique axis the two
        nearest, the nearer one first."""
        along = self.directions[:, axis]
        return side_of(-along), side_of(along)

    def box(self, box: Patch) -> Patch:
        """``box`` in voxels of the canonical array."""
        first, last = self._voxel(box.start), self._voxel([stop - 1 for stop in box.stop])
        return Patch(box.case, triple(np.minimum(first, last)), triple(np.abs(last - first) + 1))

    def middle(self, box: Patch) -> Triple:
        """The voxel of the canonical array in the middle of ``box``; of two the one that comes later in the given array."""
        return triple(self._voxel(_middle(box)))

    def position(self, box: Patch) -> tuple[tuple[float, str], ...]:
        """How far, in mm, the middle voxel of ``box`` is from world's origin, and towards where, along the canonical axes."""
        world = self.space.to_world(_middle(box))
        ends = (("R", "L"), ("A", "P"), ("F", "H"))
        sides = [(abs(mm), letters[mm >= 0]) for mm, letters in zip(world, ends, strict=True)]
        return tuple(reversed(sides))

    def _voxel(self, index: Sequence[int]) -> np.ndarray:
        """The canonical array's index of a voxel of the given array."""
        from nibabel.orientations import inv_ornt_aff

        back = inv_ornt_aff(self._orientation, self.space.shape)
        return np.rint(np.linalg.solve(back, [*index, 1])[:3]).astype(int)


def side_of(direction: Any) -> str:
    """The sides of the patient that a unit vector of world points to.

    >>> side_of((0.0, 0.1, 0.995)), side_of((0.77, 0.0, -0.64))
    ('H', 'LF')
    """
    found = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    shown = [axis for axis in found if abs(direction[axis]) > math.sin(math.radians(BETWEEN))][:2]
    return "".join(_SIDES[axis][int(direction[axis] > 0)] for axis in shown)


def _middle(box: Patch) -> list[int]:
    return [a + n // 2 for a, n in zip(box.start, box.size, strict=True)]


@dataclass(frozen=True)
class Alignment(Turn):
    """How one array lies on the lattice of another: its axes in the other's order, and the other's index (z, y, x) of where
    it then starts."""

    start: Triple


def align(target: Space, given: Space) -> Alignment:
    """How ``given`` lies on the lattice of ``target``; ValueError says how they differ if its voxels lie between.

    Viewers may reorder or flip axes and cut or extend an image when they save it; voxel centres stay where they are.
    """
    from nibabel.orientations import inv_ornt_aff, io_orientation

    size = np.array(given.shape[::-1])
    between = np.linalg.solve(target.affine, given.affine)  # from the given index to the target's, (x, y, z)
    turn = io_orientation(between)
    back = inv_ornt_aff(turn, size)
    exact = np.linalg.inv(back)
    # The largest error over the array is at one of its corners.
    start = np.rint(between[:3, 3])
    worst = (np.abs(between - exact)[:3, :3] @ (size - 1) + np.abs(between[:3, 3] - start)).max()
    if not np.array_equal(np.rint(between[:3, :3]), exact[:3, :3]) or worst > _TOLERANCE:
        raise ValueError(_difference(target, given))
    first = start + exact[:3, :3] @ back[:3, 3]
    return Alignment(*_in_array_order(turn), triple(first[::-1]))


def _difference(target: Space, given: Space) -> str:
    if not np.allclose(sorted(target.spacing), sorted(given.spacing), rtol=1e-3):
        return f"its spacing is {_text(given.spacing)} mm instead of {_text(target.spacing)} mm (x, y, z)"
    turn = np.reshape(target.direction, (3, 3)).T @ np.reshape(given.direction, (3, 3))
    fits = np.allclose(target.spacing, np.abs(np.rint(turn)) @ np.asarray(given.spacing), rtol=1e-3)
    if not np.allclose(turn, np.rint(turn), atol=1e-3) or (not fits and np.allclose(target.spacing, given.spacing, rtol=1e-3)):
        return f"its direction is {_text(given.direction)} instead of {_text(target.direction)}"
    if not fits:
        return f"its spacing is {_text(given.spacing)} mm instead of {_text(target.spacing)} mm (x, y, z)"
    shift = np.subtract(given.origin, target.to_world(np.rint(target.to_index(given.origin)).tolist())).tolist()
    return f"its origin {_text(given.origin)} lies between the voxels of the image, {_text(shift)} mm off (x, y, z)"


def _text(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value + 0.0:.4g}" for value in values) + ")"
