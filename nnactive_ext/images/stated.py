"""Reads image files that ITK, and so nnU-Net, does not read, or takes to lie elsewhere than their headers state."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.corners import ALLOWED, farthest, is_straight, straightened
from nnactive_ext.geometry.space import Space
from nnactive_ext.images import metaimage, nrrd
from nnactive_ext.images.nifti import header_problem, is_nifti, kind_problem
from nnactive_ext.images.nifti_place import is_nifti2, is_pair, load, raw_header, size_of, stated_affine, units

NIFTI2 = "NIfTI-2"
STRAIGHTENED = "axes a little off the right angle, which are made straight"
UNITS = "a unit of length other than mm, which is converted"
ENDING = "an ending in capital letters"
SPACING = "another spacing in pixdim than in the matrix (sform), whose place is taken"


def why_copied(file: Path) -> str:
    """Why an image file is not read as ITK reads it; one of the constants of this module.

    Args:
        file: NIfTI, NRRD or MetaImage.

    Returns:
        "" where ITK reads it as it states, and where neither can be told because the file is missing or damaged.
    """
    try:
        stat = file.stat()
    except OSError:
        return ""
    return _why(str(file), stat.st_size, stat.st_mtime_ns)


@lru_cache(4096)
def _why(name: str, size: int, changed: int) -> str:
    file = Path(name)
    try:
        if is_nifti(file):
            return _why_nifti(file)
        if nrrd.is_nrrd(file):
            return _why_sheared(file) if set(nrrd.units_of(nrrd.fields_of(file))[0]) == {1.0} else UNITS
        if metaimage.is_metaimage(file):
            known = file.name.endswith((".mha", ".mhd"))
            return UNITS if metaimage.units_of(file) != 1 else _why_sheared(file) if known else ENDING
    except (OSError, EOFError, ValueError):
        return ""
    return ""


def _why_sheared(file: Path) -> str:
    """Of a format that ITK reads with sheared axes; nnU-Net and viewers take all axes for straight ones."""
    damaged = metaimage.metaimage_header_problem(file) or nrrd.what_nrrd_hides(file)  # of which some end the whole process
    found = "" if damaged else _by_itk(file)
    if isinstance(found, str):
        return ""
    lengths = np.linalg.norm(found[:3, :3], axis=0)
    return STRAIGHTENED if lengths.all() and not is_straight(found[:3, :3] / lengths) else ""


def _why_nifti(file: Path) -> str:
    header = raw_header(file)
    if is_nifti2(header.binaryblock[:8]):
        return NIFTI2
    ending = "" if is_pair(file) else file.name[-7 if file.name.lower().endswith(".gz") else -4 :]
    if ending not in (ending.lower(), ending.upper()):
        return ENDING
    if header_problem(file):  # of which some keep ITK busy for ever
        return ""
    found = _by_itk(file)
    if isinstance(found, str):
        return STRAIGHTENED if "orthonormal" in found else ""
    # By a qform they agree but for rounding, and so do both if there are two (nifti_place.place_problem).
    only_sform = int(header["sform_code"]) > 0 and int(header["qform_code"]) <= 0
    stated = stated_affine(header)
    return SPACING if only_sform and stated is not None and farthest(stated, found, size_of(header)) > ALLOWED else ""


def _by_itk(file: Path) -> np.ndarray | str:
    """4x4 from index (x, y, z) to world as ITK has it, or what ITK says."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        return str(error)
    if reader.GetDimension() != 3:
        return "not 3D"
    return Space.of_image(reader).affine


def unit_problem(file: Path) -> str:
    """What is wrong with the unit of length in the header of a NRRD or MetaImage file, with the file's name; "" if nothing
    is."""
    try:
        if nrrd.is_nrrd(file):
            nrrd.units_of(nrrd.fields_of(file))
        elif metaimage.is_metaimage(file):
            metaimage.units_of(file)
    except ValueError as error:
        where = '"space units" or "units"' if nrrd.is_nrrd(file) else "DistanceUnits"
        return f'{file}: {error}. Write a unit such as "mm" or "um" into its header ({where}).'
    return ""


