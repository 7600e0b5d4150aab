"""The three slices through the middle of an image, as pictures in a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image as Picture

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.pages.planes import planes_of
from nnactive_ext.pages.slices import GUTTER, draw_letters, grey_window
from nnactive_ext.screening.images import Image
from nnactive_ext.screening.why import number

SIZE = 150
"""Pixels of the longest side of an image."""
_SAME = 0.1
"""Two windows are the same for the eye where their ends differ by at most this share of the width."""


@dataclass(frozen=True)
class Slices:
    """``what`` is shown; ``facts``: its extent and grey window; ``pictures``: title and data URL of each plane."""

    what: str
    facts: str
    pictures: tuple[tuple[str, str], ...]


def slices_beside(image: Image, other: Image | None, other_name: str) -> list[Slices]:
    """The slices of an image, those of an ``other`` one, and those of the image in the other's window if that differs.

    The first channel is shown, as stored. Grey values below the window are black, those above it are white.
    """
    voxels, space = _first_channel(image)
    window = grey_window(voxels, _whole(space))
    found = [_slices(image.name, voxels, space, window)]
    if other is None:
        return found
    others, their_space = _first_channel(other)
    theirs = grey_window(others, _whole(their_space))
    found.append(_slices(f"{other_name}, the most similar case of the reference", others, their_space, theirs))
    if not _alike(window, theirs):
        found.append(_slices(f"{image.name}, in the grey window of {other_name}", voxels, space, theirs))
    return found


def _first_channel(image: Image) -> tuple[np.ndarray, Space]:
    voxels, space = image.read()
    return voxels[0], space


def _whole(space: Space) -> Patch:
    return Patch("", (0, 0, 0), space.shape)


def _alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    width = other[1] - other[0]
    return all(abs(a - b) <= _SAME * width for a, b in zip(one, other, strict=True))


def _slices(what: str, voxels: np.ndarray, space: Space, window: tuple[float, float]) -> Slices:
    pictures = []
    for plane in planes_of(space, _whole(space), SIZE):
        canvas = Picture.new("L", (plane.width + 2 * GUTTER, plane.height + 2 * GUTTER), 20)
        shades = np.rint(plane.shades(voxels, *window) * 255).astype(np.uint8)
        canvas.paste(Picture.fromarray(shades), (GUTTER, GUTTER))
        draw_letters(canvas, plane.ends, 255)
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=88)
        pictures.append((plane.title, f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"))
    extent = " x ".join(number(n * mm) for n, mm in zip(space.shape, space.spacing_zyx, strict=True))
    return Slices(what, f"{extent} mm; black {number(window[0])}, white {number(window[1])}", tuple(pictures))
