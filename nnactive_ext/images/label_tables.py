"""Reads the label table that a NIfTI file may hold in its header extension, as TotalSegmentator and Connectome Workbench
write it."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.segment_names import Segment

WITHOUT = (
    "Make the names and the labels of the dataset the same, or save the label map without its table of names if the values "
    "are those of the dataset."
)
_HEADERS = {348: (108, "f"), 540: (168, "q")}
"""By the size of the header, for NIfTI-1 and NIfTI-2: where it keeps the offset of the voxels, and as what."""


def table_segments(file: Path, extensions: list[tuple[int, str]]) -> list[Segment] | None:
    """The labels of the table among a NIfTI file's header extensions; None if there is none."""
    tables = [table for _, text in extensions if "<CaretExtension" in text for table in _tables(file, text)]
    found = [segments for segments in tables if segments]
    if not found:
        return None
    if any(set(other) != set(found[0]) for other in found[1:]):
        raise NnActiveError(f"{file}: {len(found)} different label tables are in its header. {WITHOUT}")
    if len({segment.value for segment in found[0]}) < len(found[0]):
        raise NnActiveError(f"{file}: the label table in its header names a value twice. {WITHOUT}")
    return found[0]


def _tables(file: Path, text: str) -> list[list[Segment]]:
    try:
        root = ElementTree.fromstring(text.strip())
        labels = [list(table.iter("Label")) for table in root.iter("LabelTable")]
        return [[Segment((label.text or "").strip(), 0, int(label.attrib["Key"])) for label in table] for table in labels]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise NnActiveError(f"{file}: the label table in its header cannot be read ({error}). {WITHOUT}") from None


def extensions_of(file: Path) -> list[tuple[int, str]]:
    """The code and the text of each header extension of a NIfTI file, in order; bytes that are no UTF-8 are Latin-1. None of
    other formats.

    Not by nibabel, which parses some of them and fails where they are damaged.
    """
    pair = file.suffix.lower() in (".hdr", ".img")
    if not (pair or file.name.lower().endswith((".nii", ".nii.gz"))):
        return []
    file = file.with_suffix(".hdr") if pair else file
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else open(file, "rb") as stream:
            header = stream.read(4)
            order = next((sign for sign in "<>" if struct.unpack(f"{sign}i", header)[0] in _HEADERS), None)
            if order is None:
                return []
            size = struct.unpack(f"{order}i", header)[0]
            header += stream.read(size - 4)
            where, kind = _HEADERS[size]
            end = int(struct.unpack_from(f"{order}{kind}", header, where)[0])
            body = stream.read() if pair else stream.read(max(0, end - size))
    except (OSError, EOFError, struct.error, ValueError, OverflowError):
        return []  # what is damaged is told where voxels are read
    return list(_split(body, order))


def _split(body: bytes, order: str) -> Iterator[tuple[int, str]]:
    if not body[:1].strip(b"\0"):
        return
    place = 4
    while place + 8 <= len(body):
        size, code = struct.unpack_from(f"{order}ii", body, place)
        if size < 8:
            return
        yield code, _decoded(body[place + 8 : place + size])
        place += size


def _decoded(raw: bytes) -> str:
    raw = raw.strip(b"\0")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