def read_as_stated(file: Path) -> Any:
    """Read an image for which :func:`why_copied` has a reason.

    Args:
        file: NIfTI, NRRD or MetaImage.

    Returns:
        A 3D SimpleITK image: the voxels of the file, at the place that its header states, with straight axes.

    Raises:
        NnActiveError: the file cannot be read, or its axes are too far off the right angle.
    """
    return _nifti(file) if is_nifti(file) else _scaled(file)


def _nifti(file: Path) -> Any:
    if problem := kind_problem(file):
        raise NnActiveError(problem)
    header = raw_header(file)
    size = size_of(header)
    try:
        image: Any = load(file)
        array = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, OverflowError, MemoryError) as error:
        raise NnActiveError(f"{file}: damaged or truncated: {brief(error)}") from None
    if array.size != np.prod(size):
        shape = "x".join(map(str, image.shape))
        raise NnActiveError(
            f"{file}: {len(image.shape)}D ({shape}): several volumes in one file. Split it into one file per volume."
        )
    stated = stated_affine(header)
    if stated is None:  # as ITK puts it, which reads other files without a place
        stated = np.diag([*(units(header) * np.asarray(header["pixdim"][1:4], float)), 1.0])
    kind = array.dtype.newbyteorder("=")
    kind = np.dtype(np.float64) if kind.kind == "f" and kind.itemsize > 8 else kind
    import SimpleITK as sitk

    voxels = np.ascontiguousarray(array.reshape(size).T.astype(kind, copy=False))
    return _placed(file, sitk.GetImageFromArray(voxels), stated)


def shear_problem(file: Path, affine: np.ndarray | None = None, size: Sequence[int] = ()) -> str:
    """What is wrong with an image whose axes are too far off the right angle to be made straight, with the file's name; ""
    if they are not. Without an ``affine`` (4x4, from index (x, y, z) to mm) that of a NIfTI file counts."""
    if affine is None:
        header = raw_header(file)
        affine, size = stated_affine(header), size_of(header)
    if affine is None:
        return ""
    moved = farthest(affine, straightened(affine, size), size)
    if moved <= ALLOWED:
        return ""
    return (
        f"{file}: the axes in its header are not at right angles (sheared): straight ones would move a corner of the image by "
        f"{moved:.3g} voxels, and {ALLOWED:g} are allowed. Resample it to a straight grid, or restore the header."
    )


def _placed(file: Path, image: Any, affine: np.ndarray) -> Any:
    """The image put to ``affine``, made straight."""
    size = image.GetSize()
    if problem := shear_problem(file, affine, size):
        raise NnActiveError(problem)
    straight = straightened(affine, size)
    # Axes that were straight before keep their numbers.
    space = Space.of_affine(affine if farthest(affine, straight, size) < 1e-6 else straight, size[::-1])
    image.SetSpacing(space.spacing)
    image.SetOrigin(space.origin)
    image.SetDirection(space.direction)
    return image


def _scaled(file: Path) -> Any:
    """A NRRD or MetaImage in mm."""
    if metaimage.is_metaimage(file):
        image, factors, of_world = _read_metaimage(file), [metaimage.units_of(file)] * 3, True
    else:
        image, (factors, of_world) = _read(file), nrrd.units_of(nrrd.fields_of(file))
    if image.GetDimension() != 3:
        raise NnActiveError(f"{file}: a {image.GetDimension()}D image; 3D images are needed.")
    affine = Space.of_image(image).affine
    affine[:3, 3] *= factors
    affine[:3, :3] *= np.array(factors)[:, None] if of_world else factors
    return _placed(file, image, affine)


def _read(file: Path, format_name: str = "") -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(os.fspath(file))
    if format_name:
        reader.SetImageIO(format_name)
    try:
        return reader.Execute()
    except RuntimeError as error:
        raise NnActiveError(f"{file}: cannot be read: {brief(error)}") from None


def _read_metaimage(file: Path) -> Any:
    """ITK knows MetaImage by the ending, in small letters."""
    return _read(file, "MetaImageIO")
