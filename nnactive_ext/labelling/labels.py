"""Partial label masks: ``ignore`` everywhere but in the annotated patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple
from nnactive_ext.images.writing import written


def blank(shape: Triple, ignore: int) -> np.ndarray:
    """A label map (z, y, x) in which nothing is annotated."""
    return np.full(shape, ignore, dtype=np.uint8 if ignore < 255 else np.uint16)


def fill(partial: np.ndarray, patches: Iterable[Patch], answers: np.ndarray) -> np.ndarray:
    """``partial`` with the voxels of ``patches`` copied from ``answers`` (same shape), in place."""
    for patch in patches:
        partial[patch.slices] = answers[patch.slices]
    return partial


def count_voxels(partial: np.ndarray, ignore: int) -> dict[int, int]:
    """Annotated voxels per label value, without ``ignore``."""
    values, counts = np.unique(partial, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v != ignore}


def write_label(file: Path, partial: np.ndarray, reader_writer: Any, properties: Mapping[str, Any]) -> None:
    """Write a label map (z, y, x), whole or not at all, with the geometry of the image ``properties`` came from."""

    def is_whole(temporary: Path) -> bool:
        return np.array_equal(reader_writer.read_seg(str(temporary))[0][0], partial)

    with written(file, lambda temporary: reader_writer.write_seg(partial, str(temporary), dict(properties)), is_whole):
        pass
