"""Names for cases that nnU-Net, every file system and a command line can carry."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
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


def named(text: str, names: Collection[str]) -> list[str]:
    """Those of ``names`` that ``text`` is: letter for letter; else in another Unicode form; else by :func:`case_name`, as a
    case is called after people's file; else but for upper and lower case. Two or more: nobody knows which.

    >>> named("Müller 1", ["Muller_1", "Muller_2"])
    ['Muller_1']
    """
    if text in names:
        return [text]
    for form in (_composed, _case_name, _folded):
        wanted = form(text)
        if found := [name for name in names if form(name) == wanted]:
            return found
    return []


def beginnings(stem: str, names: Collection[str]) -> list[str]:
    """:meth:`Beginnings.of`, for one name."""
    return Beginnings(names).of(stem)


class Beginnings:
    """Finds which of ``names`` others begin with, in a time that does not depend on how many there are."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._forms = [_Forms(names, form) for form in (_composed, _case_name, _folded)]

    def of(self, stem: str) -> list[str]:
        """Those of the names that ``stem`` is or begins with, the longest only; liver_10 does not begin with liver_1.

        Several are found where nobody knows which: ``a b`` begins with ``a``, and is the name of a file that became ``a_b``.
        """
        parts = list(_parts(stem))
        exact = next((part for part in parts if part in self._names), None)
        for part in parts:
            if part == exact:
                return [part]
            for forms in self._forms:
                if found := forms.of(part):
                    original = _COPY.sub("", part)
                    other = [exact] if exact else self._named(original) if original != part else []
                    return list(dict.fromkeys([*other, *found]))
        return []

    def one(self, stem: str) -> str | None:
        """The one of :meth:`of`; None if there is none, or more than one."""
        found = self.of(stem)
        return found[0] if len(found) == 1 else None

    def _named(self, text: str) -> list[str]:
        """As :func:`named`."""
        if text in self._names:
            return [text]
        return next((found for forms in self._forms if (found := forms.of(text))), [])


def _parts(stem: str) -> Iterator[str]:
    """``stem`` and what it begins with, the longest first; a part ends where no letter or digit follows."""
    stem = _composed(stem)
    for end in range(len(stem), 0, -1):
        after = stem[end : end + 1]
        if not after or not (after.isalnum() or unicodedata.combining(after)):
            yield stem[:end]


def longest_beginning(stem: str, names: Iterable[str]) -> str | None:
    """The one of :func:`beginnings`; None if there is none, or more than one."""
    return Beginnings(names if isinstance(names, Collection) else list(names)).one(stem)


_COPY = re.compile(r" ?\(\d+\)$")
"""What browsers and Windows put behind the name of a copy."""
_case_name = lru_cache(1 << 16)(case_name)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return _case_name(text).casefold()


class _Forms:
    """Names by their ``form``, which is found out only when somebody asks."""

    def __init__(self, names: Collection[str], form: Callable[[str], str]) -> None:
        self._names, self._form = names, form
        self._by_form: dict[str, list[str]] | None = None

    def of(self, text: str) -> list[str]:
        if self._by_form is None:
            self._by_form = {}
            for name in self._names:
                self._by_form.setdefault(self._form(name), []).append(name)
        return self._by_form.get(self._form(text), [])
