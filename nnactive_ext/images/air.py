"""Finds the body in an image by its grey values; where nothing is certain to be air, all of the image counts as body."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from nnactive_ext.engine.body import Body
from nnactive_ext.images.air_level import darkest_edges, edge_bars, level_of

BLOCKS = 128
"""Blocks along each axis, at most: whether a patch is air can be seen at this resolution, in a fraction of a second."""
_HOUNSFIELD = -500.0
"""Nothing but CT has grey values as low as this."""
_LUNG = -950.0
"""Lungs are denser, in Hounsfield units, and those with emphysema mostly; air and the padding around a CT's field of view are
not."""
_SOLID = 0.3
"""A body fills this share of its bounding box; vessels and other sparse structures in the dark do not."""
_LEAST_AIR, _MOST_AIR = 0.03, 0.97


def body_of(image: np.ndarray) -> Body | None:
    """The body in an image.

    Air is what all channels show as air: dark, around solid things that are bright, and along two edges of the image or more;
    and a frame of one value around the image. Holes of the body, such as lungs, belong to it, as do dark tissues. Images
    without air (of a microscope, say, or cut to an organ), with a bright background, and with sparse bright structures in the
    dark (vessels, cells) have no body.

    Args:
        image: (channel, z, y, x), real, finite.

    Returns:
        The body, or None if any channel has no certain air.
    """
    framed = _within_frame(image)
    whole = tuple(slice(0, n) for n in image.shape[1:])
    if framed != whole and (inner := _body_within(image[(slice(None), *framed)])):
        before = [one.start for one in framed]
        after = [n - one.stop for n, one in zip(image.shape[1:], framed, strict=True)]
        z, y, x = (
            np.concatenate([[0] * (b > 0), axis + b, [axis[-1] + b + a] * (a > 0)]).astype(int)
            for axis, b, a in zip(inner.edges, before, after, strict=True)
        )
        return Body(np.pad(inner.inside, [(int(b > 0), int(a > 0)) for b, a in zip(before, after, strict=True)]), (z, y, x))
    return _body_within(image)


def _body_within(image: np.ndarray) -> Body | None:
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


def _within_frame(image: np.ndarray) -> tuple[slice, ...]:
    """The image without the planes at its ends that hold one value in each channel."""
    left = [slice(0, n) for n in image.shape[1:]]
    for axis in range(3):
        planes = np.moveaxis(image[(slice(None), *left)], axis + 1, 0)
        start, stop = 0, len(planes)
        while start < stop - 1 and _constant(planes[start]):
            start += 1
        while stop - 1 > start and _constant(planes[stop - 1]):
            stop -= 1
        left[axis] = slice(start, stop)
    return tuple(left)


def _constant(plane: np.ndarray) -> bool:
    """Whether each channel of (channel, u, v) has one value."""
    return bool((plane == plane[:, :1, :1]).all())


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
    ct = channel.min() <= _HOUNSFIELD
    noisy = ct or darkest_edges(channel).std() > 0
    smooth = ndimage.uniform_filter(grey, 3, mode="nearest") if noisy else grey
    if ct:
        body = _body(smooth > _LUNG)
    else:
        found = level_of(smooth, channel)
        if found is None:
            return None
        body = _body(smooth > found)
    if body is None or not noisy:
        return body
    # Smoothing has spread what is bright by one block.
    return ndimage.binary_erosion(body, np.ones((3, 3, 3)), border_value=1)


def _body(bright: np.ndarray) -> np.ndarray | None:
    """What is ``bright`` without small parts and holes, if it is a body in air; else None."""
    large = _large_components(bright)
    if large is None:
        return None
    body = _filled(large)
    air = 1 - float(body.mean())
    return body if _LEAST_AIR <= air <= _MOST_AIR and _along_edges(~body) else None


def _along_edges(air: np.ndarray) -> bool:
    """Whether two or more parallel edges of the image are air to four fifths."""
    return any(sum(bar.mean() >= 0.8 for bar in bars) >= 2 for bars in edge_bars(air))


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
