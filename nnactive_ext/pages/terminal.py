"""Tables of text for terminals: no line is longer than the terminal, nor than 100 columns."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Sequence

WIDEST = 100
"""Columns, also of what is written into a file or a pipe."""
_GAP = "  "
_LEAST = 8  # columns that a column of text keeps, however narrow the terminal is
_LONGEST = 16  # columns of a word in the name of a column of numbers; a longer one is broken


def columns() -> int:
    """Columns of the terminal (``$COLUMNS``, if set, as for other programs), at most :data:`WIDEST` and at least 40."""
    return max(40, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def table(rows: Sequence[Sequence[str]], numbers: bool = False, width: int | None = None) -> str:
    """Rows in aligned columns.

    Args:
        rows: cells of text, as many in each row; the first row is the heading.
        numbers: all columns but the first are right-aligned. Those that do not fit beside the others follow in another
            table below, which repeats the first column. Otherwise cells are wrapped.
        width: the longest line, in columns (default: :func:`columns`).

    Returns:
        Lines of at most ``width`` columns.
    """
    width = columns() if width is None else width
    if not numbers:
        return "\n".join(_lines(rows, _shrunk(rows, width), numbers=False))
    widths = _number_widths(list(zip(*rows, strict=True)), width)
    return "\n\n".join(
        "\n".join(_lines([[row[i] for i in chosen] for row in rows], [min(widths[i], width) for i in chosen], numbers=True))
        for chosen in _blocks(widths, width)
    )


def listed_columns(rows: Sequence[tuple[str, Sequence[str]]], width: int | None = None) -> str:
    """Names, and beside each its paragraphs, wrapped; for lists of names that have no heading."""
    width = columns() if width is None else width
    longest = min(max((len(name) for name, _ in rows), default=0), width // 2)
    lines: list[str] = []
    for name, paragraphs in rows:
        names = _wrapped(name, longest)
        texts = [line for text in paragraphs for line in _wrapped(text, width - longest - len(_GAP))]
        lines += _beside([names, texts], [longest, 0], numbers=False)
    return "\n".join(lines)


def paragraph(text: str, indent: str = "  ", width: int | None = None) -> str:
    """A sentence in lines of at most ``width`` columns, all but the first with ``indent``. Words are not broken."""
    width = columns() if width is None else width
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _shrunk(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The width of each column of text: the widest ones give way until all fit, those that would break a word last."""
    cells = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in cells]
    words = [max((len(word) for cell in column for word in cell.split()), default=0) for column in cells]
    for least in ([min(n, width // 2) for n in words], [min(n, _LEAST) for n in words]):
        while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
            wide = [i for i in range(len(widths)) if widths[i] > least[i]]
            if not wide:
                break
            widths[max(wide, key=lambda i: widths[i])] -= 1
    return widths


def _number_widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """The width of each column of numbers: where they do not fit beside each other, names of several words are wrapped."""
    whole = [max(map(len, column)) for column in columns]
    if sum(whole) + len(_GAP) * (len(whole) - 1) <= width:
        return whole
    others = columns[1:]
    names = [min(_LONGEST, max(len(part) for part in re.findall(r"[^_ ]*_?", column[0]))) for column in others]
    cells = [max((len(cell) for cell in column[1:]), default=0) for column in others]
    return [min(whole[0], max(_LEAST, width // 2)), *map(max, names, cells)]


def _blocks(widths: Sequence[int], width: int) -> list[list[int]]:
    """The columns of each table, the first column in all of them."""
    blocks, used = [[0]], widths[0]
    for i, n in enumerate(widths[1:], start=1):
        if used + len(_GAP) + n > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(i)
        used += len(_GAP) + n
    return blocks


def _lines(rows: Sequence[Sequence[str]], widths: Sequence[int], numbers: bool) -> list[str]:
    heading, *others = ([_wrapped(cell, n) for cell, n in zip(row, widths, strict=True)] for row in rows)
    tall = max(map(len, heading))
    heading = [[""] * (tall - len(lines)) + lines for lines in heading]  # a name ends above its column
    rule = _GAP.join("-" * n for n in widths)
    return [*_beside(heading, widths, numbers), rule, *(line for row in others for line in _beside(row, widths, numbers))]


def _beside(cells: Sequence[Sequence[str]], widths: Sequence[int], numbers: bool) -> list[str]:
    """The lines of one row, whose cells have one line or several."""
    lines = []
    for number in range(max(map(len, cells))):
        parts = [cell[number] if number < len(cell) else "" for cell in cells]
        aligned = [
            part.rjust(n) if numbers and i else part.ljust(n) for i, (part, n) in enumerate(zip(parts, widths, strict=True))
        ]
        lines.append(_GAP.join(aligned).rstrip())
    return lines


def _wrapped(cell: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns; a word that is longer is broken, after an underscore or a slash where it has one."""
    lines, line = [], ""
    for word in cell.split() if len(cell) > width else [cell]:
        if line and len(line) + 1 + len(word) <= width:
            line += f" {word}"
            continue
        *whole, last = _parts(word, width)
        lines += [line, *whole] if line else whole
        line = last
    return [*lines, line]


def _parts(word: str, width: int) -> list[str]:
    """``word`` in parts of at most ``width`` letters, as long ones as possible."""
    parts = []
    while len(word) > width > 0:
        end = max(word.rfind(mark, 0, width) for mark in "_/") + 1 or width
        parts.append(word[:end])
        word = word[end:]
    return [*parts, word]
