"""Where the voxels of an image file lie in the patient, from its header alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json
from nnactive_ext.geometry.axes import orientation, reoriented
from nnactive_ext.geometry.patch import triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.nifti import is_nifti
from nnactive_ext.images.nifti_place import load

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


def stated_geometry(file: Path) -> dict[str, Any] | None:
    """What the header of an image file states about the place of its voxels; no voxel is read.

    Args:
        file: an image in any format.

    Returns:
        ``size`` in voxels, ``spacing`` and ``origin`` in mm along the file's own axes (x, y, z), ``direction`` (row-major), as
        far as the format has them; the spacing of a TIFF is that of the .json file beside it, as nnU-Net reads it. None where
        nothing can be read without the voxels.

    Raises:
        OSError: the file cannot be opened.
    """
    import SimpleITK as sitk

    with open(file, "rb"):  # ITK says no such thing as "permission denied"
        pass
    header = sitk.ImageFileReader()
    header.SetFileName(str(file))
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        header.ReadImageInformation()
    except RuntimeError:
        return _sheared(file)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    found = {"size": list(header.GetSize())}
    if file.suffix.lower() in (".tif", ".tiff"):
        return {**found, **_beside(file)}
    if file.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp"):
        return found
    spacing, origin, direction = _geometry(header)
    return {**found, "spacing": list(spacing), "origin": list(origin), "direction": list(direction)}


def _sheared(file: Path) -> dict[str, Any] | None:
    """Of a NIfTI whose axes are not at right angles, which ITK does not read."""
    if not is_nifti(file):
        return None
    try:
        image: Any = load(file)
    except (OSError, EOFError, ValueError):
        return None
    affine = np.asarray(image.affine, float)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / np.where(spacing > 0, spacing, 1)
    origin, axes = affine[:3, 3].tolist(), direction.ravel().tolist()
    return {"size": list(image.shape), "spacing": spacing.tolist(), "origin": origin, "direction": axes}


class _Beside(TypedDict):
    spacing: list[float]


def _beside(file: Path) -> dict[str, Any]:
    """The spacing in the .json file beside a TIFF image, whose name has no number of a channel."""
    beside = file.with_name(f"{file.stem[:-5]}.json")
    try:
        return {"spacing": read_json(beside, _Beside)["spacing"]}
    except (OSError, NnActiveError):
        return {}


def states_spacing(file: Path) -> bool:
    """Whether nnU-Net finds a spacing beside a TIFF image, whose name ends in the number of a channel."""
    return bool(_beside(file))


def same_geometry(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two headers state the same place, but for rounding: headers hold single precision.

    >>> same_geometry({"size": [4], "spacing": [0.3]}, {"size": [4], "spacing": [0.30000001192]})
    True
    """
    if one.keys() != other.keys() or list(one["size"]) != list(other["size"]):
        return False
    smallest = min(map(abs, one.get("spacing", [1.0])))
    slack = {"spacing": (1e-4, 0.0), "origin": (1e-5, 1e-2 * smallest), "direction": (0.0, 1e-4)}
    return all(
        len(one[key]) == len(other[key]) and np.allclose(one[key], other[key], rtol=rtol, atol=atol)
        for key, (rtol, atol) in slack.items()
        if key in one
    )
