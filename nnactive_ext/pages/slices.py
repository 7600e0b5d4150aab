"""Small pictures of a task: the three slices through the middle of its patch, the patch and what is predicted in it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.planes import outlined, planes_of

Colour = tuple[int, int, int]
GUTTER = 16
"""Pixels around a slice, for the letters and for the frame of a patch at the image's edge."""
GREYS = 96
"""Levels of grey: a picture has 256 colours in all, and noise in fewer levels makes smaller files."""
_OUTSIDE = 14  # the gutter's grey, so that black air ends where the image does

_LUNG, _SOFT, _BONE = (-1350.0, 150.0), (-160.0, 240.0), (-450.0, 1050.0)
CT_WINDOWS = {"lung": _LUNG, "soft tissue": _SOFT, "bone": _BONE}
"""The usual windows for CT: the values drawn black and white, in Hounsfield units."""


def three_slices(
    image: np.ndarray,
    labels: np.ndarray,
    space: Space,
    box: Patch,
    colours: Mapping[int, Colour],
    ignore: int,
    size: int = 240,
) -> list[tuple[str, bytes]]:
    """``(plane, PNG)`` of the three slices through the middle voxel of ``box``, as :func:`planes_of` orders and scales them.

    ``image`` and ``labels`` (z, y, x) lie in ``space``, ``box`` in its voxels. Around the slice there are :data:`GUTTER` more
    pixels. The patch has a white frame with a black one around it, both outside the patch; the classes in it
    are outlined in their ``colours``, except background, ``ignore`` and values without a colour.
    """
    low, high = grey_window(image, box)
    drawn = [value for value in sorted(colours) if value not in (0, ignore)]
    pictures = []
    for plane in planes_of(space, box, size):
        canvas = Image.new("L", (plane.width + 2 * GUTTER, plane.height + 2 * GUTTER), _OUTSIDE)
        levels = np.rint(plane.shades(image, low, high) * (GREYS - 1)).astype(np.uint8)
        canvas.paste(Image.fromarray(levels), (GUTTER, GUTTER))
        draw_letters(canvas, plane.ends, GREYS - 1)
        left, top, right, bottom = plane.frame
        draw_frame(canvas, [GUTTER + edge for edge in plane.frame], GREYS - 1)
        outlines = np.zeros((canvas.height, canvas.width), labels.dtype)
        outlines[GUTTER + top : GUTTER + bottom, GUTTER + left : GUTTER + right] = outlined(
            plane.classes(labels)[top:bottom, left:right], drawn
        )
        pictures.append((plane.name, _png(np.array(canvas), outlines, colours)))
    return pictures


def grey_window(image: np.ndarray, box: Patch) -> tuple[float, float]:
    """The values drawn black and white: the 0.5 and 99.5 % percentiles around ``box``, or a usual window for CT.

    Around it is half of its size on each side: what is bright elsewhere in the image does not make the patch dark.

    CT is what has air in it, in Hounsfield units; its window is the lung's, the soft tissues' or the bones', by the
    median of what is no air in ``box``. Without air there is little that the percentiles would lose. Values that are not
    finite do not count.
    """
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.5)))
    if _has_air_in_hounsfield_units(finite, low):
        inside = image[box.slices]
        tissue = inside[inside > -950]  # less is air around the patient
        median = float(np.median(tissue)) if tissue.size else 0.0
        return _LUNG if median < -400 else _BONE if median > 300 else _SOFT
    near = image[_around(box, image.shape)]
    near = near[np.isfinite(near)]
    low, high = (float(value) for value in np.percentile(near, (0.5, 99.5))) if near.size else (low, high)
    return low, max(high, low + 1e-6 * max(1.0, abs(low)))


def is_ct(image: np.ndarray) -> bool:
    """Whether the values look like Hounsfield units, with air among them; any shape."""
    finite = image[np.isfinite(image)]
    return bool(finite.size) and _has_air_in_hounsfield_units(finite, float(np.percentile(finite, 0.5)))


def _has_air_in_hounsfield_units(finite: np.ndarray, low: float) -> bool:
    return bool(-3100 <= finite.min() and low < -300)  # scanners pad with down to -3024; phase images go further


def _around(box: Patch, shape: Sequence[int]) -> tuple[slice, ...]:
    """Half of the patch's size on each side, within the image."""
    sides = zip(box.start, box.size, shape, strict=True)
    return tuple(slice(max(0, a - n // 2), min(most, a + n + n // 2)) for a, n, most in sides)


def draw_letters(canvas: Image.Image, ends: Sequence[str], white: int) -> None:
    """The letters of the sides in the gutter around one slice: top, bottom, left, right."""
    draw = ImageDraw.Draw(canvas)
    fonts = {1: ImageFont.load_default(13), 2: ImageFont.load_default(10)}
    across, down, near = canvas.width / 2, canvas.height / 2, GUTTER / 2
    places = (across, near), (across, canvas.height - near), (near, down), (canvas.width - near, down)
    for letter, place in zip(ends, places, strict=True):
        draw.text(place, letter, fill=white, font=fonts[len(letter)], anchor="mm")


def draw_frame(canvas: Image.Image, frame: Sequence[int], white: int) -> None:
    """Around the half-open patch with these left, top, right and bottom edges; none of its pixels is covered."""
    left, top, right, bottom = frame
    draw = ImageDraw.Draw(canvas)
    for away, level in ((2, 0), (1, white)):  # black around white is seen on bone as well as on air
        draw.rectangle((left - away, top - away, right - 1 + away, bottom - 1 + away), outline=level)


def _png(levels: np.ndarray, outlines: np.ndarray, colours: Mapping[int, Colour]) -> bytes:
    palette = [round(level * 255 / (GREYS - 1)) for level in range(GREYS) for _ in range(3)]
    # More classes than the palette holds do not fit into one slice of a patch anyway.
    for entry, value in enumerate(np.unique(outlines[outlines != 0])[: 256 - GREYS].tolist(), GREYS):
        levels[outlines == value] = entry
        palette += colours[value]
    picture = Image.fromarray(levels)
    picture.putpalette(palette)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
