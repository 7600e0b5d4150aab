"""Points that an expert has marked, and the files in which 3D Slicer keeps them today (``.mrk.json``)."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from nnactive_ext.files import read_json
from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.names import beginnings, named
from nnactive_ext.intake.case_tables import unsure
from nnactive_ext.words import listed


@dataclass(frozen=True)
class Point:
    """A voxel of class ``label`` in ``case``: its ``position`` in world mm (see :mod:`nnactive_ext.geometry.space`), or else
    its continuous ``index`` (z, y, x) in the image's file. ``where`` it was read, for messages: "file, point 3"."""

    case: str
    label: str
    position: Vector | None
    index: Vector | None
    where: str


def matching(text: str, names: Collection[str]) -> list[str]:
    """The one of ``names`` that is ``text``, or else those that are but for case, spaces, ``_`` and ``-``."""

    def plain(name: str) -> str:
        return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()

    return [text] if text in names else [name for name in names if plain(text) and plain(name) == plain(text)]


def case_of_file(file: Path, cases: Collection[str]) -> list[str]:
    """Those of ``cases`` that a file of points is called after, as ``CASE.mrk.json`` or ``CASE_more.csv``."""
    return beginnings(re.sub(r"\.nii(?:\.gz)?$", "", _ENDING.sub("", file.name), flags=re.IGNORECASE), cases)


def class_of(label: str, description: str, title: str, names: Collection[str]) -> tuple[str, str]:
    """The one of ``names`` that one of 3D Slicer's points marks, and what is wrong with it; ``title``: its list's name."""
    texts = [label, description, title]
    if title and re.fullmatch(re.escape(title) + _NUMBER, label) and matching(title, names):
        # The label that Slicer gave. In a list called "tumour", "tumour-2" is no class "tumour 2".
        texts = [title]
    for text in texts:
        exact = [text] if text in names else []
        found = exact or list(dict.fromkeys([*matching(text, names), *matching(re.sub(_NUMBER + "$", "", text), names)]))
        if len(found) > 1:
            return "", f"{text!r} may be {' or '.join(found)}. Write the class exactly as it is called."
        if found:
            return found[0], ""
    others, what = (f"its description or its list's name {title!r}", " or the list") if title else ("its description", "")
    return "", f"its label {label!r} is no class, nor is {others}. Name the point{what} after one: {listed(names, 8)}."


def world(values: Sequence[float], ras: bool) -> Vector:
    """Coordinates in LPS, or in RAS, as a world position."""
    x, y, z = (float(value) for value in values)
    return (-x, -y, z) if ras else (x, y, z)


SYSTEMS = {"LPS": "LPS", "RAS": "RAS", "1": "LPS", "0": "RAS"}
"""Coordinate systems, also by the numbers that early versions of Slicer wrote for them."""
_ENDING = re.compile(r"(?:\.mrk)?\.(?:json|fcsv|csv|tsv|txt)$", re.IGNORECASE)
_NUMBER = r"[\s_-]*\d+"
"""What Slicer puts behind a list's name to make the labels of its points."""


class _Markup(TypedDict, total=False):
    name: str | None
    type: str | None
    coordinateSystem: str | int
    coordinateUnits: str | list[str]
    controlPoints: list[Any] | None


class _Markups(TypedDict):
    """A file of 3D Slicer's markups."""

    markups: list[_Markup]


def read_point_list(file: Path, cases: Collection[str], names: Collection[str]) -> Iterator[Point | str]:
    """The points of all lists in a file, and what is wrong with others; points that were never placed are passed over."""
    lists = read_json(file, _Markups, "Save the point list as a file of 3D Slicer's markups (.mrk.json).")["markups"]
    by_file = case_of_file(file, cases)
    number = 0
    for markup in lists:
        title = str(markup.get("name") or "")
        called = f"{file}, list {title!r}" if title else str(file)
        by_title = named(title, cases) if title else []
        case = (by_file or by_title or [""])[0]
        system = SYSTEMS.get(str(markup.get("coordinateSystem", "LPS")))
        if markup.get("type") != "Fiducial":  # what Slicer's users know as a Point List
            yield f"{called}: it is a {markup.get('type')}; only point lists are read. Delete it there, and save again."
        elif not case:
            which = f"Call the file CASE.mrk.json; cases: {listed(cases, 8)}."
            yield f"{called}: no case has the file's or the list's name. {which}"
        elif len(by_file or by_title) > 1:
            yield f"{called}: {'the file' if by_file else 'the list'} may be {unsure(by_file or by_title)}."
        elif title in cases and title != case:
            yield f"{called}: the list has the name of one case, the file that of another ({case}). Rename one of them."
        elif system is None:
            yield f"{called}: its coordinateSystem is {markup['coordinateSystem']!r}. Save it in LPS or RAS."
        elif not _in_mm(markup.get("coordinateUnits", "mm")):
            yield f"{called}: its coordinateUnits are {markup['coordinateUnits']!r}. Save it in mm."
        else:
            for point in markup.get("controlPoints") or []:
                number += 1
                if not isinstance(point, dict):
                    yield f"{file}, point {number}: not one of 3D Slicer's control points. Save the list from there."
                elif point.get("positionStatus", "defined") == "defined":
                    yield _point(point, f"{file}, point {number}", case, title, system == "RAS", names)


def _point(point: Mapping[str, Any], where: str, case: str, title: str, ras: bool, names: Collection[str]) -> Point | str:
    given = point.get("position")
    if not (isinstance(given, list) and len(given) == 3 and all(map(_finite, given))):
        return f"{where}: its position is {given!r}, not three numbers. Place it again, or delete it."
    label, description = str(point.get("label") or ""), str(point.get("description") or "")
    name, problem = class_of(label, description, title, names)
    return f"{where}: {problem}" if problem else Point(case, name, world(given, ras), None, where)


def _in_mm(units: Any) -> bool:
    """Of the unit's name, or of its DICOM code, which begins with it."""
    return (units[:1] if isinstance(units, list) else [units]) == ["mm"]


def finite_number(text: str) -> float | None:
    """The number that ``text`` is; None if it is none, or not finite."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
