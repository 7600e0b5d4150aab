"""A DICOM series as one volume: each frame where its header says, with the grey values that its header gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.dicom_frames import Frame, frames_of
from nnactive_ext.images.dicom_order import in_order
from nnactive_ext.images.dicom_voxels import stored_values


def read_series(files: Sequence[Path]) -> Any:
    """The SimpleITK image of one series, first slice first along its normal.

    Args:
        files: the files of the series, in any order, each with one slice or with many frames.

    Raises:
        NnActiveError: a file is damaged or does not say where its frames lie, or they are no even volume.
    """
    if not files:
        raise NnActiveError("A DICOM series without files cannot be read.")
    frames = [frame for file in files for frame in frames_of(file)]
    where = files[0] if len(files) == 1 else files[0].parent
    if len(frames) == 1:
        raise NnActiveError(f"{files[0]}: a single DICOM slice (a localiser?), not a 3D series.")
    frames = in_order(where, frames)
    image = _assembled(frames) if any(frame.enhanced for frame in frames) else _by_itk(frames)
    return _placed(image, frames)


def _by_itk(frames: Sequence[Frame]) -> Any:
    """Files of one slice each, which ITK decompresses and rescales one by one."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(frame.file) for frame in frames])
    # ITK takes the first slice's type for all: fractions of later ones (PET scales each slice) would be cut off.
    if len({(frame.slope, frame.intercept, frame.stored) for frame in frames}) > 1:
        reader.SetOutputPixelType(sitk.sitkFloat64)
    try:
        with _silently():
            return reader.Execute()
    except RuntimeError:  # it knows no files that begin with the meta header, and says little about damaged ones
        return _assembled(frames)


def _assembled(frames: Sequence[Frame]) -> Any:
    """Frames of any files, each rescaled by its own slope and intercept."""
    import SimpleITK as sitk

    volume = np.empty(0)
    for file in dict.fromkeys(frame.file for frame in frames):
        with _silently():
            stored = stored_values(file)
        if not volume.size:
            volume = np.empty((len(frames), *frames[0].size), _kind(frames, stored.dtype))
        for k, frame in enumerate(frames):
            if frame.file == file:
                plane = stored[frame.index]
                volume[k] = plane if (frame.slope, frame.intercept) == (1, 0) else plane * frame.slope + frame.intercept
    return sitk.GetImageFromArray(volume)


def _kind(frames: Sequence[Frame], stored: np.dtype[Any]) -> type[np.generic]:
    """The type that holds all grey values: whole numbers if all slopes and intercepts are."""
    if stored.kind == "f" or not all(frame.slope.is_integer() and frame.intercept.is_integer() for frame in frames):
        return np.float32 if stored.itemsize < 4 or (stored.kind == "f" and stored.itemsize == 4) else np.float64
    # One type for all files, whatever the first one's bits say.
    ends = [end for frame in frames for end in _ends(frame)]
    fitting = (kind for kind in (np.int16, np.int32) if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max)
    return next(fitting, np.float64)


def _ends(frame: Frame) -> list[float]:
    """The lowest and the highest grey value that the frame could hold."""
    allocated, bits, _, signed = frame.stored
    bits = bits or allocated
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return [low * frame.slope + frame.intercept, high * frame.slope + frame.intercept]


def _placed(image: Any, frames: Sequence[Frame]) -> Any:
    first, last = frames[0], frames[-1]
    row = first.orientation[0] / np.linalg.norm(first.orientation[0])
    column = first.orientation[1] - (first.orientation[1] @ row) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    gap = float((last.position - first.position) @ normal) / (len(frames) - 1)
    image.SetSpacing([first.spacing[1], first.spacing[0], gap])
    image.SetOrigin(first.position.tolist())
    image.SetDirection(np.column_stack([row, column, normal]).ravel().tolist())
    return image


@contextmanager
def _silently() -> Iterator[None]:
    """Without ITK's warnings: what they say is checked here, and said in one message."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
