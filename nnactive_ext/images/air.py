"""Finds the body in an image by its grey values; where nothing is certain to be air, all of the image counts as body."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from nnactive_ext.engine.body import Body

BLOCKS = 128
"""Blocks along each axis, at most: whether a patch is air can be seen at this resolution, in a fraction of a second."""
_HOUNSFIELD = -500.0
"""Nothing but CT has grey values as low as this."""
_LUNG = -950.0
"""Lungs are denser, in Hounsfield units, and those with emphysema mostly; air and the padding around a CT's field of view are
not."""
_BLACK = 0.08
"""What is darker than this share of the body's grey value, above the lowest that there is, is air."""
_GREY = 0.25
"""What is darker than this share is air if the body is cut by an end of the image, and the image's edges are not."""
_DARK = 0.6
"""Air is darker than this share; where it is brighter than grey, it must be nothing but a receiver's noise."""
_RISE = 0.02
"""Of the way from the air's grey value to the body's: what is below it is air."""
_GAP, _STEPS = 1.4, 24
"""Between air and body there are no grey values: the gap's higher end is so many times as far above the air's as its lower."""
_SOLID = 0.3
"""A body fills this share of its bounding box; vessels and other sparse structures in the dark do not."""
_MOST_COILS = 8.5
"""The mean of noise over its standard deviation: 1.9 of one coil, 5.6 of 8, 8 of 16 (Constantinides 1997)."""
_SKEWNESS = 0.12
"""Of noise of one coil it is 0.63, of 16 0.18; of tissue 0."""
_LOUDER = 1.2
"""With signal, noise varies 1.4 to 1.5 times as much as in air."""
_LEAST_AIR, _MOST_AIR = 0.03, 0.97
_EDGE = 16
"""An edge of the image is this part of its height and width."""


def body_of(image: np.ndarray) -> Body | None:
    """The body in an image.

    Air is what all channels show as air: dark, around solid things that are bright, and along two edges of the image or more.
    Holes of the body, such as lungs, belong to it, as do dark tissues. Images without air (of a microscope, say, or cut to an
    organ), with a bright background, and with sparse bright structures in the dark (vessels, cells) have no body.

    Args:
        image: (channel, z, y, x), real, finite.

    Returns:
        The body, or None if any channel has no certain air.
    """
    edges = _edges(image.shape[1:])
    inside = None
    for channel in image:
        found = _brighter(_block_means(channel, edges), channel)
        if found is None:
            found = _padded(channel, edges)
        if found is None:
            return None
        inside = found if inside is None else inside | found
    return None if inside is None else Body(inside, edges)


def outside(body: Body, mask: np.ndarray) -> float:
    """The share of the true voxels of ``mask`` (z, y, x) that lie in blocks of air; 0 where there are none."""
    voxels = _block_means(mask, body.edges) * _block_sizes(body.edges)
    total = float(voxels.sum())
    return float(voxels[~body.inside].sum()) / total if total else 0.0


