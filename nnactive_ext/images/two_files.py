"""Images whose header is one file and whose voxels are another; a pair of NIfTI files is read as the one file it could be."""

from __future__ import annotations

import struct
from pathlib import Path

from nnactive_ext.errors import NnActiveError

TWO_FILES = (".mhd", ".nhdr")
"""Endings of headers that are refused: what they name may be any file."""
_VOXELS = {".img": (".hdr",), ".raw": TWO_FILES, ".zraw": (".mhd",)}
_NIFTI_1, _SIZE = 348, 352


def holds_voxels_of(file: Path) -> Path | None:
    """The header beside ``file`` whose voxels it holds; None if it is no such file."""
    return next(filter(None, (_sibling(file, ending) for ending in _VOXELS.get(file.suffix.lower(), ()))), None)


def voxels_of(header: Path) -> Path:
    """The file with the voxels of a ``.hdr``; NnActiveError if it is not there."""
    found = _sibling(header, ".img")
    if found is None:
        raise NnActiveError(f"{header}: the .img file with its voxels is not beside it. Copy it there, or save one .nii.gz.")
    return found


def as_one_file(header: Path, target: Path) -> None:
    """Write the pair of NIfTI-1 files whose header is ``header`` as the single file ``target`` (``.nii``): the same bytes but
    for the offset of the voxels. NnActiveError if it is another kind of pair, as Analyze 7.5, which has no place."""
    voxels, content = voxels_of(header), header.read_bytes()
    order = "<" if content[:4] == struct.pack("<i", _NIFTI_1) else ">"
    if len(content) < _NIFTI_1 or content[344:347] != b"ni1" or content[:4] != struct.pack(f"{order}i", _NIFTI_1):
        raise NnActiveError(
            f"{header}: not the header of a NIfTI-1 pair. Other files with this ending, as of Analyze 7.5, do not say where "
            "their voxels are. Save one .nii.gz file in the viewer."
        )
    first = content[_NIFTI_1:] or bytes(4)
    first += bytes(-(_NIFTI_1 + len(first)) % 16 if len(first) > 4 else 0)
    (offset,) = struct.unpack_from(f"{order}f", content, 108)
    head = bytearray(content[:_NIFTI_1])
    head[344:348] = b"n+1\0"
    struct.pack_into(f"{order}f", head, 108, float(_NIFTI_1 + len(first)))
    target.write_bytes(bytes(head) + first + voxels.read_bytes()[int(offset) :])


def _sibling(file: Path, ending: str) -> Path | None:
    """The file beside ``file`` with its stem and ``ending``, in upper or lower case."""
    return next((s for e in (ending, ending.upper()) if (s := file.with_suffix(e)).is_file()), None)
