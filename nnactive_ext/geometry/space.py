"""Where the voxels of an image are in the patient: geometry between arrays and millimetres, no files.

*World* is ITK's and DICOM's LPS in mm (x to the left, y to the back, z up); NIfTI headers, nibabel and Slicer's scene use
RAS, which is world with x and y negated. An *index* is (x, y, z) where ITK names it and (z, y, x) where an array does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, triple

Vector = tuple[float, float, float]
_TOLERANCE = 0.1
"""Voxels by which two lattices may differ: headers hold single precision, viewers write what they have rounded."""


@dataclass(frozen=True)
class Space:
    """The lattice of a (z, y, x) array: ``shape`` (z, y, x); ``spacing`` in mm, ``origin`` (centre of the first voxel, in
    world mm) and ``direction`` (3x3, row-major, columns are the axes) along (x, y, z), all as ITK has them."""

    shape: Triple
    spacing: Vector
    origin: Vector
    direction: tuple[float, ...]

    @classmethod
    def of_image(cls, image: Any) -> Space:
        """Of a 3D SimpleITK image."""
        size = triple(image.GetSize()[::-1])
        return cls(size, _vector(image.GetSpacing()), _vector(image.GetOrigin()), tuple(map(float, image.GetDirection())))

    @classmethod
    def of_properties(cls, properties: Mapping[str, Any], shape: Sequence[int]) -> Space:
        """Of an array that one of nnU-Net's readers returned with ``properties``."""
        if "sitk_stuff" in properties:
            facts = properties["sitk_stuff"]
            direction = tuple(map(float, facts["direction"]))
            return cls(triple(shape), _vector(facts["spacing"]), _vector(facts["origin"]), direction)
        facts = properties.get("nibabel_stuff")
        if facts is None:
            raise ValueError("only images read by SimpleITK or nibabel have a place in the patient")
        # The reorienting reader's array lies along the reoriented affine, the other one's along the file's.
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.asarray(facts.get("reoriented_affine", facts["original_affine"]), float)
        return cls.of_affine(affine, shape)

    @classmethod
    def of_affine(cls, affine: np.ndarray, shape: Sequence[int]) -> Space:
        """Of a 4x4 matrix from index (x, y, z) to world."""
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        direction = tuple((affine[:3, :3] / spacing).ravel().tolist())
        return cls(triple(shape), _vector(spacing), _vector(affine[:3, 3]), direction)

    @property
    def spacing_zyx(self) -> Vector:
        """``spacing`` along the array's axes."""
        x, y, z = self.spacing
        return z, y, x

    @property
    def affine(self) -> np.ndarray:
        """4x4, from index (x, y, z) to world."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    def to_world(self, index: Sequence[float]) -> Vector:
        """The world position of a (continuous) array index (z, y, x); whole numbers are centres of voxels."""
        return _vector(self.affine[:3, :3] @ np.asarray(index, float)[::-1] + self.origin)

    def to_index(self, position: Sequence[float]) -> Vector:
        """The continuous array index (z, y, x) of a world position."""
        offset = np.asarray(position, float) - self.origin
        return _vector(np.linalg.solve(self.affine[:3, :3], offset)[::-1])

    def crop(self, box: Patch) -> Space:
        """The space of the array cut out by ``box``."""
        return Space(box.size, self.spacing, self.to_world(box.start), self.direction)

    def image(self, array: np.ndarray) -> Any:
        """``array`` (z, y, x) as a SimpleITK image in this space."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


@dataclass(frozen=True)
class Alignment:
    """How one array lies on the lattice of another: its axes in the other's order, which of them (of the other's) run
    backwards, and the other's index (z, y, x) of where it then starts."""

    axes: Triple
    flipped: tuple[bool, bool, bool]
    start: Triple

    def turned(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array`` (z, y, x) with the axes of the other one."""
        moved = array.transpose(self.axes)
        z, y, x = (slice(None, None, -1) if flip else slice(None) for flip in self.flipped)
        return moved[z, y, x]


def align(target: Space, given: Space) -> Alignment:
    """How ``given`` lies on the lattice of ``target``; ValueError says how they differ if its voxels lie between.

    Viewers may reorder or flip axes and cut or extend an image when they save it; voxel centres stay where they are.
    """
    between = np.linalg.solve(target.affine, given.affine)  # from the given index to the target's, (x, y, z)
    turn = np.rint(between[:3, :3])
    permutes = (np.abs(turn).sum(0) == 1).all() and (np.abs(turn).sum(1) == 1).all()
    reach = np.array(given.shape[::-1], float) - 1
    start = between[:3, 3]
    # The largest error over the array is at one of its corners.
    worst = (np.abs(between[:3, :3] - turn) @ reach + np.abs(start - np.rint(start))).max() if permutes else math.inf
    if worst > _TOLERANCE:
        raise ValueError(_difference(target, given))
    axes_xyz = [int(np.argmax(np.abs(row))) for row in turn]
    flipped_xyz = [turn[axis, source] < 0 for axis, source in enumerate(axes_xyz)]
    first = np.rint(start)
    for axis, source in enumerate(axes_xyz):
        if flipped_xyz[axis]:
            first[axis] -= given.shape[::-1][source] - 1
    z, y, x = (bool(flip) for flip in flipped_xyz[::-1])
    return Alignment(triple([2 - source for source in axes_xyz[::-1]]), (z, y, x), triple(first[::-1].tolist()))


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


def _vector(values: Any) -> Vector:
    first, second, third = (float(value) for value in values)
    return first, second, third
