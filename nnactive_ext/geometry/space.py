"""Where the voxels of an image are in the patient: geometry between arrays and millimetres, no files.

*World* is ITK's and DICOM's LPS in mm (x to the left, y to the back, z up); NIfTI headers, nibabel and Slicer's scene use
RAS, which is world with x and y negated. An *index* is (x, y, z) where ITK names it and (z, y, x) where an array does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, triple

Vector = tuple[float, float, float]


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


def _vector(values: Any) -> Vector:
    first, second, third = (float(value) for value in values)
    return first, second, third
