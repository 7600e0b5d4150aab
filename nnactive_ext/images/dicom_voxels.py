"""The numbers stored in one DICOM file with many frames, before slope and intercept."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.images.dicom_files import dataset, reading

_FLOATS = {"FloatPixelData": "<f4", "DoubleFloatPixelData": "<f8"}
_MANY_WORDS, _MANY_BYTES = "1.2.840.10008.5.1.4.1.1.7.3", "1.2.840.10008.5.1.4.1.1.7.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_KEPT = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PixelData", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
)


def stored_values(file: Path) -> np.ndarray:
    """The array (frame, y, x) of a file, in the order of its frames.

    Raises:
        NnActiveError: the file is damaged, or compressed in a way that ITK does not read.
    """
    with reading(file):
        found = dataset(file, pixels=True)
        shape = int(found.get("NumberOfFrames") or 1), int(found.Rows), int(found.Columns)
        for name, kind in _FLOATS.items():
            if name in found:
                return _array(file, found[name].value, kind, shape)
        if "PixelData" not in found:
            raise NnActiveError(f"{file}: no pixels in it (PixelData). Export the series again.")
        syntax = found.file_meta.get("TransferSyntaxUID") if hasattr(found, "file_meta") else None
        if syntax is not None and ((syntax.is_compressed and not syntax.is_deflated) or str(syntax) == _BIG_ENDIAN):
            return _by_itk(file, found, shape)
        allocated = int(found.BitsAllocated)
        if allocated not in (8, 16, 32):
            raise NnActiveError(f"{file}: {allocated} bits for each pixel, which is no image of grey values.")
        raw = _array(file, found.PixelData, f"<u{allocated // 8}", shape)
        return _numbers(raw, allocated, found)


def _array(file: Path, data: bytes, kind: str, shape: tuple[int, int, int]) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if len(data) < size:
        raise NnActiveError(f"{file}: truncated: {len(data):,} of {size:,} bytes of pixels. Copy it again from the archive.")
    return np.frombuffer(data[:size], kind).reshape(shape)


def _numbers(raw: np.ndarray, allocated: int, found: Any) -> np.ndarray:
    """Only the stored bits count: overlays may lie above them."""
    bits = int(found.get("BitsStored") or allocated)
    high = int(found.get("HighBit") or bits - 1)
    signed = int(found.get("PixelRepresentation") or 0)
    if bits == allocated:
        return raw.view(raw.dtype.str.replace("u", "i")) if signed else raw
    moved = raw << np.array(allocated - 1 - high, raw.dtype)
    kind = raw.dtype.str.replace("u", "i") if signed else raw.dtype.str
    return moved.view(kind) >> np.array(allocated - bits, kind)


def _by_itk(file: Path, found: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """As ITK decompresses the frames; it would rescale all by one slope and order none, so it sees neither."""
    import pydicom
    import SimpleITK as sitk

    plain = pydicom.Dataset()
    for name in _KEPT:
        if name in found:
            plain[name] = found[name]
    plain.SOPClassUID = _MANY_BYTES if int(found.BitsAllocated) == 8 else _MANY_WORDS
    plain.Modality, plain.NumberOfFrames = "OT", shape[0]
    plain.file_meta = pydicom.dataset.FileMetaDataset()
    plain.file_meta.TransferSyntaxUID = found.file_meta.TransferSyntaxUID
    plain.file_meta.MediaStorageSOPClassUID = plain.SOPClassUID
    plain.file_meta.MediaStorageSOPInstanceUID = plain.SOPInstanceUID
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "frames.dcm"
        plain.save_as(copy, enforce_file_format=True)
        try:
            array: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(str(copy)))
        except RuntimeError as error:
            raise NnActiveError(
                f"{file}: its pixels cannot be decompressed ({found.file_meta.TransferSyntaxUID.name}): {brief(error)} Write "
                "it uncompressed, for example with gdcmconv --raw or dcmdjpeg."
            ) from None
    if array.size != int(np.prod(shape)):
        raise NnActiveError(f"{file}: damaged: {array.shape} pixels instead of {shape} (frame, y, x). Copy it again.")
    return array.reshape(shape)
