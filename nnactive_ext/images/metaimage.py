"""What is wrong with a MetaImage file though ITK reads it without a word, and what ITK passes over in its header."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from nnactive_ext.images.units import all_millimetres

_LINE = 1 << 16
"""Bytes; no line of a header is longer."""
_LONGEST = 1 << 20
"""Bytes; a header is a few hundred of them."""
_BLOCK = 1 << 20
_ZLIB = 1040
"""No byte of zlib becomes more than so many."""
_BYTES = {"CHAR": 1, "SHORT": 2, "LONG_LONG": 8, "INT": 4, "LONG": 4, "FLOAT": 4, "DOUBLE": 8}
_TYPE = re.compile(r"MET_(U?CHAR|U?SHORT|U?INT|U?LONG(_LONG)?|FLOAT|DOUBLE)(_ARRAY)?")
_NUMBERS: Mapping[str, Callable[[str], float]] = {
    "DimSize": int,
    "ElementNumberOfChannels": int,
    "HeaderSize": int,
    "CompressedDataSize": int,
    **dict.fromkeys(("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation"), float),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), float),
}
_COUNTS = {"ElementNumberOfChannels": 1, "HeaderSize": 1, "CompressedDataSize": 1} | dict.fromkeys(
    ("TransformMatrix", "Rotation", "Orientation"), 2
)
"""1: one number; 2: a square matrix; others have one for each axis."""


def is_metaimage(file: Path) -> bool:
    return file.name.lower().endswith((".mha", ".mhd"))


def fields_of(stream: BinaryIO) -> dict[str, str]:
    """The fields of a header; the stream then stands behind it."""
    fields: dict[str, str] = {}
    while stream.tell() <= _LONGEST and (line := stream.readline(_LINE)):
        key, _, value = line.decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    return fields


def units_of(file: Path) -> float:
    """mm in the unit of a header (``DistanceUnits``), which ITK passes over; 1 without one.

    Raises:
        ValueError: names a word that is no unit of length.
    """
    with open(file, "rb") as stream:
        return all_millimetres([fields_of(stream).get("DistanceUnits", "")])[0]


def data_files(file: Path) -> list[str]:
    """The names of the files that hold the voxels of a MetaImage; none where it holds them itself."""
    with open(file, "rb") as stream:
        data = fields_of(stream).get("ElementDataFile", "LOCAL")
        if data.split()[:1] == ["LIST"]:
            return [line.strip() for line in stream.read(_LINE).decode("latin-1").splitlines() if line.strip()]
    return [] if data.upper() == "LOCAL" else [data]


def metaimage_header_problem(file: Path) -> str:
    """What is wrong with the header of a MetaImage, with the file's name; "" if nothing is, and for other formats."""
    if not is_metaimage(file):
        return ""
    with open(file, "rb") as stream:
        fields = fields_of(stream)
        problem = "damaged: its header has no end" if stream.tell() > _LONGEST else _not_numbers(fields)
    return f"{file}: {problem}" if problem else ""


def what_metaimage_hides(file: Path) -> str:
    """What is wrong with a MetaImage: ITK takes what it could not inflate for zeros, without a word, and takes memory for as
    many voxels as the header speaks of before it reads them."""
    if not is_metaimage(file):
        return ""
    with open(file, "rb") as stream:
        fields = fields_of(stream)
        data = fields.get("ElementDataFile", "")
        compressed = fields.get("CompressedData", "").lower() == "true"
        rest = stream.read() if data == "LOCAL" and compressed else b""
        held = file.stat().st_size - stream.tell() + len(rest)
    if problem := metaimage_header_problem(file):
        return problem
    if data != "LOCAL":
        beside = file.parent / data
        if not data or not beside.is_file():
            return ""  # ITK says so
        held = beside.stat().st_size
        rest = beside.read_bytes() if compressed else b""
    if problem := _claims_too_much(fields, held * (_ZLIB if compressed else 1)):
        return f"{file}: {problem}"
    return _inflated(file, rest, _stated_bytes(fields)) if compressed else ""


def _not_numbers(fields: Mapping[str, str]) -> str:
    """What is wrong with numbers and types in a header, of which some end ITK and the process with it. No whole sentence."""
    axes = fields.get("NDims")
    if axes is None:
        return "not an image of the format that its name says, or damaged"
    if axes not in ("1", "2", "3", "4", "5"):
        return f'the number of axes in its header (NDims) is "{axes}"'
    for key, kind in _NUMBERS.items():
        try:
            found = [kind(word) for word in fields[key].split()] if key in fields else []
        except ValueError:
            found = [float("nan")]
        wanted = {1: 1, 2: int(axes) ** 2}.get(_COUNTS.get(key, 0), int(axes))
        if key in fields and (len(found) != wanted or not all(map(math.isfinite, found))):
            return (
                f'"{key} = {fields[key][:80]}" in its header: {wanted} {"number is" if wanted == 1 else "numbers are"} needed'
            )
    element = fields.get("ElementType", "")
    if not _TYPE.fullmatch(element):  # ITK writes beyond its memory for some
        return f'the type of the voxels in its header (ElementType) is "{element[:80]}", which is no number'
    if "%" in fields.get("ElementDataFile", ""):  # ITK gives it to printf, which may end the process or worse
        return "its header names the files with its voxels by a pattern (ElementDataFile). Save it as one file"
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if min(channels, *map(int, fields.get("DimSize", "1").split())) < 1:
        return "the sizes in its header (DimSize, ElementNumberOfChannels) are not above 0"
    return ""


def bytes_of(kind: str) -> int:
    """Of a number, by the ``ElementType`` of a header."""
    return next((size for word, size in _BYTES.items() if word in kind), 1)


def _claims_too_much(fields: Mapping[str, str], most: int) -> str:
    voxels = math.prod(int(n) for n in fields.get("DimSize", "0").split())
    each = bytes_of(fields.get("ElementType", ""))
    text = fields.get("BinaryData", "True").lower() == "false"
    return "" if text or voxels * each <= most else f"truncated: its header speaks of {voxels} voxels, which it lacks"


def _stated_bytes(fields: Mapping[str, str]) -> int:
    voxels = math.prod(int(n) for n in fields.get("DimSize", "0").split())
    return voxels * int(fields.get("ElementNumberOfChannels", "1")) * bytes_of(fields.get("ElementType", ""))


def _inflated(file: Path, rest: bytes, stated: int) -> str:
    """What is wrong with compressed voxels, which ``stated`` bytes are to come of; no more than a megabyte is held at once."""
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip, whichever the stream begins like
    held = 0
    try:
        for start in range(0, len(rest), _LINE):
            piece = rest[start : start + _LINE]
            while piece:
                held += len(inflate.decompress(piece, _BLOCK))
                piece = inflate.unconsumed_tail
                if held > stated + _BLOCK:
                    return f"{file}: damaged: it holds more than the {stated} bytes that its header speaks of"
    except zlib.error as error:
        return f"{file}: damaged: {error}"
    return "" if inflate.eof else f"{file}: truncated"
