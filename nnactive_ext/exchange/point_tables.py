"""Points in tables (CSV, TSV): people's own, and those that 3D Slicer exports."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.exchange.point_files import SYSTEMS, Point, case_of_file, class_of, finite_number, matching, world
from nnactive_ext.intake.case_tables import cases_of, unsure
from nnactive_ext.intake.tables import Line, read_table
from nnactive_ext.words import listed

_TRIPLES = {
    "lps": ("x_lps", "y_lps", "z_lps"),
    "ras": ("x_ras", "y_ras", "z_ras"),
    "ijk": ("i", "j", "k"),
    "Slicer's lps": ("l", "p", "s"),
    "Slicer's ras": ("r", "a", "s"),
}
_CASES = "case cases caseid casename file filename image imageid scan scanid".split()
_DESCRIPTIONS = ("description", "desc")
_UNITS = ("unit", "units", "coordinateunits")
_SYSTEMS = ("coordinatesystem", "coordsystem")
_CHOICES = "x_lps,y_lps,z_lps or x_ras,y_ras,z_ras (mm), or i,j,k (voxels along x, y, z, counted from 0)"
_BARE = (
    f"x, y, z may mean any of several things. Name the columns {_CHOICES}. ITK-SNAP shows the cursor in Tools > Image "
    "Information: copy 'World units (ITK)' to x_lps,y_lps,z_lps, or 'World units (NIFTI)' to x_ras,y_ras,z_ras; its voxel "
    "units count from 1, so subtract 1 from each for i,j,k. 3D Slicer shows RAS."
)


@dataclass(frozen=True)
class _Table:
    """Where a table of points has what: its columns by plain name, its coordinates, and the case that its file is called
    after, for tables without a column of cases."""

    columns: Mapping[str, int]
    kind: str
    case: str

    def cell(self, row: Sequence[str], *names: str) -> str | None:
        """The value in the first of these columns that there is; None if there is none of them."""
        return next((row[self.columns[name]] for name in names if name in self.columns), None)


def read_point_table(file: Path, cases: Collection[str], names: Collection[str]) -> Iterator[Point | str]:
    """The points of a table, and what is wrong with its other lines; empty lines, and points that were never placed, are
    passed over. A table without a column of cases is of the case that its file is called after."""
    lines = read_table(file)
    if not lines:
        yield f"{file}: it is empty. Its first line names the columns: case, class, and {_CHOICES}."
        return
    first, *rows = lines
    header = [_plain(cell) for cell in first.cells]
    by_file = case_of_file(file, cases)
    kind, problem = _kind(header, bool(by_file))
    if not problem and len(by_file) > 1 and not set(_CASES) & set(header):
        problem = f"the table has no column case, and the file may be {unsure(by_file)}."
    if problem:
        yield f"{file}, line {first.number}: {problem}"
        return
    table = _Table({name: number for number, name in enumerate(header)}, kind, by_file[0] if by_file else "")
    for line in rows:
        where = f"{file}, line {line.number}"
        if len(line.cells) < len(header) or any(line.cells[len(header) :]):
            hint = f"Put a value that has a {line.delimiter!r} in it in quotes."
            yield f"{where}: {len(line.cells)} values for {len(header)} columns. {hint}"
        elif (table.cell(line.cells, "defined") or "1").casefold() not in ("0", "false"):
            yield from _points(table, line, where, cases, names)


def _points(table: _Table, line: Line, where: str, cases: Collection[str], names: Collection[str]) -> Iterator[Point | str]:
    """The point in a line, or all that is wrong with it."""
    given = [table.cell(line.cells, _plain(axis)) or "" for axis in _TRIPLES[table.kind]]
    values = [_number(text, line.delimiter) for text in given]
    problems = [
        f"{axis} is {text!r}, not a finite number."
        for axis, text, value in zip(_TRIPLES[table.kind], given, values, strict=True)
        if value is None
    ]
    system = table.kind[-3:]
    units, said = table.cell(line.cells, *_UNITS), table.cell(line.cells, *_SYSTEMS)
    if units and system != "ijk" and units.casefold() not in ("mm", "millimeter", "millimetre"):
        problems.append(f"its unit is {units!r}. Give it in mm.")
    if said and said.upper() != system.upper() and SYSTEMS.get(said.upper()) != system.upper():
        problems.append(
            f"its coordinate system is {said!r}, by the names of the columns {system.upper()}. Correct one of them."
        )
    cell = table.cell(line.cells, *_CASES)
    found = [table.case] if cell is None else cases_of(cell, cases)
    if len(found) > 1:
        problems.append(f"{cell!r} may be {unsure(found)}.")
    elif not found:
        problems.append(f"there is no case {cell!r}. Cases: {listed(cases, 8)}.")
    label, problem = _class(table, line.cells, names)
    problems += [problem] if problem else []
    yield from (f"{where}: {problem}" for problem in problems)
    if not problems:
        x, y, z = (value or 0.0 for value in values)
        position = None if system == "ijk" else world((x, y, z), system == "ras")
        yield Point(found[0], label, position, (z, y, x) if system == "ijk" else None, where)


def _class(table: _Table, row: Sequence[str], names: Collection[str]) -> tuple[str, str]:
    """The class of a line, and what is wrong with it: its column class has it, else Slicer's label or description."""
    text = table.cell(row, "class")
    if text is None:
        return class_of(table.cell(row, "label") or "", table.cell(row, *_DESCRIPTIONS) or "", "", names)
    found = matching(text, names)
    return (found[0], "") if len(found) == 1 else ("", f"there is no class {text!r}. Classes: {listed(names, 8)}.")


def _kind(header: Sequence[str], has_case: bool) -> tuple[str, str]:
    """Which of the triples a table has, and what is wrong with its columns; ``has_case``: the file's name names the case."""
    twice = [column for column in header if column and header.count(column) > 1]
    if twice:
        return "", f"the column {twice[0]} is there twice. Keep one."
    plain = {kind: {_plain(axis) for axis in axes} for kind, axes in _TRIPLES.items()}
    # Single letters may be columns of other things: Slicer's count if all three of them are there.
    begun = [kind for kind, axes in plain.items() if (axes <= set(header) if "Slicer" in kind else axes & set(header))]
    if not begun and {"x", "y", "z"} <= set(header):
        return "", _BARE
    if len(begun) > 1:
        return "", f"the coordinates are there twice, as {' and '.join(begun)}. Keep one of them."
    missing = [] if has_case or set(_CASES) & set(header) else ["case"]
    missing += [] if {"class", "label"} & set(header) else ["class"]
    missing += (
        [axis for axis in _TRIPLES[begun[0]] if _plain(axis) not in header] if begun else [f"the coordinates, {_CHOICES}"]
    )
    if missing:
        hint = " Add the column case, or call the file after its case (CASE.csv)." if missing == ["case"] else ""
        return "", f"this line should name the columns, and lacks {', '.join(missing)}.{hint}"
    return begun[0], ""


def _plain(name: str) -> str:
    """A column's name in small letters without spaces, "_", "-" and "(mm)"."""
    return re.sub(r"[\s_-]+|[(\[]mm[)\]]", "", name).casefold()


def _number(text: str, delimiter: str) -> float | None:
    """None for what is none. Where commas do not separate cells, some languages have them for decimal points."""
    return finite_number(text if delimiter == "," else text.replace(",", "."))
