"""What is wrong with a NIfTI file though ITK reads it without a word."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import brief
from nnactive_ext.images.nifti_place import is_pair, load, place_problem, raw_header
from nnactive_ext.images.voxels import COMPLEX, not_finite, several_numbers

_MORE = 1 << 20
"""Bytes that may follow the voxels."""
_UNSCALED = float(np.finfo(float).eps)
"""ITK does not scale by a slope that is nearer to 0."""


def what_itk_hides(file: Path, copy: Path | None = None) -> str:
    """What is wrong with a NIfTI file though ITK reads it: it takes NaN, infinity and all that a file cut short lacks
    for 0, without a word. Empty if nothing is, and for other formats. ``copy``: where a .nii.gz that is whole is decompressed
    to, if there is room."""
    if not is_nifti(file):
        return ""
    try:
        if problem := scaling_problem(file):
            return problem
        if file.suffix.lower() == ".gz":
            beside = file.with_suffix("")
            if beside.exists():  # ITK would take the header from the one and the voxels from the other
                return f"{file}: {beside.name} lies beside it. Move the one that is not meant elsewhere."
        image: Any = load(file)
        needed = int(image.dataobj.offset) + math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
        held = _decompressed(file, copy, 2 * needed + _MORE) if file.suffix.lower() == ".gz" else 0
        if held > 2 * needed + _MORE:
            return f"{file}: damaged: it holds more than twice the {needed} bytes that its header speaks of"
        if file.suffix.lower() == ".gz" and held < needed:
            return f"{file}: truncated before it was compressed: it holds {held} bytes, its header speaks of {needed}."
        if file.suffix.lower() != ".gz" and (held := Path(image.file_map["image"].filename).stat().st_size) < needed:
            return f"{file}: truncated: it holds {held} bytes, its header speaks of {needed}."  # before memory is taken
        if image.get_data_dtype().kind != "f" and file.suffix.lower() == ".gz":
            return ""
        if copy is not None and copy.is_file():
            image = load(copy)
        voxels = np.asanyarray(image.dataobj)
        bad = 0 if voxels.dtype.names else voxels.size - int(np.isfinite(voxels).sum())  # colours have names
    except (OSError, EOFError, ValueError, zlib.error, OverflowError) as error:
        return f"{file}: damaged or truncated: {brief(error)}"
    return f"{file}: {not_finite(bad)}." if bad else ""


def _decompressed(file: Path, copy: Path | None, most: int) -> int:
    """The bytes that a .gz file holds. It is read to its end, where the checksum is, and written to ``copy`` meanwhile; of what
    holds more than ``most`` bytes no copy is made, and the rest is not read."""
    held, part = 0, copy.with_suffix(".part") if copy else Path(os.devnull)
    with gzip.open(file) as stream, open(part, "wb", buffering=0) as target:
        while block := stream.read(1 << 20):
            held += len(block)
            if held > most:
                return held
            if copy is not None:
                with suppress(OSError):  # the device is full
                    if target.write(block) == len(block):
                        continue
                copy = None
    if copy is not None:
        with suppress(OSError):
            os.replace(part, copy)
    return held


def kind_problem(file: Path) -> str:
    """What keeps the voxels of a NIfTI file from being single real numbers; readers drop imaginary parts without a word."""
    if not is_nifti(file):
        return ""
    image: Any = load(file)
    kind = image.get_data_dtype()
    if kind.kind == "c":
        return f"{file}: {COMPLEX}."
    return f"{file}: {several_numbers(len(kind.names))}." if kind.names else ""


def header_problem(file: Path) -> str:
    """What is wrong with a NIfTI header that ITK mends by guessing (a spacing of 0 becomes 1 mm), or that programs read
    in different ways. Empty if nothing is, and for other formats."""
    if not is_nifti(file):
        return ""
    try:
        header = raw_header(file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        return f"{file}: damaged or truncated: {brief(error)}"
    if int(header["sizeof_hdr"]) != header.sizeof_hdr:
        return (
            f"{file}: damaged: its header gives itself {int(header['sizeof_hdr'])} bytes (sizeof_hdr), not {header.sizeof_hdr}."
        )
    offset = float(header["vox_offset"])
    first = 0 if is_pair(file) else header.sizeof_hdr + 4
    if not (offset == 0 or (first <= offset < 1e9 and offset == int(offset))):
        return f"{file}: its header says that the voxels begin at byte {offset:g} (vox_offset)."
    spacing = np.asarray(header["pixdim"][1:4], float)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        return f"{file}: its header gives a spacing of {numbers(spacing)} mm."
    place = [float(header[key]) for key in ("qoffset_x", "qoffset_y", "qoffset_z", "quatern_b", "quatern_c", "quatern_d")]
    if int(header["qform_code"]) > 0 and not np.isfinite(place).all():
        return f"{file}: the place in its header (qform) holds NaN or infinity."
    if int(header["sform_code"]) > 0:
        matrix = np.asarray(header.get_sform(), float)
        if not np.isfinite(matrix).all():
            return f"{file}: the matrix in its header (sform) holds NaN or infinity."
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        if not np.allclose(lengths, spacing, rtol=1e-2, atol=0):
            return (
                f"{file}: its header contradicts itself: the spacing is {numbers(spacing)} mm by pixdim but "
                f"{numbers(lengths)} mm by the matrix (sform)."
            )
    problem = place_problem(header)
    return f"{file}: {problem}." if problem else ""


def scaling_problem(file: Path) -> str:
    """What keeps programs from reading the values of a NIfTI file alike. By the standard a slope of 0 means that nothing is
    scaled, and so nibabel and FSL read it; ITK, and so nnU-Net, adds the intercept all the same."""
    header = raw_header(file)
    slope, intercept = (float(header[key]) for key in ("scl_slope", "scl_inter"))
    if np.isfinite(slope) and slope != 0:
        readable = np.isfinite(intercept) and abs(slope) >= _UNSCALED
        wrong = f"{file}: its header scales the voxels by {slope:g} and adds {intercept:g} (scl_slope, scl_inter). Correct it."
        return "" if readable else wrong
    if intercept == 0 or not np.isfinite(intercept):
        return ""
    return (
        f"{file}: its header scales the voxels by {slope:g} and adds {intercept:g} (scl_slope, scl_inter), which programs read "
        "in different ways. For the voxels as they are stored, as NIfTI defines it and nibabel shows them: in Python "
        "i = nibabel.load(FILE), then a = numpy.asanyarray(i.dataobj), then "
        "nibabel.save(nibabel.Nifti1Image(a, i.affine, i.header, dtype=a.dtype), NEW_FILE); "
        f"for stored values plus {intercept:g} use a = numpy.asanyarray(i.dataobj) + ({float(intercept)!r})."
    )


def numbers(values: Any) -> str:
    return "(" + ", ".join(f"{value + 0.0:.6g}" for value in np.asarray(values, float).ravel()) + ")"


def is_nifti(file: Path) -> bool:
    return file.name.lower().endswith((".nii", ".nii.gz")) or is_pair(file)
