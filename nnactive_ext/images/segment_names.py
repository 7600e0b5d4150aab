"""Turns the segments that a viewer numbered as it liked into the dataset's label values, by their names.

The numbers in a segmentation of 3D Slicer or MITK are no part of its meaning: deleting and adding a segment changes them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError

HELPER = "query_box"
"""The segment that confines painting to the query box; it is ours and no label."""

_SEGMENT_KEY = re.compile(r"Segment(\d+)_(ID|Name|Layer|LabelValue)")
_MITK_KEY = "org.mitk.multilabel.segmentation.labelgroups"


@dataclass(frozen=True)
class Segment:
    """The voxels of one name: those of ``layer`` that hold ``value``."""

    name: str
    layer: int
    value: int


def slicer_segments(file: Path, header: Mapping[str, str]) -> list[Segment] | None:
    """The segments of a file by 3D Slicer, in its order; None if ``header`` is not Slicer's."""
    facts: dict[int, dict[str, str]] = {}
    for key, value in header.items():
        if match := _SEGMENT_KEY.fullmatch(key):
            facts.setdefault(int(match[1]), {})[match[2]] = value.strip()
    if not facts and not any(key.startswith("Segmentation_") for key in header):
        return None
    segments = []
    for number, fact in sorted(facts.items()):
        name = fact.get("Name") or fact.get("ID") or f"Segment {number}"
        # Files from before Slicer 4.11 have neither key: each segment is the ones of a layer of its own.
        layer = fact.get("Layer", "0" if "LabelValue" in fact else str(number))
        segments.append(Segment(name, _whole(file, name, layer), _whole(file, name, fact.get("LabelValue", "1"))))
    return segments


def mitk_segments(file: Path, header: Mapping[str, str]) -> list[Segment] | None:
    """The labels of a multilabel segmentation by MITK, whose groups are layers; None if ``header`` is not MITK's."""
    if _MITK_KEY not in header:
        return None
    segments = []
    try:
        for layer, group in enumerate(json.loads(header[_MITK_KEY]) or []):
            for label in group.get("labels") or []:
                name = str(label.get("name", ""))
                segments.append(Segment(name, layer, _whole(file, name, str(label["value"]))))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise NnActiveError(f"{file}: its list of labels cannot be read ({error}). Save it again in MITK.") from None
    return segments


def _whole(file: Path, name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NnActiveError(
            f"{file}: segment {name!r} has the layer or value {text!r}, not a whole number. Save it again in the viewer."
        ) from None


def by_name(file: Path, layers: np.ndarray, segments: Sequence[Segment], names: Mapping[str, int]) -> np.ndarray:
    """The dataset's values of ``layers`` (layer, z, y, x) as an array (z, y, x); 0 where there is no segment.

    Segments without voxels may have any name. What is ``ignore`` and another label, too, is ignore: outside the box,
    where paint may stray to, all is. NnActiveError if a segment's name is not among ``names``, if a voxel belongs to two
    other labels, or if voxels belong to no segment of their layer.
    """
    if lost := [segment for segment in segments if not 0 <= segment.layer < len(layers)]:
        raise NnActiveError(
            f"{file}: segment {lost[0].name!r} is said to be in layer {lost[0].layer}, and there are {len(layers)}. "
            "Save it again in the viewer."
        )
    held = [_values(layer) for layer in layers]
    filled = [segment for segment in segments if segment.value != 0 and segment.value in held[segment.layer]]
    _check_that_all_belong(file, held, filled)
    meant = {segment.name: _meant(segment.name, names) for segment in filled}
    unknown = sorted(name for name, value in meant.items() if value is None and _folded(name) != _folded(HELPER))
    if unknown:
        raise NnActiveError(
            f"{file}: segments with names that the dataset does not know: {_listed(unknown)}. It knows {_listed(names)}. "
            "Rename the segments in the viewer, or delete them, and save again."
        )
    result = np.full(layers.shape[1:], -1, np.int32)
    ignore = names.get("ignore")
    for segment in sorted(filled, key=lambda segment: meant[segment.name] != ignore):  # ignore first
        value = meant[segment.name]
        if value is not None:
            mask = layers[segment.layer] == segment.value
            if value != ignore and ignore is not None:
                mask &= result != ignore
            _check_that_one_claims(file, result[mask], value, names)
            result[mask] = value
    result[result < 0] = 0
    return result


def _values(layer: np.ndarray) -> dict[float, int]:
    """Value -> voxels; by planes, since all at once would need many times the memory of the array."""
    counts: dict[float, int] = {}
    for plane in layer:
        for value, count in zip(*np.unique(plane, return_counts=True), strict=True):
            counts[value.item()] = counts.get(value.item(), 0) + int(count)
    return counts


def _check_that_all_belong(file: Path, held: Sequence[Mapping[float, int]], filled: Sequence[Segment]) -> None:
    for layer, counts in enumerate(held):
        known = {0, *(segment.value for segment in filled if segment.layer == layer)}
        stray = {value: count for value, count in counts.items() if value not in known}
        if stray:
            shown = ", ".join(f"{value:g} ({count} voxels)" for value, count in sorted(stray.items())[:5])
            raise NnActiveError(
                f"{file}: values that no segment has{f' in layer {layer}' if len(held) > 1 else ''}: {shown}. "
                "Its header and its voxels do not fit; save it again in the viewer."
            )


def _check_that_one_claims(file: Path, before: np.ndarray, value: int, names: Mapping[str, int]) -> None:
    clash = before[(before >= 0) & (before != value)]
    if clash.size:
        name_of = {number: name for name, number in names.items()}
        other = int(clash[0])
        both = int((clash == other).sum())
        raise NnActiveError(
            f"{file}: {both} voxel{'s are' if both > 1 else ' is'} both {name_of[other]!r} and {name_of[value]!r}; each can be "
            'only one. In 3D Slicer: Segment Editor, Masking, "Modify other segments: Overwrite all" and paint there again, '
            "or Logical operators, Subtract; in MITK: keep all labels in one group. Then save again."
        )


def _meant(name: str, names: Mapping[str, int]) -> int | None:
    if name in names:
        return names[name]
    values = {value for known, value in names.items() if _folded(known) == _folded(name)}
    return values.pop() if len(values) == 1 else None


def _folded(name: str) -> str:
    """What two spellings of one name share; color tables, for one, put underscores for spaces."""
    return re.sub(r"[\s_-]", "", unicodedata.normalize("NFC", name).casefold())


def _listed(names: Sequence[str] | Mapping[str, int]) -> str:
    return ", ".join(repr(name) for name in names)
