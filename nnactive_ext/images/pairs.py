"""NIfTI pairs, a header (.hdr) beside its voxels (.img): told from Analyze 7.5, which does not say where its axes point."""

from __future__ import annotations

import math
from pathlib import Path

from nnactive_ext.errors import NnActiveError

_MAGIC = {348: (344, (b"ni1\0",)), 540: (4, (b"ni2\0\r\n\032\n",))}
"""The header's size, and where which words follow."""


def check_pair(file: Path) -> None:
    """Refuse a .hdr file that is not the header of a NIfTI pair whose .img file is whole.

    Raises:
        NnActiveError: it is Analyze 7.5 or another format, a NIfTI-2 pair, or the .img file is missing or too short.
    """
    import nibabel

    with open(file, "rb") as stream:
        start = stream.read(540)
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    at, magic = next((_MAGIC[size] for size in sizes if size in _MAGIC), (0, ()))
    if not any(start[at : at + len(word)] == word for word in magic):
        what = (
            "an Analyze 7.5 image, which does not say which side is left. Convert it to .nii.gz with the program that wrote "
            "it, or with one that knows its orientation, and check the sides"
        )
        raise NnActiveError(f"{file}: {what if 348 in sizes else 'no header of a NIfTI pair. Convert the image to .nii.gz'}.")
    if 540 in sizes:
        raise NnActiveError(f"{file}: a pair of NIfTI-2, which is not read. Convert it to .nii.gz, for example with nibabel.")
    voxels = _beside(file)
    try:
        image = nibabel.load(voxels)
        needed = int(image.dataobj.offset) + image.get_data_dtype().itemsize * math.prod(image.shape)  # type: ignore[attr-defined]
    except (OSError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise NnActiveError(f"{file}: damaged: {error}") from None
    if voxels.stat().st_size < needed:
        raise NnActiveError(f"{voxels}: truncated: it holds {voxels.stat().st_size} bytes, {file.name} speaks of {needed}.")


def _beside(file: Path) -> Path:
    stem = file.name[:-4].lower()
    return next(path for path in file.parent.iterdir() if path.name.lower() == f"{stem}.img")
