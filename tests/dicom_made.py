"""Enhanced (multi-frame) DICOM files and other DICOM objects for tests, made by hand from the standard's macros."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

SPACING = (0.8, 1.2, 2.5)
"""Along x, y, z in mm."""
KINDS = {
    "CT": "1.2.840.10008.5.1.4.1.1.2.1",
    "MR": "1.2.840.10008.5.1.4.1.1.4.1",
    "PT": "1.2.840.10008.5.1.4.1.1.130",
    "legacy CT": "1.2.840.10008.5.1.4.1.1.2.2",
    "legacy MR": "1.2.840.10008.5.1.4.1.1.4.4",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "RTPLAN": "1.2.840.10008.5.1.4.1.1.481.5",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
    "SR": "1.2.840.10008.5.1.4.1.1.88.67",
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "KO": "1.2.840.10008.5.1.4.1.1.88.59",
    "DOC": "1.2.840.10008.5.1.4.1.1.104.1",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "SC": "1.2.840.10008.5.1.4.1.1.7",
    "US": "1.2.840.10008.5.1.4.1.1.3.1",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "SM": "1.2.840.10008.5.1.4.1.1.77.1.6",
}


def item(**values: Any) -> Dataset:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def grouped(**macros: Mapping[str, Any]) -> Dataset:
    """A functional group: the name of each macro's sequence -> its fields."""
    return item(**{name: [item(**values)] for name, values in macros.items()})


def blank(kind: str, uid: str | None = None, description: str = "", **tags: Any) -> Dataset:
    """A data set that holds no pixels yet."""
    found = item(SOPClassUID=KINDS[kind], SOPInstanceUID=generate_uid(), Modality=kind.split()[-1], PatientID="made up")
    found.StudyInstanceUID, found.SeriesInstanceUID = generate_uid(), uid or generate_uid()
    found.FrameOfReferenceUID = generate_uid()
    if description:
        found.SeriesDescription = description
    for name, value in tags.items():
        setattr(found, name, value)
    return found


def with_pixels(found: Dataset, stored: np.ndarray, bits: int = 16) -> Dataset:
    """``stored`` (frame, y, x), or (y, x), as its pixels."""
    found.Rows, found.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        found.NumberOfFrames = len(stored)
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.BitsAllocated = 8 * stored.dtype.itemsize
    found.BitsStored = min(bits, found.BitsAllocated)
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(stored.dtype.kind == "i")
    found.PixelData = stored.tobytes()
    return found


def save(found: Dataset, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not hasattr(found, "file_meta"):
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    pydicom.dcmwrite(file, found, enforce_file_format=True)
    return file


def enhanced(
    stored: np.ndarray,
    positions: Sequence[Sequence[float]],
    direction: np.ndarray | None = None,
    rescale: Sequence[tuple[float, float]] | tuple[float, float] | None = (1, -1024),
    per_frame: Sequence[Mapping[str, Mapping[str, Any]]] | None = None,
    shared: Mapping[str, Mapping[str, Any]] | None = None,
    kind: str = "CT",
    **about: Any,
) -> Dataset:
    """Frames ``stored`` (frame, y, x) at ``positions``; ``rescale`` is one slope and intercept, or those of each frame."""
    axes = np.eye(3) if direction is None else direction
    found = with_pixels(blank(kind, **about), stored)
    macros: dict[str, Mapping[str, Any]] = {
        "PixelMeasuresSequence": {"PixelSpacing": [SPACING[1], SPACING[0]], "SliceThickness": SPACING[2]},
        "PlaneOrientationSequence": {"ImageOrientationPatient": [*axes[:, 0].tolist(), *axes[:, 1].tolist()]},
        **(shared or {}),
    }
    several = rescale is not None and isinstance(rescale[0], tuple)
    if rescale is not None and not several:
        macros["PixelValueTransformationSequence"] = values(*rescale)
    found.SharedFunctionalGroupsSequence = [grouped(**{name: fields for name, fields in macros.items() if fields})]
    groups = []
    for i, place in enumerate(positions):
        own = {"PlanePositionSequence": {"ImagePositionPatient": [round(float(v), 6) for v in place]}}
        if several:
            own["PixelValueTransformationSequence"] = values(*rescale[i])
        groups.append(grouped(**own, **(per_frame[i] if per_frame else {})))
    found.PerFrameFunctionalGroupsSequence = groups
    return found


def values(slope: float, intercept: float) -> dict[str, Any]:
    return {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}


def object_without_image(kind: str) -> Dataset:
    """A report, plan or contour."""
    return blank(kind)


def syntax(found: Dataset, uid: str) -> None:
    """The transfer syntax in which :func:`save` writes it."""
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = UID(uid)


def jpeg2000(found: Dataset) -> None:
    """Compress each frame losslessly, as the archives of hospitals do."""
    shape = found.NumberOfFrames, found.Rows, found.Columns
    frames = np.frombuffer(found.PixelData, f"<{'iu'[not found.PixelRepresentation]}2").reshape(shape)
    written = []
    with tempfile.TemporaryDirectory() as folder:
        for frame in frames:
            file = Path(folder) / "frame.jp2"
            Image.fromarray(frame.astype(np.uint16)).save(file, irreversible=False, no_jp2=True)
            written.append(file.read_bytes())
    syntax(found, JPEG2000Lossless)
    found.PixelData = encapsulate(written)
    found["PixelData"].is_undefined_length = True
