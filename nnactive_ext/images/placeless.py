"""Reads arrays that say nothing of where their voxels are (.tif, .npy): the array (z, y, x) that was sent, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.space import Space

PLACELESS = (".tif", ".tiff", ".npy")
WITH_PLACE = "Save it with its geometry, as .nii.gz, .nrrd or .seg.nrrd"
"""The remedy; in napari our writer does so ("Labels of an annotation task")."""


def has_no_place(file: Path) -> bool:
    """By its ending."""
    return file.name.lower().endswith(PLACELESS)


def read_placed(file: Path, places: Sequence[Space]) -> tuple[np.ndarray, Space]:
    """Read an array as the one of ``places`` that has its shape.

    Args:
        file: a TIFF stack as napari or ImageJ saves it, or NumPy's .npy.
        places: where the array may lie, as it was sent.

    Returns:
        The array (z, y, x), as napari shows what was sent, and its place.

    Raises:
        NnActiveError: the file cannot be read, or no place has its shape.
    """
    if not places:
        raise NnActiveError(
            f"{file}: files in this format have no place in the patient, so they are read only as answers to one task. "
            f"{WITH_PLACE}, or name the task with -task."
        )
    array = _npy(file) if file.suffix.lower() == ".npy" else _tif(file)
    plain = [n for n in array.shape if n > 1]
    place = next((place for place in places if [n for n in place.shape if n > 1] == plain), None)
    if place is None:
        known = " or ".join(str(place.shape) for place in dict.fromkeys(places))
        raise NnActiveError(
            f"{file}: its shape is {array.shape} instead of {known} voxels (z, y, x), and the format says nothing of where "
            f"its voxels are. {WITH_PLACE} (in napari: the task's folder opened with our reader, saved as .nii.gz)."
        )
    return array.reshape(place.shape), place


def _npy(file: Path) -> np.ndarray:
    try:
        array = np.load(file, allow_pickle=False)
    except Exception as error:  # whatever parsing a damaged header raises
        raise NnActiveError(f"{file}: cannot be read as one array of numbers ({brief(error)}). {WITH_PLACE}.") from None
    if not isinstance(array, np.ndarray):
        raise NnActiveError(f"{file}: holds several arrays. {WITH_PLACE}.")
    return array


def _tif(file: Path) -> np.ndarray:
    import tifffile

    try:
        with tifffile.TiffFile(file) as tif:
            if len(tif.series) != 1:
                raise NnActiveError(f"{file}: holds {len(tif.series)} images instead of one stack. {WITH_PLACE}.")
            series = tif.series[0]
            axes = "".join(axis for axis in series.axes if axis in "XYZ")
            if axes not in ("ZYX"[-len(axes) :], "ZYX"):
                raise NnActiveError(f"{file}: its axes are {series.axes} instead of ZYX. {WITH_PLACE}.")
            return series.asarray()
    except NnActiveError:
        raise
    except Exception as error:  # tifffile and its codecs raise whatever they stumble over
        raise NnActiveError(f"{file}: cannot be read as a TIFF stack ({brief(error)}). {WITH_PLACE}.") from None
