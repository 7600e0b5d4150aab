"""TIFF files of microscopes: one volume in a file, of one channel or several, read as their axes say or refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.images.tiff_spacing import Stated, channel_names, stated_spacing
from nnactive_ext.images.voxels import COMPLEX
from nnactive_ext.refusals import refuses
from nnactive_ext.words import count

if TYPE_CHECKING:
    import tifffile

TIFF = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
_PLANES = "IQ"
"""tifffile's axes of pages that the file gives no name."""


@dataclass(frozen=True)
class TiffHeader:
    """``axes`` and ``shape`` of the image, without axes of length 1 as far as the file says; ``channels``: how many it holds;
    ``stated``: its spacing; ``unnamed``: the file does not say what its pages are, which are taken as slices; ``names``: of the
    channels, if OME-XML says them."""

    axes: str
    shape: tuple[int, ...]
    channels: int
    stated: Stated
    unnamed: bool
    names: tuple[str, ...] = ()

    @property
    def flat(self) -> bool:
        """Whether it is a single 2D image, as the slices of a folder are."""
        return sorted(self.axes.replace("S", "")) == ["X", "Y"]


def is_tiff(file: Path) -> bool:
    return file.name.lower().endswith(TIFF)


@refuses
def tiff_header(file: Path) -> TiffHeader:
    """Read what a TIFF file says of itself; no voxel is read.

    Raises:
        NnActiveError: it is damaged, or holds several images.
    """
    with _opened(file) as tif:
        return _header(tif, file)


@refuses
def read_tiff(file: Path, channel: int = 0) -> np.ndarray:
    """The voxels of one channel of a TIFF file.

    Args:
        file: the file.
        channel: its number in the file, from 0.

    Returns:
        (z, y, x); the type is the file's, but bool is uint8 and half precision is single.

    Raises:
        NnActiveError: it is damaged, or its axes are not those of one volume per channel.
    """
    with _opened(file) as tif:
        header = _header(tif, file)
        if problem := axes_problem(header):
            raise NnActiveError(f"{file}: {problem}.")
        return calibrated(plain_type(_voxels(tif.series[0], header, channel), file), tif)


def read_tiff_slice(file: Path) -> np.ndarray:
    """The pixels of a TIFF file that holds one 2D image, as :func:`read_tiff`: (y, x), or (y, x, colour)."""
    with _opened(file) as tif:
        axes = tif.series[0].axes
        if axes not in ("YX", "YXS", "SYX"):
            raise NnActiveError(f"{file}: no single slice, by its axes {axes}, as the other files in its folder are.")
        pixels = calibrated(plain_type(tif.series[0].asarray(), file), tif)
        return np.moveaxis(pixels, 0, -1) if axes == "SYX" else pixels


def plain_type(array: np.ndarray, file: Path) -> np.ndarray:
    """``array`` in a type that image files have."""
    if array.dtype.kind not in "biuf":
        raise NnActiveError(f"{file}: {COMPLEX if array.dtype.kind == 'c' else 'its voxels are no numbers'}.")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def calibrated(array: np.ndarray, tif: tifffile.TiffFile) -> np.ndarray:
    """The grey values that ImageJ shows: c0 + c1 * stored. It stores signed images as unsigned ones, with c0 = -32768."""
    said: dict[str, Any] = (tif.imagej_metadata if tif.is_imagej else None) or {}
    line = said.get("cf"), said.get("c0"), said.get("c1")
    if array.dtype.kind != "u" or line[0] != 0 or not all(isinstance(value, (int, float)) for value in line):
        return array
    low, factor = float(line[1]), float(line[2])  # type: ignore[arg-type]
    if (low, factor) == (-32768, 1) and array.dtype == np.uint16:
        return (array.astype(np.int32) - 32768).astype(np.int16)
    if not (np.isfinite([low, factor]).all() and factor) or (low, factor) == (0, 1):
        return array
    return (array * factor + low).astype(np.float32)


@contextmanager
def _opened(file: Path) -> Iterator[tifffile.TiffFile]:
    """The open file, if it is whole; what goes wrong in the block is said of the file."""
    import tifffile

    said = _Listening()
    logger = logging.getLogger("tifffile")
    logger.addHandler(said)
    before, logger.propagate = logger.propagate, False
    try:
        with tifffile.TiffFile(file) as tif:
            _check_whole(tif, file)
            if said.damage:
                raise NnActiveError(f"{file}: damaged, truncated, or a part of an image: {said.damage}.")
            yield tif
    except NnActiveError:
        raise
    except FileNotFoundError:
        link = " (a broken link)" if file.is_symlink() else ""
        raise NnActiveError(f"{file}: no such file{link}.") from None
    except PermissionError:
        raise NnActiveError(f"{file}: no permission to read it.") from None
    except Exception as error:
        if "imagecodecs" in str(error):
            raise NnActiveError(
                f"{file}: its compression needs the package imagecodecs. Install it (pip install imagecodecs), or save the "
                "image uncompressed."
            ) from None
        raise NnActiveError(f"{file}: cannot be read as TIFF, damaged or truncated: {brief(error)}") from None
    finally:
        logger.propagate = before
        logger.removeHandler(said)


