"""Uncertainty as colours that grow evenly brighter, laid over grey values."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image

UNSURE = 1.0
"""Nat, at which the colours end: between two equally likely classes (0.69) and three (1.10). One scale for all pictures lets
cycles be compared."""
_DIM = 0.65
"""Of the grey values, so that none is as bright as the brightest colours."""


def heated(rgb: np.ndarray, share: np.ndarray) -> np.ndarray:
    """``rgb`` (height, width, 3; 0 to 255), darkened, under the colours of ``share`` (height, width; 0 to 1): nothing of them
    where it is 0, hardly anything else from a half on."""
    cover = 0.9 * np.minimum(1, 2 * share)[..., None]
    return (1 - cover) * _DIM * rgb + cover * _colours()[np.rint(share * 255).astype(int)]


def scale_bar(width: int, height: int) -> Image.Image:
    """The colours from 0 to 1."""
    line = np.rint(_colours()[np.linspace(0, 255, width).astype(int)]).astype(np.uint8)
    return Image.fromarray(np.repeat(line[None], height, axis=0))


@cache
def _colours() -> np.ndarray:
    """(256, 3), 0 to 255: matplotlib's inferno, made to be perceived as uniform, also without colour."""
    from matplotlib import colormaps

    return np.asarray(colormaps["inferno"](np.arange(256)))[:, :3] * 255
