"""Where a NIfTI header says that the voxels lie: its two matrices (qform, sform), its units, and what is wrong with them."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import brief
from nnactive_ext.geometry.corners import ALLOWED, farthest

_CODES = range(6)
_MM = {1: 1000.0, 3: 0.001}
"""mm of NIfTI's units of space: metre and micron; 2 is mm, and 0, which says nothing, is read as mm by everybody."""
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ROUNDING = float(np.finfo(np.float32).eps)


def raw_header(file: Path) -> Any:
    """The header of a NIfTI-1 or NIfTI-2 file as it is stored: nibabel's, without the repairs that it makes on loading.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no NIfTI header.
    """
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.wrapstruct import WrapStructError

    file = file.with_suffix(".hdr") if file.suffix.lower() == ".img" else file
    with gzip.open(file) if file.name.lower().endswith(".gz") else open(file, "rb") as stream:
        start = stream.read(Nifti2Header.sizeof_hdr)
    kind = Nifti2Header if is_nifti2(start) else Nifti1Header
    if len(start) < kind.sizeof_hdr:
        raise ValueError("the file is shorter than a NIfTI header")
    try:
        return kind(start[: kind.sizeof_hdr], check=False)
    except (WrapStructError, KeyError) as error:
        raise ValueError(f"no NIfTI header: {error}") from None


def load(file: Path) -> Any:
    """A NIfTI file as nibabel reads it, whatever case its ending has; no voxel is read yet.

    Raises:
        OSError: the file cannot be read.
        ValueError: nibabel does not read it.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Image
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    kind = Nifti2Image if is_nifti2(raw_header(file).binaryblock[:8]) else Nifti1Image
    try:
        if is_pair(file):
            return nibabel.load(file)
        return kind.from_file_map(kind.make_file_map({"image": str(file)}))
    except (HeaderDataError, WrapStructError, ImageFileError, KeyError, OverflowError) as error:
        raise ValueError(brief(error)) from None


def is_pair(file: Path) -> bool:
    """Whether a file is one of the two of a NIfTI image, by its name and its header; Analyze 7.5 has the same names."""
    if file.suffix.lower() not in (".hdr", ".img"):
        return False
    try:
        with open(file.with_suffix(".hdr") if file.suffix.lower() == ".img" else file, "rb") as stream:
            start = stream.read(348)
    except OSError:
        return False
    return start[344:348] in (b"ni1\0", b"n+1\0") or is_nifti2(start)


def is_nifti2(start: bytes) -> bool:
    """Whether a file that begins so is NIfTI-2, in either byte order."""
    return start[4:8] in (b"n+2\0", b"ni2\0") or 540 in (int.from_bytes(start[:4], order) for order in ("little", "big"))  # type: ignore[arg-type]


def size_of(header: Any) -> list[int]:
    """Voxels along (x, y, z); an axis that a header lacks has one."""
    dim = [int(n) for n in header["dim"]]
    return [dim[axis] if axis <= dim[0] else 1 for axis in (1, 2, 3)]


def stated_affine(header: Any) -> np.ndarray | None:
    """4x4 from index (x, y, z) to LPS mm as the standard, nibabel and FSL read it: by the sform, without one by the qform.

    None if the header gives neither.
    """
    if int(header["sform_code"]) > 0:
        return _sform(header)
    return _qform(header) if int(header["qform_code"]) > 0 else None


def place_problem(header: Any) -> str:
    """What keeps a header from giving one place; empty if nothing does. No whole sentence.

    Of a header with two places ITK follows the sform if its code is 1 (scanner), else the qform; nibabel follows the sform
    always. So both must be one place, at each corner of the image.
    """
    codes = {key: int(header[key]) for key in ("qform_code", "sform_code")}
    for key, code in codes.items():
        if code not in _CODES:
            return f"its {key} is {code}, which NIfTI does not define (0 to 5)"
    factor = float(header["pixdim"][0])
    if codes["qform_code"] > 0 and factor < 0 and factor != -1:
        return f"its pixdim[0] is {factor:g}, and programs read only -1 and 1 in the same way"
    problem = _first_problem(header, codes)
    if problem or not all(codes.values()):
        return problem
    q, s, size = _qform(header), _sform(header), size_of(header)
    apart = farthest(s, q, size)
    if apart <= ALLOWED + _of_rounding(header, size):
        return ""
    return (
        f"its header gives two places, {apart:.3g} voxels apart at a corner: by its qform (code {codes['qform_code']}) the "
        f"image reaches {_reach(q, size)}, by its sform (code {codes['sform_code']}) {_reach(s, size)}, in mm (RAS). Programs "
        "follow one or the other. Keep the right one: in Python i = nibabel.load(FILE), then for the sform "
        "i.set_qform(i.get_sform(), 1), for the qform i.set_sform(i.get_qform(), 1), then nibabel.save(i, NEW_FILE)"
    )


def _first_problem(header: Any, codes: dict[str, int]) -> str:
    """Of a matrix that is none."""
    if codes["qform_code"] > 0:
        parts = [float(header[f"quatern_{letter}"]) for letter in "bcd"]
        # ITK takes a rotation of 180 degrees for what nibabel refuses.
        if not sum(part * part for part in parts) <= 1 + 1e-5:
            return "the rotation in its header (qform) is none: its quaternion is longer than 1"
        if not np.isfinite(_qform(header)).all():
            return "the place in its header (qform) is not finite"
    if codes["sform_code"] <= 0:
        return ""
    axes = _sform(header)[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.all() or abs(np.linalg.det(axes / lengths)) < 1e-3:
        return "two axes of the matrix in its header (sform) are parallel, or one has no length"
    return ""


def units(header: Any) -> float:
    """mm in the header's unit of space; like ITK, a unit that NIfTI does not define is read as mm."""
    return _MM.get(int(header["xyzt_units"]) & 7, 1.0)


