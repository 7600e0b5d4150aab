"""What a page from disk writes into the header of a label map that it saves: with which classes, and after how much work."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

_TEXT = slice(148, 228)
"""The bytes of a NIfTI-1 header that hold free text (``descrip``)."""
_NOTE = re.compile(rb"nnactive labels=(\d{1,4}) seconds=(\d{1,7}) page=([0-9a-z]{1,16})\0*")


@dataclass(frozen=True)
class PageNote:
    """``label_version``: how many times the classes had been changed when the page was made. ``seconds``: of work on the task,
    since ``page``, a name by chance for one browser's work on it, was opened first."""

    label_version: int
    seconds: int
    page: str


def note_of(file: Path) -> PageNote | None:
    """The note in the header of a NIfTI file.

    Args:
        file: any file.

    Returns:
        None where there is none: other programs write their own text, or the file is no NIfTI file that can be read.
    """
    name = file.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        return None
    try:
        with gzip.open(file) if name.endswith(".gz") else open(file, "rb") as handle:
            found = _NOTE.fullmatch(handle.read(_TEXT.stop)[_TEXT])
    except (OSError, EOFError, zlib.error):
        return None
    return PageNote(int(found[1]), int(found[2]), found[3].decode()) if found else None
