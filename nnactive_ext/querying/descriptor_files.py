"""Descriptors that people made themselves: ``FOLDER/CASE.npz`` with boxes of the image and a vector for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_arrays, sha256
from nnactive_ext.geometry.patch import Patch, Triple
from nnactive_ext.words import listed

KEYS = ("start", "size", "descriptor")


class DescriptorFiles:
    """The files of a folder: ``start`` and ``size`` (k, 3), voxels (z, y, x) of the image as nnU-Net reads it, and
    ``descriptor`` (k, D), of k boxes of any size, which may overlap.

    ``shapes``: case -> voxels (z, y, x) of its image. A case without a file is an NnActiveError.
    """

    def __init__(self, folder: Path | str, shapes: Mapping[str, Triple]):
        self._folder, self._shapes = Path(folder), shapes
        self._dimensions: tuple[int, Path] | None = None
        missing = [case for case in shapes if not self.file(case).is_file()]
        if missing:
            raise NnActiveError(
                f"{self._folder}: there is no CASE.npz with descriptors for {listed(missing)}. "
                "Write one for each case of the pool."
            )

    def file(self, case: str) -> Path:
        return self._folder / f"{case}.npz"

    def digest(self, case: str) -> str:
        """The SHA-256 of a case's file."""
        return sha256(self.file(case))

    def __call__(self, case: str, boxes: Sequence[Patch]) -> tuple[np.ndarray, np.ndarray]:
        """The descriptor of each box: the mean of those of the file's boxes that touch it, weighted by the voxels they share.

        Returns:
            float32 (boxes, D), 0 where no box touches; and whether one does, bool (boxes,).

        Raises:
            NnActiveError: the file is damaged, holds NaN, a box outside the image, or vectors of another D than earlier files.
        """
        start, size, vectors = self._read(case)
        stop = start + size
        found = np.zeros((len(boxes), vectors.shape[1]))
        there = np.zeros(len(boxes), bool)
        for number, box in enumerate(boxes):
            shared = np.clip(np.minimum(stop, box.stop) - np.maximum(start, box.start), 0, None).prod(axis=1)
            if shared.any():
                touching = np.flatnonzero(shared)
                weights = shared[touching] / shared[touching].sum()
                found[number] = weights @ vectors[touching].astype(np.float64)
                there[number] = True
        return found.astype(np.float32), there

    def _read(self, case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        file = self.file(case)
        remedy = f"It needs the arrays {', '.join(KEYS)}, written with numpy.savez and without pickled objects."
        content = read_arrays(file, remedy)
        if missing := [key for key in KEYS if key not in content]:
            raise NnActiveError(f"{file}: cannot be read as descriptors ({listed(missing)} missing). {remedy}")
        start, size, vectors = (content[key] for key in KEYS)
        if problem := self._problem(case, start, size, vectors):
            raise NnActiveError(f"{file}: {problem}")
        if self._dimensions and vectors.shape[1] != self._dimensions[0]:
            raise NnActiveError(
                f"{file}: its descriptors have {vectors.shape[1]} dimensions, those of {self._dimensions[1].name} have "
                f"{self._dimensions[0]}. Make all of them in the same way."
            )
        self._dimensions = vectors.shape[1], file
        return start.astype(np.int64), size.astype(np.int64), vectors

    def _problem(self, case: str, start: np.ndarray, size: np.ndarray, vectors: np.ndarray) -> str:
        k = len(vectors) if vectors.ndim == 2 else -1
        if k < 0 or vectors.shape[1] == 0 or start.shape != (k, 3) or size.shape != (k, 3):
            return (
                f"its arrays have the shapes {start.shape}, {size.shape} and {vectors.shape}. start and size need (k, 3), "
                "descriptor (k, D)."
            )
        if not all(np.issubdtype(a.dtype, np.integer) for a in (start, size)) or not np.issubdtype(vectors.dtype, np.floating):
            found = f"{start.dtype}, {size.dtype}, {vectors.dtype}"
            return f"start and size must be whole numbers and descriptor float32, not {found}."
        if not np.isfinite(vectors).all():
            return "a descriptor holds NaN or infinite values. Correct the encoder."
        outside = np.flatnonzero(((start < 0) | (size < 1) | (start + size > self._shapes[case])).any(axis=1))
        if outside.size:
            i = int(outside[0])
            return (
                f"box {i} at {tuple(start[i].tolist())} of size {tuple(size[i].tolist())} is not inside the image of "
                f"{tuple(self._shapes[case])} voxels. Boxes are in voxels (z, y, x) of the image as nnU-Net reads it."
            )
        return ""


def of_folder(folder: str, shapes: Iterable[tuple[str, Triple]]) -> DescriptorFiles | None:
    """The files of ``file:FOLDER``; None where a member describes patches."""
    return DescriptorFiles(folder, dict(shapes)) if folder else None
