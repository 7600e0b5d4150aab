"""Tables as people save them: commas, semicolons or tabs, a byte order mark or none, the line ends of any system."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.refusals import refuses

_UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""How the files begin that Excel saves as Unicode text."""


@dataclass(frozen=True)
class Line:
    """A line with something in it: its number from 1, its cells without the spaces around them, and what separates them."""

    number: int
    cells: list[str]
    delimiter: str


@refuses
def read_table(file: Path) -> list[Line]:
    """The lines of a table but for empty ones; the first decides between tab, semicolon and comma.

    Raises:
        NnActiveError: there is no such file, or it is no text.
    """
    try:
        content = file.read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
        if "\x00" in text:
            raise csv.Error("it holds characters that no text has")
        first = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = max("\t;,", key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        lines = [Line(reader.line_num, [cell.strip() for cell in row], delimiter) for row in reader]
    except FileNotFoundError:
        raise NnActiveError(f"{file}: no such file.") from None
    except IsADirectoryError:
        raise NnActiveError(f"{file}: is a folder. Give a file.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise NnActiveError(f"{file}: cannot be read as a table ({error}). Save it as 'CSV UTF-8'.") from None
    return [line for line in lines if any(line.cells)]
