"""Reads label maps that this package wrote as .nii.gz, in a tenth of the time that ITK takes for a small one."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

_HEADER, _VOXELS = 348, 352
_TYPES: dict[int, str] = {2: "u1", 512: "<u2"}


def read_own(file: Path) -> np.ndarray | None:
    """The voxels (z, y, x) of a label map as ``nnactive_ext.images.writing`` leaves it.

    Args:
        file: a .nii.gz whose content the caller checks, by a checksum of its voxels.

    Returns:
        Whole numbers of 8 or 16 bits; None where the file is missing, damaged, or of another making.
    """
    try:
        content = gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error):
        return None
    if len(content) < _VOXELS or content[344:348] != b"n+1\0" or int.from_bytes(content[:4], "little") != _HEADER:
        return None
    dim = np.frombuffer(content, "<i2", 8, 40)
    kind = _TYPES.get(int(np.frombuffer(content, "<i2", 1, 70)[0]))
    offset, slope, intercept = np.frombuffer(content, "<f4", 3, 108).tolist()
    if kind is None or dim[0] != 3 or (dim[1:4] < 1).any() or offset != _VOXELS or slope not in (0, 1) or intercept != 0:
        return None
    voxels = np.frombuffer(content, np.dtype(kind), offset=_VOXELS)
    shape = tuple(int(n) for n in dim[3:0:-1])
    return voxels.reshape(shape).copy() if voxels.size == np.prod(shape) else None
