"""The frames of DICOM files: where each lies in the patient, and how its stored numbers become grey values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.dicom_files import dataset, reading

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
CONVERT = "Convert it to .nii.gz with a program that knows it (dcm2niix, 3D Slicer)"
_TELLING = {
    "FrameContentSequence": ("TemporalPositionIndex", "StackID"),
    "TemporalPositionSequence": ("TemporalPositionTimeOffset",),
    "MREchoSequence": ("EffectiveEchoTime",),
    "MRDiffusionSequence": ("DiffusionBValue",),
    "CardiacSynchronizationSequence": ("NominalCardiacTriggerDelayTime",),
    "RespiratorySynchronizationSequence": ("NominalRespiratoryTriggerDelayTime",),
    "MRImageFrameTypeSequence": ("ComplexImageComponent",),
    "CTExposureSequence": ("SingleCollimationWidth",),
}
_TELLING_OF_SLICES = (
    *("TemporalPositionIdentifier", "EchoTime", "DiffusionBValue", "TriggerTime", "AcquisitionNumber", "ImageType"),
    *("InversionTime", "FlipAngle", "KVP", "ConvolutionKernel"),
)
"""What tells time points, echoes, b-values and so on apart that lie at one place."""
_RESCALES = ("RescaleSlope", "RescaleIntercept", "RealWorldValueSlope", "RealWorldValueIntercept")


@dataclass(frozen=True)
class Frame:
    """One frame of ``file``, number ``index`` in it; lengths in mm, ``spacing`` between rows and between columns,
    ``orientation`` the directions along a row and along a column; grey value = ``slope`` * stored + ``intercept``."""

    file: Path
    index: int
    frames: int
    size: tuple[int, int]
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    slope: float = 1.0
    intercept: float = 0.0
    stored: tuple[int, ...] = ()
    telling: Mapping[str, str] = field(default_factory=dict)
    enhanced: bool = False
    rescaled: tuple[str, ...] = ()
    """The fields of slope and intercept that its header states."""

    @property
    def name(self) -> str:
        return f"frame {self.index + 1} of {self.file.name}" if self.frames > 1 else self.file.name


def frames_of(file: Path) -> list[Frame]:
    """The frames of one DICOM file, from its header alone.

    Raises:
        NnActiveError: it is damaged, in colours, or does not say where each frame lies and how large its pixels are.
    """
    with reading(file):
        found = dataset(file)
        if str(found.get("SOPClassUID")) == _WHOLE_SLIDE:
            raise NnActiveError(f"{file}: a whole-slide image, which is no volume. 3D images are needed.")
        samples, colours = int(found.get("SamplesPerPixel") or 1), str(found.get("PhotometricInterpretation") or "MONOCHROME2")
        if samples > 1 or not colours.startswith("MONOCHROME"):
            raise NnActiveError(
                f"{file}: an image in colours ({colours}), such as a screenshot or a fused image. Export the grey-value series."
            )
        if "MOSAIC" in (found.get("ImageType") or ()):
            raise NnActiveError(
                f"{file}: a mosaic of slices in one picture (Siemens). Convert it to .nii.gz, for example with dcm2niix."
            )
        if "ModalityLUTSequence" in found:
            raise NnActiveError(f"{file}: its grey values are given by a table (ModalityLUTSequence). {CONVERT}.")
        number = int(found.get("NumberOfFrames") or 1)
        if found.get("PerFrameFunctionalGroupsSequence"):
            return _enhanced(file, found, number)
        if number > 1:
            raise NnActiveError(
                f"{file}: {number} frames without positions (ImagePositionPatient of each): a film, a rotation or screenshots, "
                f"or a volume that does not say where its frames lie. If it is a volume, {CONVERT[0].lower()}{CONVERT[1:]}."
            )
        telling = {name: str(found[name].value) for name in _TELLING_OF_SLICES if name in found}
        return [_frame(file, found, 0, 1, _Groups(found, found, found, found), telling)]


def _enhanced(file: Path, found: Any, number: int) -> list[Frame]:
    per_frame = found.PerFrameFunctionalGroupsSequence
    shared = (found.get("SharedFunctionalGroupsSequence") or [{}])[0]
    if len(per_frame) != number:
        raise NnActiveError(
            f"{file}: {number} frames, and {len(per_frame)} descriptions of frames (PerFrameFunctionalGroupsSequence). "
            "Export the series again."
        )
    frames = []
    for i, own in enumerate(per_frame):

        def group(name: str, own: Any = own) -> Any:
            sequence = own.get(name) or shared.get(name)
            return sequence[0] if sequence else {}

        values = group("PixelValueTransformationSequence") or group("RealWorldValueMappingSequence")
        telling = {name: _text(group(key).get(name)) for key, names in _TELLING.items() for name in names}
        place, orientation = group("PlanePositionSequence"), group("PlaneOrientationSequence")
        groups = _Groups(place, orientation, group("PixelMeasuresSequence"), values)
        frames.append(replace(_frame(file, found, i, number, groups, telling), enhanced=True))
    return frames


class _Groups(NamedTuple):
    """The parts of a header that say a frame's position, orientation, pixel size and grey values."""

    place: Any
    orientation: Any
    measures: Any
    values: Any


