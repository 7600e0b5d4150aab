"""Tables about cases: which cell names which case, and which columns hold the cases and their groups."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.names import named
from nnactive_ext.intake.folder import without_ending
from nnactive_ext.intake.tables import Line, read_table
from nnactive_ext.words import listed

_CASES = "case cases caseid casename name image imageid file filename scan scanid id".split()
_GROUPS = "group patient patientid patientname subject subjectid participant participantid".split()
"""Names of columns in small letters without "_", "-" and spaces; of several columns of cases the first here counts."""
_CHANNEL = re.compile(r"_\d{4}$")
"""How nnU-Net ends the names of a case's files."""


def cases_of(cell: str, cases: Collection[str]) -> list[str]:
    """Those of ``cases`` that ``cell`` names, as they are called, as people called their file (:func:`named`), or by the path
    of one of its files or of its folder. More than one: nobody knows which.

    >>> cases_of("imagesTr/liver_1_0000.nii.gz", {"liver_1"})
    ['liver_1']
    """
    *folders, name = [part for part in cell.replace("\\", "/").split("/") if part not in ("", ".", "..")] or [cell]
    stem = without_ending(name) or name
    above = next((found for folder in reversed(folders) if (found := named(folder, cases))), [])
    for text in (cell, name, stem):
        if found := named(text, cases):
            return list(dict.fromkeys([*above, *found]))
    before = _CHANNEL.sub("", stem)
    # With a case p_0001 among the cases, p_0007 is one that is missing, and no channel of p.
    if before != stem and not any(_CHANNEL.sub("", case) == before for case in cases if _CHANNEL.search(case)):
        if found := named(before, cases):
            return list(dict.fromkeys([*above, *found]))
    return above


def case_of(cell: str, cases: Collection[str]) -> str | None:
    """The only one of :func:`cases_of`; None if there is none, or more than one."""
    found = cases_of(cell, cases)
    return found[0] if len(found) == 1 else None


def unsure(cases: Collection[str]) -> str:
    """The words for several cases of which one is meant."""
    return f"{' or '.join(cases)}. Write the case exactly as it is called"


def typed_cases(words: Sequence[str], option: str, cases: Collection[str], whose: str) -> list[str]:
    """The cases that somebody typed, each once, in that order (:func:`cases_of`).

    Args:
        words: what was typed.
        option: the flag, for messages.
        cases: all cases there are.
        whose: what has these cases, for messages.

    Raises:
        NnActiveError: a word names no case, or more than one.
    """
    found = {word: cases_of(word, cases) for word in words}
    unknown = [word for word, named_by in found.items() if not named_by]
    if unknown:
        raise NnActiveError(f"{option} {' '.join(unknown)}: not in {whose}, which has {listed(sorted(cases), 8)}.")
    for word, named_by in found.items():
        if len(named_by) > 1:
            raise NnActiveError(f"{option} {word}: may be {unsure(named_by)}.")
    return list(dict.fromkeys(case for (case,) in found.values()))


def listed_cases(file: Path, option: str, cases: Collection[str]) -> list[str]:
    """The cases in the first column of a table, or in the column called case; each once.

    Args:
        file: a list with one case a line, or a table, whose first line may name the columns.
        option: the flag that names the file, for messages.
        cases: all cases there are.

    Raises:
        NnActiveError: a line names no case, or the file names none at all.
    """
    lines = read_table(file)
    header = _plain(lines[0].cells) if lines and not cases_of(lines[0].cells[0], cases) else []
    column = _column(header, _CASES)
    rows = lines[1:] if column is not None else lines
    found = [(line, cases_of(_cell(line, column or 0), cases)) for line in rows]
    unclear = [(line, several) for line, several in found if len(several) > 1]
    if unclear:
        line, several = unclear[0]
        raise NnActiveError(f"{option} {file}, line {line.number}: {_cell(line, column or 0)!r} may be {unsure(several)}.")
    unknown = [f"{_cell(line, column or 0)} (line {line.number})" for line, named_by in found if not named_by]
    if unknown:
        raise NnActiveError(
            f"{option} {file}: {listed(unknown)} {'is no case' if len(unknown) == 1 else 'are no cases'} of the dataset, which "
            f"has {listed(sorted(cases), 3)}. Correct the names."
        )
    if not found:
        raise NnActiveError(f"{option} {file}: it names no case. Write one case a line.")
    return sorted({case for _, (case,) in found})


def grouped_cases(file: Path, option: str, cases: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """The group of each case that a table has, and the names in it that are no cases.

    Raises:
        NnActiveError: the columns cannot be told, a case has no group or two.
    """
    lines = read_table(file)
    rows, of_case, of_group = _columns(file, option, lines, cases)
    groups: dict[str, str] = {}
    unknown, problems = [], []
    for line in rows:
        cell, group = _cell(line, of_case), " ".join(_cell(line, of_group).split())
        named_by = cases_of(cell, cases)
        case = named_by[0] if named_by else ""
        if not named_by:
            unknown.append(cell)
        elif len(named_by) > 1:
            raise NnActiveError(f"{option} {file}, line {line.number}: {cell!r} may be {unsure(named_by)}.")
        elif not group:
            problems.append(f"line {line.number}: {case} has no group")
        elif groups.setdefault(case, group) != group:
            problems.append(f"line {line.number}: {case} is in the groups {groups[case]} and {group}")
    if problems:
        raise NnActiveError(f"{option} {file}: {listed(problems)}. Give each case one group.")
    return groups, unknown


def _columns(file: Path, option: str, lines: Sequence[Line], cases: Collection[str]) -> tuple[list[Line], int, int]:
    """The lines of cases, and the columns of case and group."""
    if not lines:
        raise NnActiveError(f"{option} {file}: it is empty. Write a case and its group, such as the patient, in each line.")
    if all(len(line.cells) == 1 for line in lines):  # columns with spaces between them
        lines = [Line(line.number, line.cells[0].split(), " ") for line in lines]
    first, *rest = lines
    header = _plain(first.cells)
    of_case = _column(header, _CASES)
    of_group = [i for i, name in enumerate(header) if name in _GROUPS]
    if len(of_group) > 1 and of_case is not None:
        names = " and ".join(first.cells[i] for i in of_group)
        raise NnActiveError(f"{option} {file}: the columns {names} could both be the group. Rename all but one of them.")
    if of_case is not None and of_group:
        return rest, of_case, of_group[0]
    widths = {len(line.cells) for line in lines}
    if widths == {2}:
        return list(lines) if cases_of(first.cells[0], cases) else rest, 0, 1
    raise NnActiveError(
        f"{option} {file}: which columns are the case and its group? Name them in the first line: case and group, or save a "
        "table of just these two columns."
    )


def _plain(cells: Sequence[str]) -> list[str]:
    return [re.sub(r"[\s_-]+", "", cell).casefold() for cell in cells]


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _cell(line: Line, column: int) -> str:
    return line.cells[column] if column < len(line.cells) else ""
