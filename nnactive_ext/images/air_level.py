"""The grey value that parts air from body in a channel of an image, where its darkest edges are certain to be air."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLACK = 0.08
"""What is darker than this share of the body's grey value, above the lowest that there is, is air."""
_DARK = 0.6
"""Air is darker than this share; where it is not black, it must be nothing but a receiver's noise."""
_CONSTANT = 0.02
"""Below this share air is not asked for its noise."""
_RISE = 0.02
"""Of the way from the air's grey value to the body's: what is below it is air."""
_GAP, _STEPS = 1.4, 24
"""Between air and body there are no grey values: the gap's higher end is so many times as far above the air's as its lower."""
_MOST_COILS = 8.5
"""The mean of noise over its standard deviation: 1.9 of one coil, 5.6 of 8, 8 of 16 (Constantinides 1997)."""
_SKEWNESS = 0.12
"""Of noise of one coil it is 0.63, of 16 0.18; of tissue 0."""
_LOUDER = 1.2, 2.0
"""With signal, noise varies 1.4 to 1.5 times as much as in air, and what is in the body adds a little."""
_TEXTURE = 0.5
"""Means of 3x3x3 blocks of noise vary less than this share of how its voxels vary; those of tissue more."""
_EDGE = 16
"""An edge of the image is this part of its height and width."""


def level_of(smooth: np.ndarray, channel: np.ndarray) -> float | None:
    """The grey value between air and body, or None if the image's darkest two edges are not certain to be air.

    Args:
        smooth: the channel's block means (z, y, x), each averaged with its neighbours.
        channel: its voxels (z, y, x), not in Hounsfield units.
    """
    dark, voxels = darkest_edges(smooth), darkest_edges(channel)
    air = float(np.median(dark))
    clipped = np.minimum(smooth, np.percentile(smooth, 99))
    bright = clipped[clipped > _otsu(clipped)]
    body = float(np.median(bright)) if bright.size else air
    # Interpolation has made a few voxels darker than any was.
    floor = min(0.0, float(np.percentile(channel[:, ::4, ::4], 0.1)))
    share = (air - floor) / (body - floor) if body > air else 1.0
    spread = 1.4826 * float(np.median(np.abs(dark - air)))
    if share > _CONSTANT and spread > _TEXTURE * float(voxels.std()):
        return None
    if share > _DARK or (share > _BLACK and not _is_noise(channel, voxels - floor, (air + body) / 2)):
        return None
    return _gap(smooth, air, max(5 * spread, _RISE * (body - air)), 0.5 * (body - air))


def _gap(smooth: np.ndarray, air: float, least: float, most: float) -> float | None:
    """The grey value between air and whatever is brighter, be it much darker than most of the body: where there is next to
    nothing, as there is not where brightness fades towards the corners. None if there is no such value from ``least`` to
    ``most`` above ``air``."""
    if least >= most:
        return None
    above = np.sort(smooth.ravel()) - air
    certain = np.searchsorted(above, least, side="right")
    for level in np.geomspace(least, most, _STEPS):
        below, between = np.searchsorted(above, [level, _GAP * level], side="right")
        if below > 4 * certain:
            return None
        if between - below < 0.1 * below:
            return air + float(level)
    return None


def _is_noise(channel: np.ndarray, dark: np.ndarray, middle: float) -> bool:
    """Whether the values ``dark`` of the image's edges, above the lowest, are what receivers of MRI measure in air: the length
    of one or several complex numbers of random noise, which is skewed and varies a little less than the same noise on top of a
    signal (Gudbjartsson and Patz 1995). Tissue and backgrounds of microscopes are not so. ``middle``: between air and body."""
    mean, deviation = float(dark.mean()), float(dark.std())
    if deviation == 0 or mean > _MOST_COILS * deviation:
        return False
    skewness = float((((dark - mean) / deviation) ** 3).mean())
    bright = channel > middle
    air = _roughness(channel, ~bright)
    return skewness > _SKEWNESS and _LOUDER[0] * air < _roughness(channel, bright) < _LOUDER[1] * air


def _roughness(channel: np.ndarray, mask: np.ndarray) -> float:
    """The median difference of neighbours along the last axis that are both in ``mask``, in every other slice."""
    both = mask[::2, :, 1:] & mask[::2, :, :-1]
    differences = np.abs(np.diff(channel[::2], axis=-1)[both])
    return float(np.median(differences)) if differences.size else 0.0


def darkest_edges(smooth: np.ndarray) -> np.ndarray:
    """The grey values of the two darkest parallel edges."""
    pairs = [sorted(bars, key=np.median)[:2] for bars in edge_bars(smooth)]
    pair = min(pairs, key=lambda bars: float(np.median(bars[1])))
    return np.concatenate([bar.ravel() for bar in pair])


def edge_bars(array: np.ndarray) -> Iterator[list[np.ndarray]]:
    """For each axis the four edges of the image that run along it."""
    for axis in range(3):
        moved = np.moveaxis(array, axis, 0)
        y, x = (max(1, n // _EDGE) for n in moved.shape[1:])
        yield [moved[:, :y, :x], moved[:, :y, -x:], moved[:, -y:, :x], moved[:, -y:, -x:]]


def _otsu(values: np.ndarray) -> float:
    """The threshold that splits grey values into two classes of the largest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(variance)))])
