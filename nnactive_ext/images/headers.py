"""Where the voxels of an image file lie in the patient, from its header alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import orientation, reoriented
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space

REORIENTING = "SimpleITKIOWithReorient"
PLAIN = "SimpleITKIO"


def header_space(file: Path, reader: str) -> tuple[Space, dict[str, Any]]:
    """The space of a file's array as nnU-Net's ``reader`` gives it, and the properties its writer wants; no voxel is read."""
    import SimpleITK as sitk

    header = sitk.ImageFileReader()
    header.SetFileName(str(file))
    try:
        header.ReadImageInformation()
    except RuntimeError as error:
        raise NnActiveError(f"{file}: cannot be read: {str(error).splitlines()[-1].strip()}") from None
    space = Space(triple(header.GetSize()[::-1]), *_geometry(header))
    stuff: dict[str, Any] = {}
    if reader == REORIENTING:
        space, stuff = reoriented(space), {"original_orientation": orientation(space.direction)}
    stuff |= {"spacing": space.spacing, "origin": space.origin, "direction": space.direction}
    return space, {"sitk_stuff": stuff, "spacing": list(space.spacing_zyx)}


def _geometry(header: Any) -> tuple:
    return tuple(header.GetSpacing()), tuple(header.GetOrigin()), tuple(header.GetDirection())
