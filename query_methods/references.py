"""The reference label maps of the pool: each is read once and kept compressed, and looked at box by box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.label_values import voxels_per_value
from nnactive_ext.geometry.patch import Slices, Triple, triple
from nnactive_ext.parallel import map_cases
from nnactive_ext.query_methods.base import PoolCase

_SMALL = 1 << 16
"""A label map of fewer voxels is not compressed."""
_CHUNK, _BLOCK = 128, 32
"""Voxels along each axis; a block is the least that is decompressed."""


@dataclass(frozen=True)
class Reference:
    """The labels (z, y, x) of one case, compressed to about a hundredth of a byte per voxel.

    ``voxels``: label value -> its number of voxels. ``boxes``: label value -> the smallest box that holds all of them.
    """

    shape: Triple
    voxels: Mapping[int, int]
    boxes: Mapping[int, Slices]
    packed: bytes | np.ndarray = field(repr=False)
    _largest: dict[int, tuple[Slices, bytes, int]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, labels: np.ndarray) -> Reference:
        """Compress ``labels``, whole numbers (z, y, x)."""
        voxels = voxels_per_value(labels)
        least, most = min(voxels), max(voxels)
        fitting = np.result_type(np.min_scalar_type(least), np.min_scalar_type(most))
        labels = np.ascontiguousarray(labels, fitting)
        signed = labels if least >= 0 else np.maximum(labels, 0)
        boxes = dict(enumerate(ndimage.find_objects(signed), start=1))
        whole = tuple(slice(0, n) for n in labels.shape)
        boxes = {value: boxes.get(value, whole) for value in voxels}
        if labels.size < _SMALL:
            return cls(triple(labels.shape), voxels, boxes, labels)
        import blosc2

        chunks, blocks = ([min(n, side) for n in labels.shape] for side in (_CHUNK, _BLOCK))
        how = {"codec": blosc2.Codec.LZ4, "clevel": 1, "nthreads": 1}
        packed = blosc2.asarray(labels, chunks=chunks, blocks=blocks, cparams=how)
        return cls(triple(labels.shape), voxels, boxes, packed.to_cframe())

    @cached_property
    def _array(self) -> Any:
        if isinstance(self.packed, np.ndarray):
            return self.packed
        import blosc2

        found = blosc2.ndarray_from_cframe(self.packed)
        found.schunk.dparams = blosc2.DParams(nthreads=1)  # so small arrays take less time than threads
        return found

    def labels(self, box: Slices) -> np.ndarray:
        """The labels in a box, of which only the blocks that it touches are decompressed."""
        return self._array[box]

    def largest_voxels(self, label: int) -> int:
        """The number of voxels of the largest connected component (26 neighbours) of a label of this case."""
        return self._component(label)[2]

    def largest(self, label: int) -> tuple[Slices, np.ndarray]:
        """The largest connected component of a label of this case: its bounding box, and bool in it."""
        box, bits, _ = self._component(label)
        shape = [s.stop - s.start for s in box]
        return box, np.unpackbits(np.frombuffer(bits, np.uint8), count=int(np.prod(shape))).astype(bool).reshape(shape)

    def _component(self, label: int) -> tuple[Slices, bytes, int]:
        if label not in self._largest:
            outer = self.boxes[label]
            components, number = ndimage.label(self.labels(outer) == label, structure=np.ones((3, 3, 3)))
            sizes = np.bincount(components.ravel(), minlength=number + 1)
            largest = int(np.argmax(sizes[1:])) + 1
            inner = ndimage.find_objects(components, largest)[-1]
            z, y, x = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(outer, inner, strict=True))
            bits = np.packbits(components[inner] == largest).tobytes()
            self._largest[label] = ((z, y, x), bits, int(sizes[largest]))
        return self._largest[label]


class References:
    """The references of a pool by case; what was read is kept."""

    def __init__(self, pool: Mapping[str, PoolCase]):
        self.pool = pool
        self._read: dict[str, Reference] = {}

    def __getitem__(self, name: str) -> Reference:
        if name not in self._read:
            self._read[name] = _read(self.pool[name])
        return self._read[name]

    def read(self, processes: int = 1, progress: bool = False) -> None:
        """Read those of all cases, ``processes`` at a time."""
        names = sorted(set(self.pool) - set(self._read))
        cases = [self.pool[name] for name in names]
        found = map_cases(_read, cases, "Reading reference labels", processes, progress)
        self._read |= dict(zip(names, found, strict=True))


def _read(case: PoolCase) -> Reference:
    return Reference.of(load_reference(case))


def load_reference(case: PoolCase) -> np.ndarray:
    """The reference labels of a case; NnActiveError if it has none or they are of another shape."""
    if case.load_reference is None:
        raise NnActiveError(
            f"{case.name} has no reference labels, which this method needs. Choose another method, such as `random`."
        )
    reference = np.asarray(case.load_reference())
    if reference.shape != tuple(case.shape):
        raise NnActiveError(f"{case.name}: the reference has shape {reference.shape}, the image {tuple(case.shape)}.")
    return reference
