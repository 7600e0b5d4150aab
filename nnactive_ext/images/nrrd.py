"""The header of a NRRD file as text: its units of length, and sizes that the file cannot hold."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from nnactive_ext.images.units import all_millimetres

_LONGEST = 1 << 20
"""Bytes; a header is a few hundred of them, or some thousands with the names of segments."""
_END = re.compile(rb"\r?\n\r?\n")
_GZIP = 1040
"""No byte of gzip becomes more than so many."""
_BYTES = {"8": 1, "16": 2, "32": 4, "64": 8, "char": 1, "short": 2, "longlong": 8, "double": 8, "float": 4, "long": 8, "int": 4}


def is_nrrd(file: Path) -> bool:
    return file.name.lower().endswith((".nrrd", ".nhdr"))


def fields_of(file: Path) -> Mapping[str, str]:
    """The fields of the header (``space units`` and so on, in lower case), without its key/value pairs."""
    with open(file, "rb") as stream:
        head = stream.read(_LONGEST)
    text = _END.split(head, maxsplit=1)[0]
    try:
        lines = text.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = text.decode("latin-1").splitlines()
    fields: dict[str, str] = {}
    for line in lines[1:]:
        key, colon, value = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in key:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def data_files(fields: Mapping[str, str]) -> list[str]:
    """The names of the files that hold the voxels, as a header has them; none where the file holds them itself."""
    return [fields[key] for key in ("data file", "datafile") if key in fields]


def units_of(fields: Mapping[str, str]) -> tuple[list[float], bool]:
    """mm in the units of a header, and whether they are those of the world's axes (``space units``, of the space
    directions) or of the array's own axes (``units``, of the spacings).

    Raises:
        ValueError: see :func:`nnactive_ext.images.units.all_millimetres`.
    """
    if "space units" in fields:
        return _three(_words(fields["space units"])), True
    kinds, words = fields.get("kinds", "").split(), _words(fields.get("units", ""))
    if len(kinds) == len(words) > 3:  # the numbers of a voxel have no length
        words = [word for word, kind in zip(words, kinds, strict=True) if kind.lower() in ("domain", "space")]
    elif len(words) > 3:
        words = [word for word in words if word]
    return _three(words), False


def _three(words: list[str]) -> list[float]:
    if not words:
        return [1.0, 1.0, 1.0]
    found = all_millimetres(words)
    if len(found) == 3:
        return found
    if len(set(found)) > 1:
        raise ValueError(f"{len(found)} axes have a unit of length, not 3")
    return found[:1] * 3


def _words(text: str) -> list[str]:
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^\s"]+)', text)]


def bytes_of(kind: str) -> int:
    """Of a number, by the ``type`` of a header."""
    kind = kind.lower().replace(" ", "")
    return next((size for word, size in _BYTES.items() if word in kind), 1)


def what_nrrd_hides(file: Path) -> str:
    """What is wrong with a NRRD whose header speaks of more voxels than the file can hold, for which ITK would take memory
    before it reads, with the file's name; "" if nothing is, and for other formats."""
    if not is_nrrd(file):
        return ""
    with open(file, "rb") as stream:
        head = stream.read(_LONGEST)
    if len(head) == _LONGEST and not _END.search(head):  # which keeps ITK busy for hours
        return f"{file}: damaged: its header has no end in the first {_LONGEST} bytes"
    fields, bytes_ = fields_of(file), file.stat().st_size
    encoding = fields.get("encoding", "").lower()
    if data_files(fields) or encoding not in ("raw", "gzip", "gz"):
        return ""
    try:
        voxels = math.prod(int(n) for n in fields.get("sizes", "").split())
    except ValueError:
        return f"{file}: the sizes in its header are no whole numbers"
    each = bytes_of(fields.get("type", ""))
    if voxels * each <= bytes_ * (1 if encoding == "raw" else _GZIP):
        return ""
    return f"{file}: truncated: its header speaks of {voxels} voxels, which {bytes_} bytes cannot hold"
