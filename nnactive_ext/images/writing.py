"""Label maps and crops written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space


def write_whole(file: Path, temporary: Path, array: np.ndarray, space: Space) -> None:
    """Write ``array`` (z, y, x) to ``temporary``, which is to become ``file``, and read it back: on a full disk ITK writes
    half a file and says nothing."""
    import SimpleITK as sitk

    try:
        sitk.WriteImage(space.image(array), str(temporary), True)
        written = np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(temporary))), array)
    except RuntimeError:
        written = False
    if not written:
        raise NnActiveError(f"{file}: the file could not be written. Check the free disk space and try again.")
