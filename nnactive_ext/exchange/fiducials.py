"""3D Slicer's older point files (``.fcsv``): comments that say what the lines are, and a line for each point."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.point_files import SYSTEMS, Point, case_of_file, class_of, finite_number, world
from nnactive_ext.intake.case_tables import unsure
from nnactive_ext.words import listed

_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID".split(",")
_SLICER_3 = "label,x,y,z,sel,vis".split(",")
"""The columns of files whose comments name none, with and without the version of Markups."""
_LPS_SINCE = (4, 11)
"""Earlier versions of Slicer wrote RAS, also where the file does not say so."""
_PLACED = "2"
"""The position status of a point that was placed; new versions write it, and another number, behind the named columns."""


def read_fiducials(file: Path, cases: Collection[str], names: Collection[str]) -> Iterator[Point | str]:
    """The points of a file, and what is wrong with others; points that were never placed are passed over."""
    lines = _text(file).splitlines()
    facts = _comments(lines)
    columns, system = _columns(facts), _system(facts)
    found = case_of_file(file, cases)
    if not {"label", "x", "y", "z"} <= set(columns):
        yield f"{file}: its columns are {', '.join(columns)}; x, y, z and label are needed. Save the points from 3D Slicer."
    elif not system:
        given = facts.get("coordinatesystem")
        which = f"its coordinate system is {given!r}" if given else "it names no coordinate system"
        yield f"{file}: {which}. Save it in LPS or RAS: '# CoordinateSystem = LPS' in its second line."
    elif len(found) != 1:
        what = (
            f"the file may be {unsure(found)}"
            if found
            else f"no case has its name. Call the file CASE.fcsv; cases: {listed(cases, 8)}"
        )
        yield f"{file}: {what}."
    else:
        for number, line in enumerate(lines, 1):
            if line.strip(" ,;\t") and not _is_comment(line):
                point = _point(next(csv.reader([line])), columns, f"{file}, line {number}", found[0], system == "RAS", names)
                if point is not None:
                    yield point


def _point(
    cells: Sequence[str], columns: Sequence[str], where: str, case: str, ras: bool, names: Collection[str]
) -> Point | str | None:
    more = [cell.strip() for cell in cells[len(columns) :]]
    if more and not (len(more) == 2 and all(cell.isdecimal() for cell in more)):
        return f"{where}: {len(cells)} values for {len(columns)} columns. Put a value with a comma in it in quotes."
    if more and more[0] != _PLACED:
        return None
    row = dict(zip(columns, [cell.strip() for cell in cells], strict=False))
    place = [finite_number(row.get(axis, "")) for axis in "xyz"]
    if None in place:
        given = ", ".join(row.get(axis, "") for axis in "xyz")
        return f"{where}: its position is {given!r}, not three numbers. Place it again, or delete it."
    name, problem = class_of(row.get("label", ""), row.get("desc", ""), "", names)
    return f"{where}: {problem}" if problem else Point(case, name, world([at or 0.0 for at in place], ras), None, where)


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise NnActiveError(f"{file}: cannot be read ({error.strerror}).") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # of old versions on Windows
    if "\x00" in text:
        raise NnActiveError(f"{file}: it is no text. Save the points from 3D Slicer.")
    return text


def _is_comment(line: str) -> bool:
    return line.lstrip(' "').startswith("#")


def _comments(lines: Sequence[str]) -> dict[str, str]:
    """What "# key = value" says, by the key in small letters without spaces; spreadsheets put commas behind it."""
    found = {}
    for line in lines:
        if match := re.fullmatch(r'[ "]*#\s*([^=]+?)\s*=\s*(.*?)[\s,;"]*', line):
            found[re.sub(r"\s+", "", match[1]).casefold()] = match[2]
    return found


def _columns(facts: Mapping[str, str]) -> list[str]:
    if "columns" in facts:
        return [column.strip(' "') for column in facts["columns"].split(",")]
    return _COLUMNS if "markupsfiducialfileversion" in facts else _SLICER_3


def _system(facts: Mapping[str, str]) -> str:
    """LPS or RAS; "" where it is another one, or cannot be known."""
    if "coordinatesystem" in facts:
        return SYSTEMS.get(facts["coordinatesystem"].strip().upper(), "")
    version = re.match(r"(\d+)\.(\d+)", facts.get("markupsfiducialfileversion", "0.0"))
    return "RAS" if version and (int(version[1]), int(version[2])) < _LPS_SINCE else ""
