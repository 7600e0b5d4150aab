"""DICOM series: their files, one volume of them if they are one, and that volume as a NIfTI file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.images.nifti import numbers
from nnactive_ext.images.writing import write_image

_TOLERANCE = 0.1
"""Of the distance between slices: how far a slice may be from where it should; headers hold rounded numbers."""
_KEEP = "Keep each series in a folder of its own."


def series_in(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The series whose files lie directly in ``folder``: id -> files in the order of their slices."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader
    try:
        with _silently():
            ids = reader.GetGDCMSeriesIDs(str(folder))
            return {key: tuple(Path(file) for file in reader.GetGDCMSeriesFileNames(str(folder), key)) for key in ids}
    except RuntimeError as error:
        raise NnActiveError(f"{folder}: its DICOM files cannot be read: {brief(error)}") from None


def one_series(folder: Path) -> tuple[Path, ...]:
    """The files of the only series in ``folder``, in the order of their slices."""
    found = series_in(folder)
    if not found:
        raise NnActiveError(f"{folder}: its DICOM files hold no series of images that can be read.")
    if len(found) > 1:
        rows = ", ".join(f"{key} ({len(files)} files{_description(files[0])})" for key, files in found.items())
        raise NnActiveError(f"{folder}: {len(found)} DICOM series in one folder: {rows}. {_KEEP}")
    return next(iter(found.values()))


def read_series(files: Sequence[Path]) -> Any:
    """The SimpleITK image of one series, first slice first along its normal; NnActiveError if it is no even volume.

    A single file must hold the whole volume (enhanced multi-frame); where its frames lie is left to ITK.
    """
    import SimpleITK as sitk

    if not files:
        raise NnActiveError("A DICOM series without files cannot be read.")
    folder = files[0].parent
    try:
        with _silently():
            if len(files) == 1:
                image = sitk.ReadImage(str(files[0]))
                if image.GetDimension() != 3 or image.GetSize()[2] < 2:
                    raise NnActiveError(f"{files[0]}: a single DICOM slice (a localiser?), not a 3D series.")
                return image
            headers = [_header(file) for file in files]
            order = _slice_order(folder, files, headers)
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames([str(files[i]) for i in order])
            # ITK takes the first slice's type for all: fractions of later ones (PET scales each slice) would be cut off.
            if len({header.GetPixelID() for header in headers}) > 1:
                reader.SetOutputPixelType(sitk.sitkFloat64)
            return reader.Execute()
    except RuntimeError as error:
        raise NnActiveError(f"{folder}: the DICOM series cannot be read: {brief(error)}") from None


def convert(files: Sequence[Path], target: Path) -> None:
    """Write the series as one ``.nii.gz``, all voxels as they are and the geometry in NIfTI's single precision; atomic."""
    write_image(target, read_series(files))


def _header(file: Path) -> Any:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return reader


def _slice_order(folder: Path, files: Sequence[Path], headers: Sequence[Any]) -> list[int]:
    """Of slices that are alike and evenly spaced along their normal."""
    for file, header in zip(files, headers, strict=True):
        if header.GetDimension() == 3 and header.GetSize()[2] > 1:
            raise NnActiveError(f"{folder}: {len(files)} files of one series and {file.name} alone holds a volume. {_KEEP}")
        for what, get in (("size", "GetSize"), ("spacing", "GetSpacing"), ("direction", "GetDirection")):
            first, this = getattr(headers[0], get)(), getattr(header, get)()
            if not np.allclose(first, this, rtol=1e-3, atol=1e-3):
                values = f"{numbers(this)} instead of {numbers(first)} as in {files[0].name}"
                raise NnActiveError(f"{folder}: slices of different {what} in one series: {file.name} has {values}. {_KEEP}")
    normal = np.reshape(headers[0].GetDirection(), (3, 3))[:, 2]
    places = np.array([header.GetOrigin() for header in headers])
    along = places @ normal
    order = [int(i) for i in np.argsort(along, kind="stable")]
    along, places = along[order], places[order]
    gaps = np.diff(along)
    typical = float(np.median(gaps))
    if gaps.min() < 1e-3 or gaps.min() < 0.01 * typical:
        i = int(np.argmin(gaps))
        names = f"{files[order[i]].name} and {files[order[i + 1]].name}"
        raise NnActiveError(
            f"{folder}: slices lie at the same place, {names} at {numbers(places[i])} mm: several time points, echoes or "
            "copies in one series. Keep one slice for each place."
        )
    if np.abs(along - np.linspace(along[0], along[-1], len(along))).max() > _TOLERANCE * typical:
        i = int(np.argmax(np.abs(gaps - typical)))
        raise NnActiveError(
            f"{folder}: the slices are not evenly spaced: {gaps[i]:.4g} mm between {files[order[i]].name} at "
            f"{numbers(places[i])} mm and {files[order[i + 1]].name}, elsewhere {typical:.4g} mm. Is a slice missing? "
            "Export the series again, or resample it to even slices."
        )
    sideways = places - places[0] - np.outer(along - along[0], normal)
    # Half a voxel: the normal is known no better than to the four digits that some scanners write.
    if np.linalg.norm(sideways, axis=1).max() > 0.5 * min(headers[0].GetSpacing()[:2]):
        raise NnActiveError(
            f"{folder}: its slices are shifted against each other (a tilted gantry): {numbers(sideways[-1])} mm from the first "
            "to the last. Straighten it first, for example with dcm2niix."
        )
    return order


def _description(file: Path) -> str:
    key = "0008|103e"
    header = _header(file)
    return f', "{header.GetMetaData(key).strip()}"' if header.HasMetaDataKey(key) else ""


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
