"""Draws blocks in volumes that are larger than memory: apart from each other, of all intensities, and not empty."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, clipped_size, triple
from nnactive_ext.images.volumes import Block, Volume, volume_name
from nnactive_ext.randomness import generator

LEAST_CONTRAST = 0.1
"""A block with less than this share of the contrast of the richest blocks is empty."""
_RICHEST = 90
"""The percentile of contrasts that stands for the richest blocks."""
_OVERVIEW = 8
"""Voxels of a block along each axis, at least, on the level on which blocks are looked at."""
_MOST_COARSE, _MOST_FINE = 4000, 64
"""So many places are looked at, on a coarser level and on the level of the blocks itself."""
_SAMPLE = 24
"""At most so many voxels of a block along each axis are compared."""


@dataclass(frozen=True)
class Places:
    """Where blocks of ``size`` voxels may lie in a volume: the ``full`` ones by their first voxels (z, y, x), in order of
    their mean intensity; how many are ``empty``, and of how many places in ``all`` only ``seen`` were looked at."""

    volume: Volume
    size: Triple
    full: tuple[Triple, ...]
    empty: int
    seen: int
    all: int

    @property
    def expected(self) -> float:
        """How many places the whole volume has that are not empty, by those that were looked at."""
        return len(self.full) * self.all / self.seen

    def without(self, taken: Sequence[Block]) -> Places:
        """Those that share no voxel with blocks that exist."""
        boxes = [Patch("", block.start, block.size) for block in taken]
        free = [start for start in self.full if not Patch("", start, self.size).overlaps_any(boxes)]
        return Places(self.volume, self.size, tuple(free), self.empty, self.seen, self.all)


def places(volume: Volume, wanted: Sequence[int], seed: int, number: int) -> Places:
    """Look for places of blocks on a lattice whose offset the seed decides.

    Args:
        volume: an open volume.
        wanted: voxels of a block (z, y, x); an axis that is shorter gives all it has.
        seed: that of the experiment.
        number: how many blocks are wanted, with those that exist; eight times as many places are looked at where the volume
            has no coarser level.

    Returns:
        The places, in order of intensity. A place is empty where a channel is constant, or where the contrast (5th to 95th
        percentile) of all channels is below a tenth of that of the richest places.
    """
    shape = volume.level.shape
    size = clipped_size(wanted, shape)
    random = generator(seed, 0, "places of blocks", volume_name(volume.path))
    lattice = [n // s for n, s in zip(shape, size, strict=True)]
    offset = [int(random.integers(n - k * s + 1)) for n, k, s in zip(shape, lattice, size, strict=True)]
    everywhere = math.prod(lattice)
    overview = _overview(volume, size)
    most = _MOST_COARSE if overview.level.number > volume.level.number else max(_MOST_FINE, 8 * number)
    chosen = sorted(random.choice(everywhere, min(most, everywhere), replace=False).tolist())
    starts = [
        triple([o + i * s for o, i, s in zip(offset, np.unravel_index(cell, lattice), size, strict=True)]) for cell in chosen
    ]
    means, contrasts = _measured(volume, overview, starts, size)
    richest = np.percentile(contrasts, _RICHEST, axis=0)
    full = (contrasts > 0).all(axis=1) & (contrasts >= LEAST_CONTRAST * richest).any(axis=1)
    brightness = (means / np.where(richest > 0, richest, 1)).mean(axis=1)
    order = sorted(np.flatnonzero(full).tolist(), key=lambda i: (brightness[i], starts[i]))
    return Places(volume, size, tuple(starts[i] for i in order), int((~full).sum()), len(starts), everywhere)


def _overview(volume: Volume, size: Triple) -> Volume:
    """The volume on the coarsest level on which blocks are still several voxels long."""
    fine = volume.level
    for level in reversed(volume.levels[fine.number + 1 :]):
        spans = [s * n / m for s, n, m in zip(size, level.shape, fine.shape, strict=True)]
        if all(span >= min(_OVERVIEW, s) for span, s in zip(spans, size, strict=True)):
            return volume.on(level.number)
    return volume


def _measured(volume: Volume, overview: Volume, starts: Sequence[Triple], size: Triple) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the contrast of each channel (place, channel), read one place at a time."""
    shapes = overview.level.shape, volume.level.shape
    shrinks = [n / m for n, m in zip(*shapes, strict=True)]
    means, contrasts = [], []
    for start in starts:
        low = [min(math.floor(a * shrink), n - 1) for a, shrink, n in zip(start, shrinks, shapes[0], strict=True)]
        extent = zip(low, size, shrinks, shapes[0], strict=True)
        box = [max(1, min(round(s * shrink), n - a)) for a, s, shrink, n in extent]
        step = tuple(slice(None, None, math.ceil(n / _SAMPLE)) for n in box)
        sample = [overview.read(channel, low, box)[step].astype(np.float64) for channel in range(len(volume.channels))]
        means.append([float(np.nan_to_num(one).mean()) for one in sample])
        spread = [np.percentile(np.nan_to_num(one), (5, 95)) for one in sample]
        contrasts.append(
            [high - low if high > low else float(np.ptp(one)) for (low, high), one in zip(spread, sample, strict=True)]
        )
    return np.array(means), np.array(contrasts)


def shared_out(number: int, rooms: Mapping[Path, int], sizes: Mapping[Path, float] | None = None) -> dict[Path, int]:
    """``number`` blocks over volumes in proportion to their ``sizes``, by default their places, at least one each where there
    are enough; no volume gets more than its places.

    >>> list(shared_out(10, {Path("a"): 30, Path("b"): 10}).values())
    [7, 3]
    >>> list(shared_out(3, {Path("a"): 1, Path("b"): 100}).values())
    [1, 2]
    >>> list(shared_out(10, {Path("a"): 30, Path("b"): 30}, {Path("a"): 1.0, Path("b"): 4.0}).values())
    [2, 8]
    """
    sizes = sizes or rooms
    total = sum(sizes.values())
    first = {path: min(room, 1) if number >= len(rooms) else 0 for path, room in rooms.items()}
    quota = {path: number * size / total for path, size in sizes.items()}
    given = dict(first)
    for _ in range(number - sum(first.values())):
        open_ones = [path for path, room in rooms.items() if given[path] < room]
        given[max(open_ones, key=lambda path: (quota[path] - given[path], str(path)))] += 1
    return given


def drawn(places: Places, number: int, seed: int) -> list[Block]:
    """``number`` blocks, at most one from each of as many strata of intensity; fewer where there are not enough places.

    Args:
        places: where blocks may lie, in order of intensity.
        number: how many.
        seed: that of the experiment.

    Returns:
        The blocks, in order of their places.
    """
    volume, full = places.volume, places.full
    number = min(number, len(full))
    random = generator(seed, 0, "blocks", volume_name(volume.path))
    bounds = [round(i * len(full) / number) for i in range(number + 1)] if number else []
    chosen = [full[int(random.integers(low, high))] for low, high in itertools.pairwise(bounds)]
    given = volume.opened.spacing
    return [Block(volume.path, start, places.size, volume.level.number, volume.time, given) for start in sorted(chosen)]
