"""What is wrong with a MetaImage file though ITK reads it without a word."""

from __future__ import annotations

import zlib
from pathlib import Path


def what_metaimage_hides(file: Path) -> str:
    """What is wrong with a compressed .mha or .mhd: ITK takes what it could not inflate for zeros, without a word."""
    if file.suffix not in (".mha", ".mhd"):
        return ""
    fields: dict[str, str] = {}
    with open(file, "rb") as stream:
        for line in stream:
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                break
        data = fields.get("ElementDataFile", "")
        if fields.get("CompressedData", "").lower() != "true" or not data:
            return ""
        rest = stream.read() if data == "LOCAL" else b""
    if data != "LOCAL":
        beside = file.parent / data
        if not beside.is_file():
            return ""  # ITK says so
        rest = beside.read_bytes()
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip, whichever the stream begins like
    try:
        for start in range(0, len(rest), 1 << 20):
            inflate.decompress(rest[start : start + (1 << 20)])
    except zlib.error as error:
        return f"{file}: damaged: {error}"
    return "" if inflate.eof else f"{file}: truncated"
