"""Turns the segments that a viewer numbered as it liked into the dataset's label values, by their names.

The numbers in a segmentation of 3D Slicer or MITK are no part of its meaning: deleting and adding a segment changes them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError

HELPER = "query_box"
"""The segment that confines painting to the query box; it is ours and no label."""

RENAME = "Rename the segments in the viewer, or delete them, and save again."


@dataclass(frozen=True)
class Segment:
    """The voxels of one name: those of ``layer`` that hold ``value``. ``meanings``: what the file calls them beside a name
    that its viewer made up, the most specific first."""

    name: str
    layer: int
    value: int
    meanings: tuple[str, ...] = ()


def by_name(
    file: Path, layers: np.ndarray, segments: Sequence[Segment], names: Mapping[str, int], remedy: str = RENAME
) -> np.ndarray:
    """The dataset's values of ``layers`` (layer, z, y, x) as an array (z, y, x); 0 where there is no segment.

    Segments without voxels may have any name. What is ``ignore`` and another label, too, is ignore: outside the box,
    where paint may stray to, all is. NnActiveError if a segment's name is not among ``names`` (``remedy`` says what to do),
    if a voxel belongs to two other labels, or if voxels belong to no segment of their layer.
    """
    return by_name_and_told(file, layers, segments, names, remedy)[0]


def by_name_and_told(
    file: Path, layers: np.ndarray, segments: Sequence[Segment], names: Mapping[str, int], remedy: str = RENAME
) -> tuple[np.ndarray, tuple[str, ...]]:
    """As :func:`by_name`, and what people should know: segments that are one class."""
    if lost := [segment for segment in segments if not 0 <= segment.layer < len(layers)]:
        raise NnActiveError(
            f"{file}: segment {lost[0].name!r} is said to be in layer {lost[0].layer}, and there are {len(layers)}. "
            "Save it again in the viewer."
        )
    held = [values_in(layer) for layer in layers]
    filled = [segment for segment in segments if segment.value != 0 and segment.value in held[segment.layer]]
    _check_that_all_belong(file, held, filled)
    meant = [(segment, _value_of(file, segment, names)) for segment in filled]
    unknown = sorted({s.name for s, value in meant if value is None and folded_name(s.name) != folded_name(HELPER)})
    if unknown:
        raise NnActiveError(
            f"{file}: segments with names that the dataset does not know: {_listed(unknown)}. It knows {_listed(names)}. "
            f"{remedy}"
        )
    result = np.full(layers.shape[1:], -1, np.int32)
    ignore = names.get("ignore")
    for segment, value in sorted(meant, key=lambda pair: pair[1] != ignore):  # ignore first
        if value is not None:
            mask = layers[segment.layer] == segment.value
            if value != ignore and ignore is not None:
                mask &= result != ignore
            _check_that_one_claims(file, result[mask], value, names)
            result[mask] = value
    result[result < 0] = 0
    return result, _several_of_one(meant, names)


def _value_of(file: Path, segment: Segment, names: Mapping[str, int]) -> int | None:
    """By its name, else by the first of its meanings that the dataset knows; both, and different ones, are an error."""
    named = value_of_name(segment.name, names)
    meanings = segment.meanings
    if len(meanings) > 1:
        least = folded_name(meanings[-1])
        # A right kidney is no "kidney" where there is a class "kidney_left".
        if any(least in folded_name(name) and least != folded_name(name) for name in names):
            meanings = meanings[:-1]
    known = [(meaning, value) for meaning in meanings if (value := value_of_name(meaning, names)) is not None]
    if named is not None and known and known[0][1] != named:
        raise NnActiveError(
            f"{file}: segment {segment.name!r} is {known[0][0]!r} by its terminology. Rename it in the viewer, and save again."
        )
    return known[0][1] if named is None and known else named


def _several_of_one(meant: Sequence[tuple[Segment, int | None]], names: Mapping[str, int]) -> tuple[str, ...]:
    told = []
    for name, value in names.items():
        segments = sorted({segment.name for segment, known in meant if known == value})
        if len(segments) > 1:
            told.append(f"{len(segments)} segments are taken as {name!r}: {_listed(segments)}")
    return tuple(told)


def values_in(layer: np.ndarray) -> dict[float, int]:
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


def value_of_name(name: str, names: Mapping[str, int]) -> int | None:
    """The value of the label that ``name`` spells; None if it spells none, or several."""
    if name in names:
        return names[name]
    values = {value for known, value in names.items() if folded_name(known) == folded_name(name)}
    return values.pop() if len(values) == 1 else None


def folded_name(name: str) -> str:
    """What two spellings of one name share; color tables, for one, put underscores for spaces."""
    return re.sub(r"[\s_-]", "", unicodedata.normalize("NFC", name).casefold())


def _listed(names: Sequence[str] | Mapping[str, int]) -> str:
    return ", ".join(repr(name) for name in names)
