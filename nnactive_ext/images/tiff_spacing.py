"""What a TIFF file states: the spacing by OME-XML, ImageJ or nnU-Net's .json file beside it; names of channels by OME-XML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict
from xml.etree import ElementTree

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, read_json_if_any
from nnactive_ext.images.lengths import length_text, mm_per
from nnactive_ext.schemas import Spacing
from nnactive_ext.words import enumerated

if TYPE_CHECKING:
    import tifffile

_REMEDY = '"spacing" must be three numbers above 0, in mm along z y x, as nnU-Net has it.'
Stated = tuple[float | None, float | None, float | None]
"""mm along (z, y, x); None where it is not stated."""
UNKNOWN: Stated = (None, None, None)


class _Stated(TypedDict):
    spacing: Spacing


def stated_spacing(tif: tifffile.TiffFile, file: Path) -> Stated:
    """The spacing that an open TIFF file and the .json file beside it state; an NnActiveError where they contradict."""
    inside = _ome(tif.ome_metadata or "") if tif.is_ome else _imagej(tif) if tif.is_imagej else UNKNOWN
    beside = _beside(file)
    if beside is None:
        return inside
    source, values = beside
    check_same(file, inside, source.name, values)
    return values


def decided_spacing(file: Path, stated: Stated, given: Sequence[float] | None) -> tuple[float, float, float]:
    """The spacing in mm along (z, y, x) of an image that states ``stated``.

    Args:
        file: the image, for messages.
        stated: what the file states.
        given: what the user gave with -spacing; it must agree with the file.

    Raises:
        NnActiveError: it is not known, or both differ.
    """
    if given is not None:
        check_same(file, stated, "-spacing", given)
        return float(given[0]), float(given[1]), float(given[2])
    z, y, x = stated
    if z is None or y is None or x is None:
        missing = enumerated([axis for axis, mm in zip("zyx", stated, strict=True) if mm is None])
        raise NnActiveError(
            f"{file}: it does not state its spacing along {missing}. Give it with -spacing Z Y X, e.g. -spacing 2um 0.5um "
            "0.5um, the distance between slices first, or save the image again with it (in ImageJ or Fiji: Image > Properties)."
        )
    return z, y, x


def check_same(file: Path, stated: Stated, other: str, values: Sequence[float]) -> None:
    """Refuse a spacing that differs from what the file states along an axis by more than 1 %."""
    known = [(mm, value) for mm, value in zip(stated, values, strict=True) if mm is not None]
    if not all(np.isclose(mm, value, rtol=1e-2, atol=0) for mm, value in known):
        said = ", ".join(f"{axis} {length_text([mm])}" for axis, mm in zip("zyx", stated, strict=True) if mm is not None)
        raise NnActiveError(
            f"{file}: it states the spacing {said}, but {other} says {length_text(values)} (z, y, x). Correct the one that is "
            "wrong (in ImageJ or Fiji: Image > Properties). Images of another spacing need no -spacing if they state their own."
        )


def channel_names(tif: tifffile.TiffFile) -> tuple[str, ...]:
    """The names of the channels in an OME-TIFF; empty if not all have one."""
    pixels = _pixels(tif.ome_metadata or "") if tif.is_ome else None
    named = [element.get("Name", "") for element in pixels or () if element.tag.rpartition("}")[2] == "Channel"]
    return tuple(named) if all(named) else ()


def _pixels(text: str) -> ElementTree.Element | None:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    return next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)


def _ome(text: str) -> Stated:
    pixels = _pixels(text)
    if pixels is None:
        return UNKNOWN

    def along(axis: str) -> float | None:
        value, unit = pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        return _length(value, mm_per(unit))

    return along("Z"), along("Y"), along("X")


def _imagej(tif: tifffile.TiffFile) -> Stated:
    said: dict[str, Any] = tif.imagej_metadata or {}
    tags = tif.pages.first.tags

    def unit(axis: str) -> float | None:
        # Without a unit of its own, an axis has that of x.
        return mm_per(str(said.get(f"{axis}unit", said.get("unit", ""))))

    def in_plane(axis: str, tag: str) -> float | None:
        ratio = tags[tag].value if tag in tags else (0, 1)
        return _length(ratio[1] / ratio[0] if ratio[0] else None, unit(axis))

    return _length(said.get("spacing"), unit("z")), in_plane("y", "YResolution"), in_plane("x", "XResolution")


def _length(value: Any, mm: float | None) -> float | None:
    try:
        length = float(value) * mm if value is not None and mm else 0.0
    except (TypeError, ValueError):
        return None
    # Some programs write the distance between slices from the top down.
    return abs(length) if np.isfinite(length) and length else None


def _beside(file: Path) -> tuple[Path, tuple[float, float, float]] | None:
    """nnU-Net's spacing, of CASE.json beside CASE_0000.tif."""
    stem = re.sub(r"(\.ome)?\.tiff?$", "", file.name, flags=re.IGNORECASE)
    for name in dict.fromkeys((re.sub(r"_\d{4}$", "", stem), stem)):
        beside = file.with_name(f"{name}.json")
        content = read_json_if_any(beside, {}, Any, _REMEDY)
        if isinstance(content, dict) and "spacing" in content:  # others may keep other things in such a file
            return beside, read_json(beside, _Stated, _REMEDY)["spacing"]
    return None
