"""Reads arrays that say nothing of where their voxels are (.tif, .npy): the array (z, y, x) that was sent, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.space import Space

PLACELESS = (".tif", ".tiff", ".npy")
_ZIP = b"PK\x03\x04"
"""How a file with several arrays (.npz) begins."""
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
    return (_npy if file.suffix.lower() == ".npy" else _tif)(file, places)


def _place(file: Path, shape: Sequence[int], places: Sequence[Space]) -> Space:
    """The one of ``places`` that has the shape of an array, before the array is read."""
    plain = [n for n in shape if n > 1]
    place = next((place for place in places if [n for n in place.shape if n > 1] == plain), None)
    if place is None:
        known = " or ".join(str(place.shape) for place in dict.fromkeys(places))
        raise NnActiveError(
            f"{file}: its shape is {tuple(shape)} instead of {known} voxels (z, y, x), and the format says nothing of where "
            f"its voxels are. {WITH_PLACE} (in napari: the task's folder opened with our reader, saved as .nii.gz)."
        )
    return place


def _npy(file: Path, places: Sequence[Space]) -> tuple[np.ndarray, Space]:
    try:
        with open(file, "rb") as stream:
            if stream.read(4) == _ZIP:
                raise NnActiveError(f"{file}: holds several arrays. {WITH_PLACE}.")
        array = np.load(file, mmap_mode="r", allow_pickle=False)  # no voxel is read yet
    except NnActiveError:
        raise
    except Exception as error:  # whatever parsing a damaged header raises
        raise NnActiveError(f"{file}: cannot be read as one array of numbers ({brief(error)}). {WITH_PLACE}.") from None
    place = _place(file, array.shape, places)
    return np.array(array).reshape(place.shape), place


def _tif(file: Path, places: Sequence[Space]) -> tuple[np.ndarray, Space]:
    import tifffile

    try:
        with tifffile.TiffFile(file) as tif:
            if len(tif.series) != 1:
                raise NnActiveError(f"{file}: holds {len(tif.series)} images instead of one stack. {WITH_PLACE}.")
            series = tif.series[0]
            axes = "".join(axis for axis in series.axes if axis in "XYZ")
            if axes not in ("ZYX"[-len(axes) :], "ZYX"):
                raise NnActiveError(f"{file}: its axes are {series.axes} instead of ZYX. {WITH_PLACE}.")
            place = _place(file, series.shape, places)
            return series.asarray().reshape(place.shape), place
    except NnActiveError:
        raise
    except Exception as error:  # tifffile and its codecs raise whatever they stumble over
        raise NnActiveError(f"{file}: cannot be read as a TIFF stack ({brief(error)}). {WITH_PLACE}.") from None
