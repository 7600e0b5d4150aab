"""Names for cases that nnU-Net, every file system and a command line can carry."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from nnactive_ext.errors import NnActiveError

_LONGEST = 100
"""File systems end at 255 bytes; nnU-Net and we put numbers, endings and temporary prefixes around a name."""
_SPELLED_OUT = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O", "œ": "oe", "Œ": "OE"}
    | {"ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)
"""Latin letters that Unicode does not decompose."""


def case_name(stem: str) -> str:
    """``stem`` in A-Z, a-z, 0-9, ".", "_" and "-", without "__", neither beginning nor ending in "." , "_" or "-".

    Accents go, spaces and signs become "_". A name that loses letters of another script, or is too long, ends in a short
    hash of the original instead, so that two such names stay two. Names that are fine already come back unchanged.

    >>> case_name("Müller, José (2)")
    'Muller_Jose_2'
    """
    letters, lost = [], False
    for letter in unicodedata.normalize("NFKD", stem.translate(_SPELLED_OUT)):
        if re.fullmatch(r"[A-Za-z0-9._-]", letter):
            letters.append(letter)
        elif letter.isascii() or letter.isspace() or unicodedata.category(letter).startswith("P"):
            letters.append("_")
        elif not unicodedata.combining(letter):
            lost = True
    name = re.sub("_{2,}", "_", "".join(letters)).strip("._-")
    if not lost and 0 < len(name) <= _LONGEST:
        return name
    # Composed first: macOS hands out decomposed names for what others call the same file.
    mark = hashlib.sha256(unicodedata.normalize("NFC", stem).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].rstrip('._-') or 'case'}_{mark}"


def check_name(file: Path) -> None:
    """A path whose bytes are not UTF-8 is an error: given one, ITK ends the whole process."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(file).decode(errors="backslashreplace")
        raise NnActiveError(
            f"{shown}: a name with letters in an old encoding (not UTF-8), which ITK cannot open. Rename it."
        ) from None


def longest_beginning(stem: str, names: Iterable[str]) -> str | None:
    """The longest of ``names`` that ``stem`` is or begins with; liver_10 does not begin with liver_1."""
    fitting = [name for name in names if stem.startswith(name) and not stem[len(name) : len(name) + 1].isalnum()]
    return max(fitting, key=len, default=None)