def _frame(file: Path, found: Any, index: int, number: int, groups: _Groups, telling: Mapping[str, str]) -> Frame:
    where = f"{file}: frame {index + 1}" if number > 1 else f"{file}"
    position = _numbers(groups.place.get("ImagePositionPatient"), 3, where, "position (ImagePositionPatient)")
    flat = _numbers(groups.orientation.get("ImageOrientationPatient"), 6, where, "orientation (ImageOrientationPatient)")
    axes = flat.reshape(2, 3)
    spacing = groups.measures.get("PixelSpacing")
    if spacing is None:
        only = " but only its size on the detector (ImagerPixelSpacing)" if found.get("ImagerPixelSpacing") else ""
        raise NnActiveError(
            f"{where}: the size of its pixels is not stated (PixelSpacing){only}. Export the original series, or convert it to "
            ".nii.gz and set the spacing (SimpleITK: image.SetSpacing)."
        )
    rows, columns = _numbers(spacing, 2, where, "size of its pixels (PixelSpacing)")
    if min(rows, columns) <= 0:
        raise NnActiveError(f"{where}: PixelSpacing {rows:g} x {columns:g} mm cannot be. Export the series again.")
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > 1e-2 or abs(axes[0] @ axes[1]) > 1e-2:
        raise NnActiveError(
            f"{where}: ImageOrientationPatient has no axes of length 1 at right angles. Export the series again."
        )
    stored = tuple(int(found.get(name) or 0) for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"))
    allocated, bits, high, _ = stored
    if not 0 <= bits <= allocated <= 64 or high >= max(allocated, 1):
        raise NnActiveError(
            f"{where}: {bits} of {allocated} bits (BitsStored, BitsAllocated) cannot be. Export the series again."
        )
    slope, intercept = _rescale(groups.values, where)
    size = int(found.Rows), int(found.Columns)
    spaced = float(rows), float(columns)
    rescaled = tuple(name for name in _RESCALES if groups.values.get(name) not in (None, ""))
    return Frame(file, index, number, size, position, axes, spaced, slope, intercept, stored, telling, rescaled=rescaled)


def _rescale(values: Any, where: str) -> tuple[float, float]:
    """Slope and intercept; without any, stored numbers are the grey values."""
    mapping = "RealWorldValueSlope" in values or "RealWorldValueLUTData" in values
    names = ("RealWorldValueSlope", "RealWorldValueIntercept") if mapping else ("RescaleSlope", "RescaleIntercept")
    if "RealWorldValueLUTData" in values:
        raise NnActiveError(f"{where}: its grey values are given by a table (RealWorldValueLUTData). {CONVERT}.")
    slope, intercept = (values.get(name) for name in names)
    found = (1.0 if slope in (None, "") else float(slope), 0.0 if intercept in (None, "") else float(intercept))
    if not all(map(math.isfinite, found)) or not found[0]:
        raise NnActiveError(f"{where}: {names[0]} {slope} and {names[1]} {intercept} cannot be. Export the series again.")
    return found


def _numbers(values: Sequence[Any] | None, count: int, where: str, what: str) -> np.ndarray:
    try:
        found = np.array([float(value) for value in values or ()])
    except (TypeError, ValueError):
        found = np.array([])
    if len(found) != count or not np.isfinite(found).all():
        raise NnActiveError(
            f"{where}: no {what} in its header, so its place in the patient is not known. Export the original series, or "
            f"{CONVERT[0].lower()}{CONVERT[1:]}."
        )
    return found


def _text(value: Any) -> str:
    return "" if value is None else str(value)
