"""Partial label masks: ``ignore`` everywhere but in the annotated patches."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.label_values import voxels_per_value
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


def check_values(found: np.ndarray, known: Collection[int], case: str, file: Path) -> None:
    """Refuse label values that are none of ``known``, before a cast to whole numbers could turn them into such.

    Args:
        found: values of any type and shape, as ``file`` holds them.
        known: the values that may be written.
        case: the case they are for.
        file: where they come from.

    Raises:
        NnActiveError: there are others, such as 1.5, -1 or 300.
    """
    others = [(value, n) for value, n in voxels_per_value(found).items() if value not in known]
    if others:
        shown = ", ".join(f"{value:g} ({n:,} voxels)" for value, n in others[:5]) + (", ..." if len(others) > 5 else "")
        raise NnActiveError(
            f"{file}: the label map of {case} holds values that are no label of the experiment: {shown}. It knows "
            f"{', '.join(map(str, sorted(known)))}. Correct the file; no label was written."
        )


def count_voxels(partial: np.ndarray, ignore: int) -> dict[int, int]:
    """Annotated voxels per label value, without ``ignore``."""
    return {value: voxels for value, voxels in voxels_per_value(partial).items() if value != ignore}


def write_label(file: Path, partial: np.ndarray, reader_writer: Any, properties: Mapping[str, Any]) -> None:
    """Write a label map (z, y, x), whole or not at all, with the geometry of the image ``properties`` came from."""
    with label_written(file, partial, reader_writer, properties):
        pass


@contextmanager
def label_written(file: Path, partial: np.ndarray, reader_writer: Any, properties: Mapping[str, Any]) -> Iterator[Path]:
    """As :func:`write_label`; the whole temporary file replaces ``file`` when the block succeeds.

    nnU-Net writes the spacing of a TIFF into a .json file beside it, which goes along.
    """

    def is_whole(temporary: Path) -> bool:
        return np.array_equal(reader_writer.read_seg(str(temporary))[0][0], partial)

    with ExitStack() as leftovers:

        def write(temporary: Path) -> None:
            leftovers.callback(temporary.with_suffix(".json").unlink, missing_ok=True)
            reader_writer.write_seg(partial, str(temporary), dict(properties))

        with written(file, write, is_whole) as temporary:
            yield temporary
            beside = temporary.with_suffix(".json")
            if beside.is_file():  # before the label map, since every version of it has the same spacing
                os.replace(beside, file.with_suffix(".json"))


def move_label(file: Path, folder: Path) -> None:
    """Move a label map that was written whole into another folder, in place of one of its name."""
    beside = file.with_suffix(".json")
    for part in (*([beside] if beside.is_file() else []), file):  # every version of it has the same spacing
        os.replace(part, folder / part.name)
