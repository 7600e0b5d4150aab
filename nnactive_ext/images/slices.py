"""A volume as a folder of slices, one grey TIFF or PNG image each, in the order of the numbers in their names."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.images.tiff import is_tiff, plain_type, read_tiff_slice, tiff_header
from nnactive_ext.images.tiff_spacing import UNKNOWN, Stated

LEAST_SLICES = 3
"""Fewer numbered pictures are no volume."""
_TIMES = re.compile(r"(?:.*[^a-z0-9])?(?:t|tp|time|timepoint)[ _=-]*", re.IGNORECASE)
_CHANNELS = re.compile(r"(?:.*[^a-z0-9])?(?:c|ch|chan|channel|w|wavelength)[ _=-]*", re.IGNORECASE)
_MOST_CHANNELS = 8
"""Names such as c001 to c200 count slices."""


def is_slice(file: Path) -> bool:
    """Whether a file may be a slice: a PNG picture, or a TIFF file that holds a single 2D image."""
    if file.name.lower().endswith(".png"):
        return True
    try:
        return is_tiff(file) and tiff_header(file).flat
    except NnActiveError:  # said when it is read
        return False


def numbered_stacks(files: Iterable[Path]) -> list[tuple[Path, ...]]:
    """The files whose names differ in one number only, in the order of these numbers; stacks in the order of names.

    A file belongs to the largest stack that it fits. Files that belong to none are left out.

    >>> [[file.name for file in stack] for stack in numbered_stacks(map(Path, ["a10.png", "a9.png", "a8.png", "b.png"]))]
    [['a8.png', 'a9.png', 'a10.png']]
    """
    stacks: dict[tuple[str, ...], list[tuple[int, Path]]] = defaultdict(list)
    for file in sorted(files):
        parts = re.split(r"(\d+)", file.name)
        for i in range(1, len(parts), 2):
            stacks[(*parts[:i], "", *parts[i + 1 :])].append((int(parts[i]), file))
    found, used = [], set[Path]()
    for _, numbered in sorted(stacks.items(), key=lambda item: (-len(item[1]), item[0])):
        free = [(number, file) for number, file in sorted(numbered) if file not in used]
        if len(free) >= LEAST_SLICES:
            found.append(tuple(file for _, file in free))
            used.update(found[-1])
    return sorted(found)


def check_slices(folder: Path, files: Sequence[Path]) -> None:
    """Refuse slices of which one is missing or there twice, and what is counted as time points or channels, by names alone."""
    before_number, numbers = _numbers(files)
    channels = len(files) <= _MOST_CHANNELS and _CHANNELS.fullmatch(before_number)
    if channels or _TIMES.fullmatch(before_number):
        raise NnActiveError(
            f"{folder}: {files[0].name} to {files[-1].name} are {'channels' if channels else 'time points'} by their names, "
            "not slices. Move them out of the folder; if they are slices, number them after another letter, such as z."
        )
    for i, number in enumerate(numbers[1:], start=1):
        before, names = numbers[i - 1], f"{files[i - 1].name} and {files[i].name}"
        if number == before:
            raise NnActiveError(f"{folder}: {names} are both slice {number}. Keep one of them.")
        if number > before + 1:
            what = (
                f"slice {before + 1} is missing" if number == before + 2 else f"slices {before + 1} to {number - 1} are missing"
            )
            raise NnActiveError(
                f"{folder}: {what}, between {names}. Add what is missing, or number the slices without gaps; move pictures "
                "that are no slices out of the folder."
            )


def _numbers(files: Sequence[Path]) -> tuple[str, list[int]]:
    """What stands before the number that counts the slices, and these numbers."""
    parts = [re.split(r"(\d+)", file.name) for file in files]
    for i in range(1, len(parts[0]), 2):
        numbers = [int(part[i]) for part in parts]
        if len(set(numbers)) > 1:
            return "".join(parts[0][:i]), numbers
    return "".join(parts[0][:-2]), [int(part[-2]) for part in parts]


def stated_by_slices(files: Sequence[Path]) -> Stated:
    """The spacing that the first slice states."""
    return tiff_header(files[0]).stated if is_tiff(files[0]) else UNKNOWN


def read_slices(files: Sequence[Path]) -> np.ndarray:
    """The voxels (z, y, x) of a folder of slices.

    Args:
        files: one 2D image each, in order.

    Raises:
        NnActiveError: a slice is damaged or in colour, or its size or type is not that of the first.
    """
    volume: np.ndarray | None = None
    for z, file in enumerate(files):
        pixels = read_tiff_slice(file) if is_tiff(file) else _read_png(file)
        plane = _grey(pixels, file) if pixels.ndim == 3 else pixels
        if volume is None:
            volume = np.empty((len(files), *plane.shape), plane.dtype)
        if plane.shape != volume.shape[1:] or plane.dtype != volume.dtype:
            what = f"{_size(plane.shape)} pixels of {plane.dtype}"
            raise NnActiveError(
                f"{file}: {what}, but {files[0].name} has {_size(volume.shape[1:])} pixels of {volume.dtype}. All slices of a "
                "volume need one size and one type."
            )
        volume[z] = plane
    assert volume is not None
    return volume


def _read_png(file: Path) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with open(file, "rb") as stream:
            start = stream.read(26)
        with Image.open(file) as picture:
            depth, colours = struct.unpack("BB", start[24:26])
            if depth == 16 and colours:  # which Pillow reads as 8 bits
                raise NnActiveError(f"{file}: 16-bit colours. Save it in grey.")
            pixels = np.asarray(picture.convert("RGBA") if picture.mode in ("P", "PA") else picture)
    except NnActiveError:
        raise
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, struct.error) as error:
        raise NnActiveError(f"{file}: cannot be read as PNG, damaged or truncated: {brief(error)}") from None
    return plain_type(pixels, file)


def _grey(pixels: np.ndarray, file: Path) -> np.ndarray:
    """The grey values of pixels (y, x, colour) whose colours are equal; opacity must be the same everywhere."""
    colours = pixels.shape[-1]
    opaque = colours in (2, 4)
    shown = pixels[..., : colours - opaque]
    if opaque and len(np.unique(pixels[..., -1])) > 1:
        raise NnActiveError(f"{file}: parts of it are transparent. Save it in grey, without transparency.")
    if (shown != shown[..., :1]).any():
        raise NnActiveError(f"{file}: a picture in colour. Save each colour that matters as a grey stack of its own.")
    return np.ascontiguousarray(shown[..., 0])


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape[::-1]))
