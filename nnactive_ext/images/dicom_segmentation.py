"""Reads DICOM segmentations (SEG) with highdicom, and says what their segments are called as 3D Slicer's files do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.space import Space

ENDING = ".dcm"
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes: Segmentation Storage, and Label Map Segmentation Storage."""
_REMEDY = "Save the labels as .nii.gz, .nrrd or .seg.nrrd"


def read_segmentation(file: Path) -> tuple[np.ndarray, Space, dict[str, str]]:
    """Read a DICOM segmentation.

    Args:
        file: one DICOM file.

    Returns:
        Layers (segment, z, y, x) of 0 and 1; their space; names and layers of the segments in the keys of a .seg.nrrd, so that
        names, overlaps and what lies beyond the frames mean the same in both formats.

    Raises:
        NnActiveError: it is no segmentation, is damaged, holds probabilities, or is not a regular volume; or highdicom is not
            installed.
    """
    import pydicom

    try:
        kind = str(pydicom.dcmread(file, specific_tags=["SOPClassUID"]).get("SOPClassUID", ""))
    except Exception as error:  # pydicom raises whatever it stumbles over in a damaged file
        raise NnActiveError(f"{file}: cannot be read as DICOM ({brief(error)}). {_REMEDY}.") from None
    if kind not in _SEGMENTATIONS:
        raise NnActiveError(f"{file}: no DICOM segmentation (SEG) but {_kind(kind)}. {_REMEDY}, or as a DICOM segmentation.")
    try:
        import highdicom
    except ImportError:
        raise NnActiveError(
            f'{file}: DICOM segmentations are read with highdicom, which is not installed: pip install "nnactive-ext[dicom]".'
            f" Or: {_REMEDY[0].lower()}{_REMEDY[1:]}."
        ) from None
    try:
        read = highdicom.seg.segread(file)
        if str(read.segmentation_type.value) == "FRACTIONAL":
            raise NnActiveError(f"{file}: holds fractions or probabilities (FRACTIONAL) instead of labels. {_REMEDY}.")
        numbers = sorted(read.segment_numbers)
        volume = read.get_volume(segment_numbers=numbers)
        labels = [str(read.get_segment_description(number).segment_label) for number in numbers]
    except NnActiveError:
        raise
    except Exception as error:
        raise NnActiveError(f"{file}: cannot be read as a regular volume of segments ({brief(error)}). {_REMEDY}.") from None
    layers = np.moveaxis(np.asarray(volume.array), -1, 0)
    # highdicom's index is (slice, row, column), ours for a matrix (x, y, z).
    space = Space.of_affine(np.asarray(volume.affine, float)[:, [2, 1, 0, 3]], volume.spatial_shape)
    header = {"Segmentation_SourceRepresentation": "Binary labelmap"}
    for layer, label in enumerate(labels):
        header |= {f"Segment{layer}_Name": label, f"Segment{layer}_Layer": str(layer), f"Segment{layer}_LabelValue": "1"}
    return layers, space, header


def _kind(uid: str) -> str:
    import pydicom.uid

    return str(pydicom.uid.UID(uid).name) if uid else "a file that does not say what it is"