def _edges(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    z, y, x = (np.append(np.arange(0, n, -(-n // BLOCKS)), n) for n in shape)
    return z, y, x


def _block_means(channel: np.ndarray, edges: tuple[np.ndarray, ...]) -> np.ndarray:
    means = channel.astype(np.float32, copy=False)
    for axis in (2, 1, 0):
        if len(edges[axis]) - 1 < means.shape[axis]:
            means = np.add.reduceat(means, edges[axis][:-1], axis=axis)
    return means / _block_sizes(edges)


def _block_sizes(edges: tuple[np.ndarray, ...]) -> np.ndarray:
    z, y, x = (np.diff(axis).astype(np.float32) for axis in edges)
    return z[:, None, None] * y[:, None] * x


def _padded(channel: np.ndarray, edges: tuple[np.ndarray, ...]) -> np.ndarray | None:
    """What has another value than corners of the image that are all the same, as where a brain was cut out and normalised; None
    if that is no body, or the value is the highest (a detector's saturation)."""
    corners = channel[np.ix_(*([0, -1] for _ in range(3)))]
    values, counts = np.unique(corners, return_counts=True)
    value = values[np.argmax(counts)]
    if counts.max() < 2 or value == channel.max():
        return None
    return _body(_block_means(channel != value, edges) > 0.5)


def _brighter(grey: np.ndarray, channel: np.ndarray) -> np.ndarray | None:
    """What is brighter than air in blocks of one channel, or None; ``grey``: the means of its blocks."""
    smooth = ndimage.uniform_filter(grey, 3, mode="nearest")
    if channel.min() <= _HOUNSFIELD:
        body = _body(smooth > _LUNG)
    else:
        found = _threshold(smooth, channel)
        if found is None:
            return None
        level, certain = found
        body = _body(smooth > level)
        if not certain and body is not None and not _cut_by_an_end(body):
            return None
    # Smoothing has spread what is bright by one block.
    return None if body is None else ndimage.binary_erosion(body, np.ones((3, 3, 3)), border_value=1)


def _body(bright: np.ndarray) -> np.ndarray | None:
    """What is ``bright`` without small parts and holes, if it is a body in air; else None."""
    large = _large_components(bright)
    if large is None:
        return None
    body = _filled(large)
    air = 1 - float(body.mean())
    return body if _LEAST_AIR <= air <= _MOST_AIR and _along_edges(~body) else None


def _threshold(smooth: np.ndarray, channel: np.ndarray) -> tuple[float, bool] | None:
    """The grey value between air and body, and whether grey values alone make it certain that the image's darkest two edges are
    air; None if they cannot be."""
    dark = _darkest_edges(smooth)
    air = float(np.median(dark))
    clipped = np.minimum(smooth, np.percentile(smooth, 99))
    bright = clipped[clipped > _otsu(clipped)]
    body = float(np.median(bright)) if bright.size else air
    # Interpolation has made a few voxels darker than any was.
    floor = min(0.0, float(np.percentile(channel[:, ::4, ::4], 0.1)))
    share = (air - floor) / (body - floor) if body > air else 1.0
    if share > _DARK:
        return None
    certain = share <= _BLACK or _is_noise(channel, floor, (air + body) / 2)
    if not certain and share > _GREY:
        return None
    spread = 1.4826 * float(np.median(np.abs(dark - air)))
    level = _gap(smooth, air, max(5 * spread, _RISE * (body - air)), 0.5 * (body - air))
    return None if level is None else (level, certain)


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


def _is_noise(channel: np.ndarray, floor: float, middle: float) -> bool:
    """Whether the image's darkest two edges hold what receivers of MRI measure in air: the length of one or several complex
    numbers of random noise, which is skewed and varies less than the same noise on top of a signal (Gudbjartsson and Patz
    1995). Tissue, a microscope's background and resin are not so. ``middle``: between air and body."""
    dark = _darkest_edges(channel)
    mean, deviation = float(dark.mean()) - floor, float(dark.std())
    if deviation == 0 or mean > _MOST_COILS * deviation:
        return False
    skewness = float((((dark - dark.mean()) / deviation) ** 3).mean())
    bright = channel > middle
    return skewness > _SKEWNESS and _roughness(channel, bright) > _LOUDER * _roughness(channel, ~bright)


def _roughness(channel: np.ndarray, mask: np.ndarray) -> float:
    """The median difference of neighbours along the last axis that are both in ``mask``."""
    both = mask[..., 1:] & mask[..., :-1]
    differences = np.abs(np.diff(channel, axis=-1))[both]
    return float(np.median(differences)) if differences.size else 0.0


def _edge_bars(array: np.ndarray) -> Iterator[list[np.ndarray]]:
    """For each axis the four edges of the image that run along it."""
    for axis in range(3):
        moved = np.moveaxis(array, axis, 0)
        y, x = (max(1, n // _EDGE) for n in moved.shape[1:])
        yield [moved[:, :y, :x], moved[:, :y, -x:], moved[:, -y:, :x], moved[:, -y:, -x:]]


def _darkest_edges(smooth: np.ndarray) -> np.ndarray:
    """The grey values of the two darkest parallel edges."""
    pairs = [sorted(bars, key=np.median)[:2] for bars in _edge_bars(smooth)]
    pair = min(pairs, key=lambda bars: float(np.median(bars[1])))
    return np.concatenate([bar.ravel() for bar in pair])


def _along_edges(air: np.ndarray, least: int = 2) -> bool:
    """Whether ``least`` or more parallel edges of the image are air to four fifths."""
    return any(sum(bar.mean() >= 0.8 for bar in bars) >= least for bars in _edge_bars(air))


def _cut_by_an_end(body: np.ndarray) -> bool:
    """Whether the body goes on beyond an end of the image, as an organ in other tissue seldom does, but not beyond its sides,
    as tissue beside resin does."""
    areas = (body.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    return any(max(area[0], area[-1]) > 0.3 * area.max() for area in areas) and _along_edges(~body, 3)


def _otsu(values: np.ndarray) -> float:
    """The threshold that splits grey values into two classes of the largest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[::-1][1:]
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(variance)))])


def _large_components(bright: np.ndarray) -> np.ndarray | None:
    """The components of at least a twentieth of the largest one, if they are solid and most of what is bright; else None."""
    components, number = ndimage.label(bright)
    if not number:
        return None
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    large = np.flatnonzero(sizes >= max(sizes.max() / 20, 1))
    boxes = ndimage.find_objects(components)
    volume = sum(int(np.prod([s.stop - s.start for s in boxes[i - 1]])) for i in large)
    solid = sizes[large].sum() >= _SOLID * volume
    return np.isin(components, large) if solid and sizes.max() >= 0.4 * sizes.sum() else None


def _filled(body: np.ndarray) -> np.ndarray:
    """With its holes, in slices along each axis: lungs that an image cuts are open in some of these and closed in others."""
    filled = body.copy()
    for axis in range(3):
        slices = np.moveaxis(body, axis, 0)
        result = np.moveaxis(filled, axis, 0)  # a view
        for i, one in enumerate(slices):
            result[i] |= ndimage.binary_fill_holes(one)
    return filled
