"""Tables of points (``.csv``, ``.tsv``): case, class, and three coordinates whose names say what they are."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.marks import Point, matching, world
from nnactive_ext.words import listed

_TRIPLES = {"lps": ("x_lps", "y_lps", "z_lps"), "ras": ("x_ras", "y_ras", "z_ras"), "ijk": ("i", "j", "k")}
_CHOICES = "x_lps,y_lps,z_lps or x_ras,y_ras,z_ras (mm), or i,j,k (voxels along x, y, z, counted from 0)"
_BARE = (
    f"x, y, z may mean any of several things. Name the columns {_CHOICES}. ITK-SNAP shows the cursor in Tools > Image "
    "Information: copy 'World units (ITK)' to x_lps,y_lps,z_lps, or 'World units (NIFTI)' to x_ras,y_ras,z_ras; its voxel "
    "units count from 1, so subtract 1 from each for i,j,k. 3D Slicer shows RAS."
)


def read_point_table(file: Path, cases: Collection[str], names: Collection[str]) -> Iterator[Point | str]:
    """The points of a table, and what is wrong with its other lines; empty lines are passed over."""
    lines = _lines(file)
    if not lines:
        yield f"{file}: it is empty. Its first line names the columns: case, class, and {_CHOICES}."
        return
    (number, header, _), *rows = lines
    header = [cell.lower() for cell in header]
    kind, problem = _kind(header)
    if problem:
        yield f"{file}, line {number}: {problem}"
        return
    for number, row, delimiter in rows:
        where = f"{file}, line {number}"
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


def _lines(file: Path) -> list[tuple[int, list[str], str]]:
    """Number, cells and delimiter of each line with something in it; the first decides between tab, ; and comma."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        first = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max("\t;,", key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [(reader.line_num, [cell.strip() for cell in row], delimiter) for row in reader]
    except FileNotFoundError:
        raise NnActiveError(f"{file}: no such file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise NnActiveError(f"{file}: cannot be read as a table ({error}). Save it as 'CSV UTF-8'.") from None
    return [row for row in rows if any(row[1])]


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
