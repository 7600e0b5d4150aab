"""Reads the voxels, the place and the header of an image file, and refuses what no label map can be or what is damaged."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.images import dicom_segmentation, metaimage, nrrd, two_files
from nnactive_ext.images.metaimage import is_metaimage, metaimage_header_problem, what_metaimage_hides
from nnactive_ext.images.names import check_name
from nnactive_ext.images.nifti import header_problem, what_itk_hides
from nnactive_ext.images.nrrd import what_nrrd_hides
from nnactive_ext.images.placeless import PLACELESS, has_no_place, read_placed
from nnactive_ext.images.sizes import Grid, check_memory, stated_size
from nnactive_ext.images.stated import read_as_stated, unit_problem, why_copied
from nnactive_ext.images.voxels import not_finite
from nnactive_ext.paths import is_special
from nnactive_ext.refusals import refuses

ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
"""What ITK reads; a .nhdr or .mhd names the file beside it that holds the voxels."""
READABLE = (*ENDINGS, ".hdr", *PLACELESS, dicom_segmentation.ENDING)
"""What can be read; the voxels of a .hdr are in the .img beside it, and .tif and .npy have no place."""

_SAVE_AGAIN = "Save it again in the viewer, or copy it again."


@dataclass(frozen=True)
class LabelImage:
    """``layers``: (layer, z, y, x), whole numbers or finite floats, one layer in most files. ``header``: what the file
    says in words."""

    layers: np.ndarray
    space: Space
    header: Mapping[str, str]


@refuses
def read_image(file: Path, places: Sequence[Space] = (), grid: Grid | None = None) -> LabelImage:
    """Read the voxels, the space and the header of an image file.

    What its header says is checked first: its size, and where it lies, before a voxel is unpacked.

    Args:
        file: NIfTI (also a pair of .hdr and .img), NRRD, MetaImage, DICOM segmentation, TIFF stack or .npy; the ending may be
            in upper case.
        places: where a file without a place (TIFF, .npy) may lie; the first with its shape counts.
        grid: the lattice that it must have, cut or extended; None: any that fits into memory.

    Returns:
        Voxels as (layer, z, y, x), most files have one layer; space; header.

    Raises:
        NnActiveError: the file is missing, damaged, too large, on another grid, or not a 3D image of real numbers.
    """
    name = file.name.lower()
    if file.is_dir():
        raise NnActiveError(f"{file}: a folder, not an image. Name a file ({', '.join(READABLE)}).")
    if not file.is_file():
        raise NnActiveError(f"{file}: no such file.")
    check_name(file)
    if not name.endswith(READABLE):
        raise NnActiveError(f"{file}: label maps cannot be read from this format. Save it as one of {', '.join(READABLE)}.")
    if file.stat().st_size == 0:
        raise NnActiveError(f"{file}: an empty file. {_SAVE_AGAIN}")
    if has_no_place(file):
        array, space = read_placed(file, places)
        return LabelImage(_numbers(file, array)[None], space, {})
    if name.endswith(dicom_segmentation.ENDING):
        layers, space, header = dicom_segmentation.read_segmentation(file, grid)
        return LabelImage(layers, _finite(file, space), header)
    if name.endswith(".nii.gz") and file.with_suffix("").exists():
        # ITK then takes the header from the one and the voxels from the other.
        raise NnActiveError(f"{file}: {file.with_suffix('').name} lies beside it. Move the one that is not meant elsewhere.")
    with _as_itk_reads(file) as readable:
        try:
            return _read_by_itk(readable, grid)
        except NnActiveError as error:
            raise NnActiveError(str(error).replace(str(readable), str(file))) from None


@contextmanager
def _as_itk_reads(file: Path) -> Iterator[Path]:
    """``file``, or a copy of it that ITK recognises: one file instead of two, its ending in lower case. A header that names
    the file with its voxels is left beside it."""
    ending = max((e for e in ENDINGS if file.name.lower().endswith(e)), key=len, default=None)
    if ending and (file.name.endswith(ending) or ending in two_files.TWO_FILES):
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"copy{ending or '.nii'}"
        if ending:
            shutil.copyfile(file, copy)
        else:
            two_files.as_one_file(file, copy)
        yield copy


def _check_data_files(file: Path, alone: bool) -> None:
    """The header of a label map must not name a file elsewhere, whose bytes would be taken for labels; ``alone``: nor any other
    file, as somebody may have sent it."""
    if is_metaimage(file):
        named = metaimage.data_files(file)
    else:
        named = nrrd.data_files(nrrd.fields_of(file)) if nrrd.is_nrrd(file) else []
    if named and alone:
        raise NnActiveError(f"{file}: its header names another file with its voxels. Save it as one file.")
    for name in named:
        parts = re.split(r"[/\\]", name)
        if name.startswith("LIST") or ".." in parts or not parts[0] or ":" in parts[0] or is_special(file.parent / name):
            raise NnActiveError(f"{file}: its voxels are in {name[:80]!r}, not in a file beside it. Save it as one file.")


def _check_header(file: Path, grid: Grid | None) -> None:
    """The size of a file, and its place where ITK reads it as it is, by its header."""
    _check_data_files(file, grid is not None)
    size = stated_size(file)
    if size is None or (size.voxels <= 1 and file.name.lower().endswith(".seg.nrrd")):  # 3D Slicer's without a segment's voxel
        return
    if grid is None:
        check_memory(file, size.bytes)
        return
    grid.check_size(file, size)
    # Of files that are read as they state themselves, the place is compared when it is known; of damaged ones nobody asks ITK.
    damaged = header_problem(file) or metaimage_header_problem(file) or what_nrrd_hides(file) or unit_problem(file)
    if not damaged and not why_copied(file):
        import SimpleITK as sitk

        header = sitk.ImageFileReader()
        header.SetFileName(str(file))
        try:
            header.ReadImageInformation()
        except RuntimeError:
            return  # is said when it is read
        place = [*header.GetSpacing(), *header.GetOrigin(), *header.GetDirection()]
        if header.GetDimension() == 3 and np.isfinite(place).all():
            grid.check_place(file, Space.of_image(header))


def _read_by_itk(file: Path, grid: Grid | None) -> LabelImage:
    _check_header(file, grid)
    problem = what_itk_hides(file) or what_metaimage_hides(file) or what_nrrd_hides(file)
    if problem:
        raise NnActiveError(f"{problem.rstrip('.')}. {_SAVE_AGAIN}")
    if problem := header_problem(file) or unit_problem(file):
        raise NnActiveError(problem)
    try:
        image, array = _load(file)
    except (RuntimeError, MemoryError) as error:
        raise NnActiveError(f"{file}: {_explanation(error)}") from None
    if image.GetDimension() != 3:
        raise NnActiveError(f"{file}: a {image.GetDimension()}D image, and label maps are 3D. Save one 3D label map.")
    array = _numbers(file, array)
    layers = np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]
    return LabelImage(layers, _finite(file, Space.of_image(image)), _header(image))


def _header(image: Any) -> dict[str, str]:
    """The key-value pairs of an ITK image. ITK finds no value of a key that is not UTF-8; it is none of those that we know."""
    found = {}
    for key in image.GetMetaDataKeys():
        known = key.isascii() or key.encode("utf-8", "replace").decode() == key
        found[_text(key)] = _text(image.GetMetaData(key)) if known else ""
    return found


def _numbers(file: Path, array: np.ndarray) -> np.ndarray:
    """``array``, whole numbers or finite floats; else NnActiveError."""
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if array.dtype.kind not in "uif":
        raise NnActiveError(f"{file}: holds values of the type {array.dtype}, which no label map does. Save a label map.")
    bad = 0 if array.dtype.kind != "f" else array.size - int(np.isfinite(array).sum())
    if bad:
        raise NnActiveError(f"{file}: {not_finite(bad)}. {_SAVE_AGAIN}")
    return array


def _finite(file: Path, space: Space) -> Space:
    """``space``, if its numbers are finite; else NnActiveError."""
    if not np.isfinite(space.affine).all():
        raise NnActiveError(f"{file}: its origin, spacing or direction is not a finite number. {_SAVE_AGAIN}")
    return space


def _load(file: Path) -> tuple[Any, np.ndarray]:
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK would write to the terminal what we check or do not need
    try:
        image = read_as_stated(file) if why_copied(file) else sitk.ReadImage(str(file))
        return image, sitk.GetArrayFromImage(image)
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _text(value: str) -> str:
    """NRRD headers are UTF-8 by now; bytes that are not come from programs that wrote Latin-1."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _explanation(error: Exception) -> str:
    """What ITK said, in words of the user."""
    text = str(error)
    if "orthonormal" in text:
        return (
            "its axes are not at right angles, which ITK does not read. Resample it, or save it in the viewer on the grid of "
            "the image that was sent out."
        )
    if "Unable to determine ImageIO" in text:
        return f"not an image of the kind its name says, or damaged. {_SAVE_AGAIN}"
    if "No such file or directory" in text:  # of MetaImage files that exist: ITK's reader gives no other reason
        return f"damaged, truncated, or without the file that holds its voxels. {_SAVE_AGAIN}"
    last = [line.strip() for line in text.splitlines() if line.strip()][-1:]
    return f"cannot be read: {''.join(last) or type(error).__name__}. {_SAVE_AGAIN}"