def _sform(header: Any) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3] = [header["srow_x"], header["srow_y"], header["srow_z"]]
    matrix[:3] *= units(header)
    return _LPS @ matrix


def _qform(header: Any) -> np.ndarray:
    b, c, d = (float(header[f"quatern_{letter}"]) for letter in "bcd")
    rest = 1 - b * b - c * c - d * d
    if rest < _ROUNDING:  # half a turn: what single precision leaves of the first number is rounding
        length = math.sqrt(max(b * b + c * c + d * d, 1e-30))
        a, b, c, d = math.sqrt(max(rest, 0.0)), b / length, c / length, d / length
    else:
        a = math.sqrt(rest)
    from nibabel.quaternions import quat2mat

    matrix = np.eye(4)
    spacing = np.asarray(header["pixdim"][1:4], float)
    matrix[:3, :3] = quat2mat([a, b, c, d]) * (spacing * [1, 1, -1 if float(header["pixdim"][0]) < 0 else 1])
    matrix[:3, 3] = [float(header[f"qoffset_{letter}"]) for letter in "xyz"]
    matrix[:3] *= units(header)
    return _LPS @ matrix


def _of_rounding(header: Any, size: list[int]) -> float:
    """Voxels by which the far corner may be off because a header keeps three of the four numbers of a rotation, in single
    precision: near half a turn the fourth, and with it the angle, is uncertain by up to the root of the rounding."""
    rest = max(0.0, 1 - sum(float(header[f"quatern_{letter}"]) ** 2 for letter in "bcd"))
    angle = 2 * min(math.sqrt(1.5 * _ROUNDING), 1.5 * _ROUNDING / (2 * math.sqrt(rest) + 1e-30))
    spacing = np.asarray(header["pixdim"][1:4], float)
    return angle * float(np.linalg.norm((np.asarray(size) - 1) * spacing) / spacing.min())


def _reach(affine: np.ndarray, size: list[int]) -> str:
    """The places of the first and the last voxel, in RAS as viewers show them."""
    ends = [(_LPS @ affine @ [*index, 1.0])[:3] for index in ([0, 0, 0], [n - 1 for n in size])]
    return " to ".join("(" + ", ".join(f"{value + 0.0:.4g}" for value in end) + ")" for end in ends)
