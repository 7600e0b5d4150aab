"""One picture of a queried patch: three slices through its middle, as image, prediction, uncertainty and annotation."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nnactive_ext.pages.colours import UNSURE, over_grey, scale_bar
from nnactive_ext.pages.planes import Plane, outlined, planes_of
from nnactive_ext.pages.slices import GUTTER, Colour, draw_frame, draw_letters, grey_window
from nnactive_ext.report.crop import Crop

MEDIA_TYPE = "image/webp"
"""Of the pictures: four times the same noise makes PNGs of 200 kB, these have a third of it and look the same."""
TITLE = 20
"""Pixels above each row, for what it shows."""
_NARROWEST = 300  # pixels, for the words above the rows
_GROUND = 14  # the grey around the slices, as on the index page
_INK = (230, 230, 230)
_BETWEEN = 10  # pixels between slices, so that nobody reads the letters of two as one word
_FILL = 0.22  # of a class's colour over the grey values inside its outline
_HATCH = 7  # pixels from line to line


def picture(crop: Crop, colours: Mapping[int, Colour], ignore: int, size: int = 200) -> bytes:
    """A WebP whose columns are the slices of :func:`planes_of` at this ``size`` and whose rows are those of :func:`rows`.

    The patch has a white frame. Classes are outlined and tinted in their
    ``colours`` (label value -> colour), but for background, ``ignore`` and values without a colour. What nobody annotated
    is dark and hatched in the row of the annotation. The colours of uncertainty end at :data:`UNSURE`.
    """
    planes = planes_of(crop.space, crop.box, size)
    low, high = grey_window(crop.image, crop.box)
    drawn = {value: colour for value, colour in colours.items() if value not in (0, ignore)}
    tall = max(plane.height for plane in planes) + 2 * GUTTER
    wide = max(_NARROWEST, sum(plane.width + 2 * GUTTER for plane in planes) + _BETWEEN * (len(planes) - 1))
    shown = rows(crop)
    canvas = Image.new("RGB", (wide, len(shown) * (TITLE + tall)), (_GROUND,) * 3)
    for number, row in enumerate(shown):
        top, left = number * (TITLE + tall), 0
        _title(canvas, row, top)
        for plane in planes:
            panel = _panel(plane, crop, row, (low, high), drawn, ignore)
            canvas.paste(panel, (left, top + TITLE + (tall - panel.height) // 2))
            left += panel.width + _BETWEEN
    return _webp(canvas)


def fitting(crop: Crop, size: int) -> int:
    """The size at which slices that are narrow fill the width of a column as those of a cube of ``size`` pixels nearly do."""
    wide = sum(plane.width for plane in planes_of(crop.space, crop.box, size))
    return round(size * min(1.6, max(1.0, 2.4 * size / wide)))


def dimensions(picture: bytes) -> tuple[int, int]:
    """Width and height of what :func:`picture` gave, in pixels."""
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


def rows(crop: Crop) -> tuple[str, ...]:
    """The rows that the picture of ``crop`` has: those without anything to show are left out."""
    there = {
        "image": True,
        "prediction": crop.prediction is not None,
        "uncertainty": crop.uncertainty is not None,
        "annotation": crop.annotation is not None,
    }
    return tuple(name for name, shown in there.items() if shown)


def _panel(
    plane: Plane,
    crop: Crop,
    row: str,
    window: tuple[float, float],
    colours: Mapping[int, Colour],
    ignore: int,
) -> Image.Image:
    """One slice with its gutter."""
    grey = plane.shades(crop.image, *window)
    rgb = np.repeat(grey[..., None], 3, axis=2) * 255
    if row == "prediction":
        assert crop.prediction is not None
        rgb = _painted(rgb, plane.classes(crop.prediction), colours)
    elif row == "uncertainty":
        assert crop.uncertainty is not None
        rgb = over_grey(rgb, plane.shades(crop.uncertainty, 0, UNSURE))
    elif row == "annotation":
        assert crop.annotation is not None
        labels = plane.classes(crop.annotation)
        rgb = _hatched(_painted(rgb, labels, colours), labels == ignore)
    panel = Image.new("RGB", (plane.width + 2 * GUTTER, plane.height + 2 * GUTTER), (_GROUND,) * 3)
    panel.paste(Image.fromarray(np.rint(rgb).astype(np.uint8)), (GUTTER, GUTTER))
    draw_letters(panel, plane.ends, 0xE6E6E6)
    draw_frame(panel, [GUTTER + edge for edge in plane.frame], 0xFFFFFF)
    return panel


def _painted(rgb: np.ndarray, classes: np.ndarray, colours: Mapping[int, Colour]) -> np.ndarray:
    painted = rgb.copy()
    edges = outlined(classes, sorted(colours))
    for value, colour in colours.items():
        inside = classes == value
        painted[inside] = (1 - _FILL) * painted[inside] + _FILL * np.asarray(colour)
        painted[edges == value] = colour
    return painted


def _hatched(rgb: np.ndarray, where: np.ndarray) -> np.ndarray:
    """``rgb`` with the pixels of ``where`` darker and under diagonal lines."""
    hatched = rgb.copy()
    hatched[where] *= 0.4
    down, across = np.indices(where.shape)
    hatched[where & ((down + across) % _HATCH == 0)] = (96, 96, 96)
    return hatched


def _title(canvas: Image.Image, row: str, top: int) -> None:
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    middle = top + TITLE / 2 + 2
    draw.text((GUTTER, middle), row, fill=_INK, font=font, anchor="lm")
    right = canvas.width - GUTTER
    if row == "uncertainty":
        bar = scale_bar(min(90, canvas.width // 4), 8)
        most = f"{UNSURE:g} nat or more"
        right -= math.ceil(draw.textlength(most, font=font))
        draw.text((right, middle), most, fill=_INK, font=font, anchor="lm")
        right -= bar.width + 5
        canvas.paste(bar, (right, round(middle - bar.height / 2)))
        draw.text((right - 5, middle), "0", fill=_INK, font=font, anchor="rm")
    elif row == "annotation":
        draw.text((right, middle), "hatched: not annotated", fill=_INK, font=font, anchor="rm")


def _webp(canvas: Image.Image) -> bytes:
    file = io.BytesIO()
    canvas.save(file, "WEBP", quality=80, method=6, use_sharp_yuv=True)  # sharp, or thin lines would lose their colours
    return file.getvalue()
