"""Reads the names of labels that 3D Slicer keeps beside a label map that it exported, in a colour table.

Slicer numbers segments by their order when it exports them, so the values alone would be those of other classes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.label_images import READABLE
from nnactive_ext.images.segment_names import HELPER, Segment, folded_name
from nnactive_ext.paths import is_own_file

_EXPORTED = ".labels.csv"
"""Added to the name of a label map by "Export to files"."""
_SAVED = ("_ColorTable.csv", "_ColorTable.ctbl", "_ColorTable.txt")
"""Added by "Save Data" to the name of a segmentation or of the label map that it was exported to."""
_LABEL_MAP = "-label"
"""Added to the name of a segmentation for the label map that it is exported to."""
_REMEDY = "Save the segmentation as .seg.nrrd in 3D Slicer"


def tables_of(file: Path) -> list[Path]:
    """The files, whether they exist or not, in which Slicer would name the labels of the label map ``file``."""
    ending = max((e for e in READABLE if file.name.lower().endswith(e)), key=len, default="")
    stem = file.name[: len(file.name) - len(ending)]
    stems = dict.fromkeys((stem, stem.removesuffix(_LABEL_MAP)))
    return [file.with_name(f"{stem}{_EXPORTED}"), *(file.with_name(s + added) for s in stems for added in _SAVED)]


def exported_segments(file: Path, layers: np.ndarray) -> list[Segment] | None:
    """The segments of a label map by Slicer's colour tables beside it; None if there are none.

    Args:
        file: a label map without names in its header.
        layers: its voxels (layer, z, y, x).

    Raises:
        NnActiveError: a table cannot be read, two tables differ, or the segment that confined the paint to the patch was
            exported, too: in one layer it covers everything that was painted.
    """
    found = {table: _read(file, table) for table in tables_of(file) if is_own_file(table)}
    if not found:
        return None
    (table, segments), *others = found.items()
    if differing := [other.name for other, told in others if told != segments]:
        raise NnActiveError(f"{file}: {table.name} and {differing[0]} beside it name its labels differently. {_REMEDY}.")
    helper = [segment.value for segment in segments if folded_name(segment.name) == folded_name(HELPER)]
    if helper and np.isin(layers, helper).any():
        raise NnActiveError(
            f"{file}: the segment {HELPER!r} was exported, too, and covers what was painted. {_REMEDY}, or hide {HELPER!r} and "
            "export the visible segments only."
        )
    return segments


def _read(file: Path, table: Path) -> list[Segment]:
    try:
        text = table.read_text(encoding="utf-8")
        rows = _rows(text) if table.suffix == ".csv" else _columns(text)
        found = [(int(value), name.strip()) for value, name in rows]
        named = dict(found)
        if len(named) < len(set(found)):
            raise ValueError("it names a value twice")
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise NnActiveError(
            f"{file}: {table.name} beside it, which names its labels, cannot be read ({error}). {_REMEDY}, or move "
            f"{table.name} elsewhere if the values are those of the dataset."
        ) from None
    return [Segment(name, 0, value) for value, name in sorted(named.items()) if name]


def _rows(text: str) -> Iterator[tuple[str, str]]:
    table = csv.DictReader(text.splitlines())
    if missing := {"LabelValue", "Name"} - set(table.fieldnames or ()):
        raise ValueError(f"it has no column {min(missing)}")
    yield from ((row["LabelValue"], row["Name"]) for row in table)


def _columns(text: str) -> Iterator[tuple[str, str]]:
    """Value, name (spaces are underscores), red, green, blue, opacity."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            value, name, *_ = line.split()
            yield value, name
