"""Limits the default query patch: the largest component of connected structures, such as vessels, spans the whole image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.geometry.patch import Triple, triple
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.measure import Measured

PART = 3
"""A patch may be longer than one third of the median image along one axis only."""
FEWEST = 5
"""Disjoint patches that must fit into the median image."""
LEAST_VOXELS = 8
"""The limit shortens no side below this: smaller patches show an annotator hardly anything."""


def median_shape(cases: Iterable[Measured | Geometry]) -> tuple[list[float], list[float]]:
    """The median extent of the images along (z, y, x), in voxels of the median spacing, and that spacing in mm."""
    cases = list(cases)
    spacing = np.median([case.spacing for case in cases], axis=0)
    extents = np.median([np.multiply(case.shape, case.spacing) for case in cases], axis=0)
    return (extents / spacing).tolist(), spacing.tolist()


def too_long(voxels: Sequence[float], shape: Sequence[float]) -> list[int]:
    """The axes along which a patch is longer than its part of the image."""
    return [axis for axis in range(3) if voxels[axis] * PART > shape[axis] + 1e-6]


def fitting(voxels: Sequence[float], shape: Sequence[float]) -> int:
    """The number of disjoint patches that fit into an image."""
    return math.prod(max(1, math.floor(n / v + 1e-6)) for n, v in zip(shape, voxels, strict=True))


def too_large(voxels: Sequence[float], shape: Sequence[float]) -> bool:
    """Whether a patch exceeds a third of the image along two axes, or fewer than five fit."""
    return len(too_long(voxels, shape)) > 1 or fitting(voxels, shape) < FEWEST


def limited(voxels: Triple, shape: Sequence[float], spacing: Sequence[float]) -> Triple:
    """The patch with its sides shortened until it is not :func:`too_large`.

    Of the sides that are too long the longest one in mm (or several) is shortened, voxel by voxel, so that cubes stay cubes and
    thin slabs keep their thickness. No side becomes shorter than :data:`LEAST_VOXELS`: in tiny images the patch may stay too
    large.

    >>> limited((21, 512, 512), (21, 512, 512), (5, 1, 1))
    (21, 170, 170)
    >>> limited((20, 20, 20), (36, 50, 35), (1, 1, 1))
    (12, 12, 12)
    """
    size, sides = list(voxels), too_long(voxels, shape)
    while too_large(size, shape):
        axes = [axis for axis in sides if size[axis] > LEAST_VOXELS]
        if not axes:
            break
        longest = max(size[axis] * spacing[axis] for axis in axes)
        for axis in axes:
            size[axis] -= size[axis] * spacing[axis] >= longest * (1 - 1e-6)
    return triple(size)


def apply_limit(
    voxels: Triple, cases: Iterable[Measured | Geometry], asked: bool, structures: Mapping[str, Sequence[float]]
) -> tuple[Triple, Decisions]:
    """The query patch within the limit, and what to say: what was shortened, the cause, and the flag for another size.

    Args:
        voxels: the patch along (z, y, x), at the median spacing of the cases.
        cases: of the pool.
        asked: the user gave the size, so that it is kept and a warning says what it means.
        structures: class -> median size in mm of its largest component, to name the cause.

    Returns:
        The size in voxels, and the rows for the table of decisions, of which there are none if it is not too large.
    """
    told = Decisions()
    shape, spacing = median_shape(cases)
    size = limited(voxels, shape, spacing)
    if size == voxels:
        return voxels, told
    number = fitting(voxels, shape)
    spans = f"{_shares(voxels, shape)} of the median image along z, y, x: {number} {'fits' if number == 1 else 'fit'} into it"
    goal = "at most a third of it along two axes" if not too_large(size, shape) else f"no side below {LEAST_VOXELS} voxels"
    if asked:
        told.warn("large query patch", f"it spans {spans}; -patch_size {_words(size)} has {goal}")
        return voxels, told
    told.add("", f"limited from {_times(voxels)}", f"which spans {spans}; now {goal}")
    medians = {name: [n / s for n, s in zip(mm, spacing, strict=True)] for name, mm in structures.items()}
    causes = {name: median for name, median in medians.items() if len(too_long(median, shape)) > 1}
    if causes:
        largest = max(causes, key=lambda name: math.prod(causes[name]))
        told.add("", "cause", f"the largest component of {largest} spans {_shares(causes[largest], shape)} of the median image")
    told.add("", "to set another size", f"-patch_size {_words(voxels)} is the size without the limit")
    return size, told


def _shares(voxels: Sequence[float], shape: Sequence[float]) -> str:
    return ", ".join(f"{100 * min(1.0, v / n):.0f}" for v, n in zip(voxels, shape, strict=True)) + " %"


def _times(voxels: Sequence[float]) -> str:
    return "x".join(f"{v:g}" for v in voxels)


def _words(voxels: Sequence[int]) -> str:
    return " ".join(map(str, voxels))
