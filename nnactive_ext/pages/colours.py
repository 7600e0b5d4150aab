"""One colour per label, the same in every viewer, and a colormap for uncertainty."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from functools import cache

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""
IGNORE = "ignore"
"""nnU-Net's name for what is not annotated."""
BOX: Colour = (255, 128, 0)
"""Of the query patch's outline."""
_BACKGROUND: Colour = (0, 0, 0)
_GREY: Colour = (128, 128, 128)
# Okabe and Ito, "Color Universal Design" (2008), told apart with any kind of colour vision; without their black.
_FIRST: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# The sequential search of Glasbey et al., "Colour displays for categorical images" (Color Research & Application, 2007), begun
# with the seven above: each colour is the one furthest, by CIEDE2000, from all before it, from grey, black and white, also as
# protanopes and deuteranopes see them (Machado et al. 2009) and darkened for charts on white. Lightness is 38 to 93, to be seen
# over black air and bright bone; steps of 17 in sRGB. tests/test_colours.py measures the distances.
_MORE: tuple[Colour, ...] = (
    *((0, 102, 85), (187, 0, 85), (119, 85, 17), (136, 102, 255), (255, 187, 170), (119, 85, 119)),
    *((255, 85, 102), (153, 238, 238), (204, 17, 187), (204, 204, 255), (119, 0, 238), (170, 85, 68)),
    *((119, 204, 85), (221, 238, 170), (119, 153, 255), (0, 119, 51), (238, 187, 136), (170, 119, 204)),
    *((85, 85, 136), (255, 51, 136), (221, 0, 51), (153, 85, 102), (238, 136, 153), (0, 136, 136)),
)
_FIXED = _FIRST + _MORE


def colours(names: Mapping[str, int]) -> dict[str, Colour]:
    """The colour of each of ``names`` (label name -> value): background black, ignore grey, the others by their order."""
    found: dict[str, Colour] = {}
    number = 0
    for name, value in names.items():
        if value == 0:
            found[name] = _BACKGROUND
        elif name == IGNORE:
            found[name] = _GREY
        else:
            found[name] = _colour(number)
            number += 1
    return found


def _colour(number: int) -> Colour:
    if number < len(_FIXED):
        return _FIXED[number]
    # Hues a golden ratio apart never meet; lightness alternates, which every kind of colour vision sees.
    number -= len(_FIXED)
    red, green, blue = colorsys.hls_to_rgb(number * 0.618034 % 1, (0.35, 0.65)[number % 2], (1.0, 0.6)[number // 2 % 2])
    return round(255 * red), round(255 * green), round(255 * blue)


UNSURE = 1.0
"""Nat, at which the colours end: between two equally likely classes (0.69) and three (1.10). One scale for all pictures lets
cycles be compared."""
_DIM = 0.65
"""Of the grey values, so that none is as bright as the brightest colours."""


def over_grey(rgb: np.ndarray, share: np.ndarray) -> np.ndarray:
    """``rgb`` (height, width, 3; 0 to 255), darkened, under the colormap of ``share`` (height, width; 0 to 1).

    The colours cover nothing where the share is 0, and nearly everything from a half on.
    """
    cover = 0.9 * np.minimum(1, 2 * share)[..., None]
    return (1 - cover) * _DIM * rgb + cover * _colormap()[np.rint(share * 255).astype(int)]


def scale_bar(width: int, height: int) -> Image.Image:
    """The colormap from 0 to 1, from left to right."""
    line = np.rint(_colormap()[np.linspace(0, 255, width).astype(int)]).astype(np.uint8)
    return Image.fromarray(np.repeat(line[None], height, axis=0))


@cache
def _colormap() -> np.ndarray:
    """(256, 3), 0 to 255: matplotlib's inferno, made to be perceived as uniform, also without colour."""
    from matplotlib import colormaps

    return np.asarray(colormaps["inferno"](np.arange(256)))[:, :3] * 255
