"""3D Slicer's point lists (``.mrk.json``): whose class is in a label, and whose case is in a name."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from nnactive_ext.exchange.marks import Point, matching, world
from nnactive_ext.files import read_json
from nnactive_ext.images.names import longest_beginning
from nnactive_ext.words import listed

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
