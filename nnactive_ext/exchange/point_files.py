"""Points that an expert has marked, as files hold them: 3D Slicer's point lists (``.mrk.json``) and tables (CSV, TSV)."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.files import read_json
from nnactive_ext.geometry.space import Vector
from nnactive_ext.images.names import longest_beginning
from nnactive_ext.intake.tables import read_table
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
        return re.sub(r"[\s_-]+", "", name).casefold()

    return [text] if text in names else [name for name in names if plain(text) and plain(name) == plain(text)]


def world(values: Sequence[float], ras: bool) -> Vector:
    """Coordinates in LPS, or in RAS, as a world position."""
    x, y, z = (float(value) for value in values)
    return (-x, -y, z) if ras else (x, y, z)


_SYSTEMS = {"LPS": "LPS", "RAS": "RAS", "1": "LPS", "0": "RAS"}
"""Coordinate systems, also by the numbers that early versions of Slicer wrote for them."""
_NUMBER = r"[\s_-]*\d+"
"""What Slicer puts behind a list's name to make the labels of its points."""


def read_point_list(file: Path, cases: Collection[str], names: Collection[str]) -> Iterator[Point | str]:
    """The points of all lists in a file, and what is wrong with others; points that were never placed are passed over."""
    content = read_json(file)
    lists = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(lists, list) or not all(isinstance(markup, dict) for markup in lists):
        yield f"{file}: not a file of 3D Slicer's markups. Save the point list as .mrk.json."
        return
    named_after = longest_beginning(re.sub(r"(\.mrk)?\.json$", "", file.name, flags=re.IGNORECASE), cases)
    number = 0
    for markup in lists:
        title = str(markup.get("name") or "")
        called = f"{file}, list {title!r}" if title else str(file)
        case = named_after or (title if title in cases else None)
        system = _SYSTEMS.get(str(markup.get("coordinateSystem", "LPS")))
        if markup.get("type") != "Fiducial":  # what Slicer's users know as a Point List
            yield f"{called}: it is a {markup.get('type')}; only point lists are read. Delete it there, and save again."
        elif case is None:
            which = f"Call the file CASE.mrk.json; cases: {listed(cases, 8)}."
            yield f"{called}: no case has the file's or the list's name. {which}"
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
    label = str(point.get("label") or "")
    texts = [label, str(point.get("description") or ""), title]
    if title and re.fullmatch(re.escape(title) + _NUMBER, label) and matching(title, names):
        # The label that Slicer gave. In a list called "tumour", "tumour-2" is no class "tumour 2".
        texts = [title]
    for text in texts:
        exact = [text] if text in names else []
        found = exact or list(dict.fromkeys([*matching(text, names), *matching(re.sub(_NUMBER + "$", "", text), names)]))
        if len(found) > 1:
            return f"{where}: {text!r} may be {' or '.join(found)}. Write the class exactly as it is called."
        if found:
            return Point(case, found[0], world(given, ras), None, where)
    return (
        f"{where}: its label {label!r} is no class, nor is its description or its list's name {title!r}. Name the point or "
        f"the list after one: {listed(names, 8)}."
    )


def _in_mm(units: Any) -> bool:
    """Of the unit's name, or of its DICOM code, which begins with it."""
    return (units[:1] if isinstance(units, list) else [units]) == ["mm"]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_TRIPLES = {"lps": ("x_lps", "y_lps", "z_lps"), "ras": ("x_ras", "y_ras", "z_ras"), "ijk": ("i", "j", "k")}
_CHOICES = "x_lps,y_lps,z_lps or x_ras,y_ras,z_ras (mm), or i,j,k (voxels along x, y, z, counted from 0)"
_BARE = (
    f"x, y, z may mean any of several things. Name the columns {_CHOICES}. ITK-SNAP shows the cursor in Tools > Image "
    "Information: copy 'World units (ITK)' to x_lps,y_lps,z_lps, or 'World units (NIFTI)' to x_ras,y_ras,z_ras; its voxel "
    "units count from 1, so subtract 1 from each for i,j,k. 3D Slicer shows RAS."
)


def read_point_table(file: Path, cases: Collection[str], names: Collection[str]) -> Iterator[Point | str]:
    """The points of a table, and what is wrong with its other lines; empty lines are passed over."""
    lines = read_table(file)
    if not lines:
        yield f"{file}: it is empty. Its first line names the columns: case, class, and {_CHOICES}."
        return
    first, *rows = lines
    header = [cell.lower() for cell in first.cells]
    kind, problem = _kind(header)
    if problem:
        yield f"{file}, line {first.number}: {problem}"
        return
    for line in rows:
        where, row, delimiter = f"{file}, line {line.number}", line.cells, line.delimiter
        if len(row) < len(header) or any(row[len(header) :]):
            yield f"{where}: {len(row)} values for {len(header)} columns. Put a value that has a {delimiter!r} in it in quotes."
            continue
        entry = dict(zip(header, row, strict=False))
        coordinates = [_number(entry[column], delimiter) for column in _TRIPLES[kind]]
        labels = matching(entry["class"], names)
        problems = [
            f"{column} is {entry[column]!r}, not a finite number."
            for column, value in zip(_TRIPLES[kind], coordinates, strict=True)
            if not math.isfinite(value)
        ]
        if entry["case"] not in cases:
            problems.append(f"there is no case {entry['case']!r}. Cases: {listed(cases, 8)}.")
        if len(labels) != 1:
            problems.append(f"there is no class {entry['class']!r}. Classes: {listed(names, 8)}.")
        yield from (f"{where}: {problem}" for problem in problems)
        if not problems:
            x, y, z = coordinates
            in_world = kind != "ijk"
            position = world(coordinates, kind == "ras") if in_world else None
            yield Point(entry["case"], labels[0], position, None if in_world else (z, y, x), where)


def _kind(header: Sequence[str]) -> tuple[str, str]:
    """Which of the triples a table has, and what is wrong with its columns."""
    twice = [column for column in header if column and header.count(column) > 1]
    if twice:
        return "", f"the column {twice[0]} is there twice. Keep one."
    begun = [kind for kind, columns in _TRIPLES.items() if set(columns) & set(header)]
    if not begun and {"x", "y", "z"} <= set(header):
        return "", _BARE
    if len(begun) > 1:
        return "", f"the coordinates are there twice, as {' and '.join(begun)}. Keep one of them."
    wanted = ["case", "class", *(_TRIPLES[begun[0]] if begun else ())]
    missing = [column for column in wanted if column not in header] + ([] if begun else [f"the coordinates, {_CHOICES}"])
    if missing:
        return "", f"this line should name the columns, and lacks {', '.join(missing)}."
    return begun[0], ""


def _number(text: str, delimiter: str) -> float:
    """NaN for what is none. Where commas do not separate cells, some languages have them for decimal points."""
    try:
        return float(text if delimiter == "," else text.replace(",", "."))
    except ValueError:
        return math.nan