class _Listening(logging.Handler):
    """tifffile reads what is left of a damaged file, and says so in its log only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.damage = ""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR or "series" in text:
            self.damage = self.damage or text.rpartition("> ")[2].strip().rstrip(".")


def _check_whole(tif: tifffile.TiffFile, file: Path) -> None:
    if len(tif.series) != 1:
        raise NnActiveError(
            f"{file}: {count(len(tif.series), 'image')} of different kinds in one file. Save each in a file of its own."
        )
    series, size = tif.series[0], tif.filehandle.size
    if any(page is None for page in series.pages):
        raise NnActiveError(f"{file}: slices are missing in it. Save the whole image again.")
    if len({str(page.parent.filehandle.path) for page in series.pages if page is not None}) > 1:
        raise NnActiveError(f"{file}: its image lies in several files. Save it in one, for example with Fiji (Bio-Formats).")
    if series.dataoffset is not None:
        ends = [series.dataoffset + series.nbytes]
    else:
        ends = [
            offset + length
            for page in series.pages
            if page is not None
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
    if max(ends, default=0) > size:
        raise NnActiveError(f"{file}: truncated: it holds {size} bytes, its header speaks of {max(ends)}.")


def _header(tif: tifffile.TiffFile, file: Path) -> TiffHeader:
    series = tif.series[0]
    axes, shape = series.axes, tuple(series.shape)
    unnamed = [axis for axis in axes if axis in _PLANES]
    if len(unnamed) == 1 and "Z" not in axes:
        axes = axes.replace(unnamed[0], "Z")
    channels = shape[axes.index("C")] if "C" in axes and "Z" in axes else 1
    return TiffHeader(axes, shape, channels, stated_spacing(tif, file), bool(unnamed), channel_names(tif))


def axes_problem(header: TiffHeader, timed: bool = False) -> str:
    """Why the axes are not those of one volume per channel, "" if they are; ``timed``: time points may be chosen."""
    axes, sizes = header.axes, dict(zip(header.axes, header.shape, strict=True))
    if "S" in axes:
        return f"{sizes['S']} numbers in each voxel (colour). Save each colour that matters as a grey image of its own"
    if "T" in axes and not (timed and "Z" in axes):
        text = f"{sizes['T']} time points"
        if "Z" not in axes:
            return (
                f"{text} of a 2D image. If they are slices, say so in the file: in ImageJ or Fiji, exchange slices and frames "
                "in Image > Properties, then save"
            )
        return f"{text} in one file. Save each as an image of its own (in ImageJ or Fiji: Image > Duplicate, one frame)"
    if sorted(axes) == ["C", "X", "Y"]:
        return (
            f"{sizes['C']} channels of a 2D image. If they are slices, say so in the file: in ImageJ or Fiji, exchange slices "
            "and channels in Image > Properties, then save"
        )
    if header.flat:
        return f"a 2D image ({'x'.join(map(str, header.shape[::-1]))}); 3D images are needed"
    if sorted(axes.replace("C", "").replace("T", "")) != ["X", "Y", "Z"]:
        return (
            f"its axes are {axes} (sizes {'x'.join(map(str, header.shape))}), and it does not say which are slices. Save it as "
            "OME-TIFF with the axes ZYX or CZYX"
        )
    return ""


def _voxels(series: tifffile.TiffPageSeries, header: TiffHeader, channel: int) -> np.ndarray:
    order = [header.axes.index(axis) for axis in "ZYX"]
    if "C" not in header.axes:
        return np.transpose(series.asarray(), order)
    at = header.axes.index("C")
    if at < len(header.axes) - 2 and header.axes[-2:] == "YX" and series.dataoffset is None:
        numbers = np.arange(int(np.prod(header.shape[:-2]))).reshape(header.shape[:-2])
        pages: list[Any] = list(series.pages)
        if len(pages) == numbers.size:  # one channel at a time, to save memory
            return np.stack([pages[i].asarray() for i in np.take(numbers, channel, at)])
    whole = np.moveaxis(series.asarray(out="memmap"), at, 0)
    rest = header.axes.replace("C", "")
    return np.ascontiguousarray(np.transpose(whole[channel], [rest.index(axis) for axis in "ZYX"]))
