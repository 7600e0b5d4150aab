"""Reads DICOM segmentations (SEG) with highdicom, and says what their segments are called as 3D Slicer's files do."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.sizes import Grid, StatedSize, check_memory

ENDING = ".dcm"
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes: Segmentation Storage, and Label Map Segmentation Storage."""
_PREAMBLE = 144
"""Bytes before the elements of the file's meta information that its group length counts."""
_MOST = 1 << 28
"""Bytes that a deflated file may unpack to, and twice the voxels of its image."""
_REMEDY = "Save the labels as .nii.gz, .nrrd or .seg.nrrd"


def read_segmentation(file: Path, grid: Grid | None = None) -> tuple[np.ndarray, Space, dict[str, str]]:
    """Read a DICOM segmentation.

    Args:
        file: one DICOM file.
        grid: the lattice that it must have, cut or extended; compared before a frame is unpacked.

    Returns:
        Layers (segment, z, y, x) of 0 and 1; their space; names and layers of the segments in the keys of a .seg.nrrd, so that
        names, overlaps and what lies beyond the frames mean the same in both formats.

    Raises:
        NnActiveError: it is no segmentation, is damaged, holds probabilities, or is not a regular volume; or highdicom is not
            installed.
    """
    import pydicom

    try:
        _check_deflated(file, grid)
        kind = str(pydicom.dcmread(file, specific_tags=["SOPClassUID"]).get("SOPClassUID", ""))
    except NnActiveError:
        raise
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
        _check_volume(file, read.get_volume_geometry(), len(numbers), grid)
        volume = read.get_volume(segment_numbers=numbers)
        labels = [str(read.get_segment_description(number).segment_label) for number in numbers]
    except NnActiveError:
        raise
    except Exception as error:
        raise NnActiveError(f"{file}: cannot be read as a regular volume of segments ({brief(error)}). {_REMEDY}.") from None
    layers = np.moveaxis(np.asarray(volume.array), -1, 0)
    space = _space(volume)
    header = {"Segmentation_SourceRepresentation": "Binary labelmap"}
    for layer, label in enumerate(labels):
        header |= {f"Segment{layer}_Name": label, f"Segment{layer}_Layer": str(layer), f"Segment{layer}_LabelValue": "1"}
    return layers, space, header


def _check_deflated(file: Path, grid: Grid | None) -> None:
    """A deflated file is unpacked as a whole by whoever reads anything of it, so it is unpacked here first, bit by bit."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    meta = read_file_meta_info(file)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    most, held = _MOST if grid is None else _MOST + 2 * math.prod(grid.space.shape), 0
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    with open(file, "rb") as stream:
        stream.seek(_PREAMBLE + int(meta.FileMetaInformationGroupLength))
        while piece := stream.read(1 << 16):
            while piece and not inflate.eof:
                held += len(inflate.decompress(piece, 1 << 20))
                piece = inflate.unconsumed_tail
                if held > most:
                    raise NnActiveError(f"{file}: unpacks to more than {most} bytes, which no segmentation needs. {_REMEDY}.")


def _check_volume(file: Path, geometry: Any, segments: int, grid: Grid | None) -> None:
    """The volume that the frames would fill, before one of them is read; ``geometry`` is highdicom's, None of no volume."""
    if geometry is None:
        return
    space = _space(geometry)
    if grid is None:
        check_memory(file, math.prod(space.shape) * segments)
        return
    grid.check_size(file, StatedSize(space.shape[::-1], segments, 1))
    grid.check_place(file, space)


def _space(volume: Any) -> Space:
    # highdicom's index is (slice, row, column), ours for a matrix (x, y, z).
    return Space.of_affine(np.asarray(volume.affine, float)[:, [2, 1, 0, 3]], volume.spatial_shape)


def _kind(uid: str) -> str:
    import pydicom.uid

    return str(pydicom.uid.UID(uid).name) if uid else "a file that does not say what it is"
