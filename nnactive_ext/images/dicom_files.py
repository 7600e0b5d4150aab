"""Which files are DICOM, and what each holds by its header: slices of a volume, or something that is no volume."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError, brief

ENDINGS = (".dcm", ".dicom", ".ima")
_TAGS = [
    *("SOPClassUID", "Modality", "SeriesInstanceUID", "SeriesDescription", "ImageType", "Rows", "Columns", "NumberOfFrames"),
    *("ImagePositionPatient", "PerFrameFunctionalGroupsSequence"),
]
_DIRECTORY = "1.2.840.10008.1.3.10"
_STANDARD = "1.2.840.10008."
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary capture, and with a further number its multi-frame kinds."""
CAPTURE, LOCALISER = "secondary capture", "localiser"
_NO_VOLUMES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.481.1": "RTIMAGE",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
}
"""Objects with pixels that are no image of the patient, or one in a plane only."""
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
"""Kinds of elements whose length takes four bytes after two of zero."""


@dataclass(frozen=True)
class Header:
    """What decides about one file: ``uid`` and ``description`` of its series, how many ``slices`` it has, and ``kind``, what
    it holds instead of slices of a volume ("" if it holds these)."""

    file: Path
    uid: str
    description: str
    slices: int
    kind: str


def is_dicom(file: Path) -> bool:
    """Whether a file is DICOM by its ending, its signature, or, as in archives older than the signature, its first elements."""
    if file.name.upper() == "DICOMDIR" or not file.is_file():
        return False
    if file.name.lower().endswith(ENDINGS):
        return True
    with open(file, "rb") as stream:
        begin = stream.read(1024)
    return begin[128:132] == b"DICM" or _begins_with_elements(begin)


def _begins_with_elements(begin: bytes) -> bool:
    """Whether three elements of the groups 0002 or 0008 stand here in order, as in data sets without preamble."""
    at, last = 0, (0, -1)
    for _ in range(3):
        group, element = int.from_bytes(begin[at : at + 2], "little"), int.from_bytes(begin[at + 2 : at + 4], "little")
        kind = begin[at + 4 : at + 6]
        explicit = kind.isalpha() and kind.isupper()
        size = 12 if explicit and kind in _LONG else 8
        length = int.from_bytes(
            begin[at + 6 : at + 8] if explicit and size == 8 else begin[at + size - 4 : at + size], "little"
        )
        if group not in (2, 8) or (group, element) <= last or length % 2 or at + size + length > len(begin):
            return False
        at, last = at + size + length, (group, element)
    return True


def read_header(file: Path) -> Header | None:
    """The header of a DICOM file, None for a directory of others (DICOMDIR). NnActiveError: it is damaged or no DICOM."""
    with reading(file):
        found = dataset(file, _TAGS)
        sop, modality = str(found.get("SOPClassUID") or ""), str(found.get("Modality") or "")
        if sop == _DIRECTORY:
            return None
        kind = _kind(found, sop, modality)
        if not kind and not (found.get("Rows") and found.get("Columns")):
            raise NnActiveError(
                f"{file}: {'its DICOM header is incomplete' if sop else 'no DICOM file, or damaged'}. "
                "Copy it again from the archive, or move it out of the folder."
            )
        uid, description = (_printable(found.get(tag)) for tag in ("SeriesInstanceUID", "SeriesDescription"))
        return Header(file, uid, description, int(found.get("NumberOfFrames") or 1), kind)


def _printable(value: Any) -> str:
    """A tag as one line of text, without what commands a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value or "")).split())


def _kind(found: Any, sop: str, modality: str) -> str:
    from pydicom.uid import UID

    if sop in _NO_VOLUMES:
        return _NO_VOLUMES[sop]
    if not found.get("Rows"):
        name = UID(sop).name
        standard = sop.startswith(_STANDARD)
        image = any(word in name for word in ("Image Storage", "Parametric Map", "Volume Storage"))
        # An image whose header ends before its size is damaged, and no report.
        damaged = not sop or not found.get("SeriesInstanceUID") or (standard and (image or name == sop))
        return "" if damaged else modality or "object without an image"
    if "LOCALIZER" in (found.get("ImageType") or ()):
        return LOCALISER
    placed = found.get("ImagePositionPatient") or "PerFrameFunctionalGroupsSequence" in found
    return CAPTURE if (sop == _CAPTURE or sop.startswith(_CAPTURE + ".")) and not placed else ""


def dataset(file: Path, tags: list[str] | None = None, pixels: bool = False) -> Any:
    """pydicom's data set of a file, also of one without preamble; of ``tags`` only and without pixels unless asked for."""
    import pydicom

    return pydicom.dcmread(file, force=True, specific_tags=tags, stop_before_pixels=not pixels)  # type: ignore[arg-type]


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Without pydicom's warnings; what it raises on a damaged file is an NnActiveError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PermissionError:
        raise NnActiveError(f"{file}: no permission to read it.") from None
    except NnActiveError:
        raise
    except Exception as error:  # pydicom's have no common base
        raise NnActiveError(
            f"{file}: its DICOM header cannot be read: {brief(error).rstrip('.')}. Copy it again from the archive."
        ) from None
