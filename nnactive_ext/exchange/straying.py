"""Labels outside the patch: a little paint over its edge, or an answer that was moved or is another task's."""

from __future__ import annotations

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, shared, triple

_SLIP = 10
"""Fewer voxels outside are a slip of the brush, whatever the patch holds."""
_MANY = 0.2
"""Share of all labelled voxels. A brush that overshoots one whole face of a full patch by a voxel leaves less: at most a ninth
of a patch of 8 voxels a side."""
_FRAME = 0.5
"""Share of what surrounds the patch that is ``ignore`` still, from which the frame that was sent is taken to be there."""


def has_frame(array: np.ndarray, patch: Patch, ignore: int) -> bool:
    """Whether most of ``array`` (z, y, x) outside ``patch`` (in its voxels) is ``ignore``, as it was sent."""
    inside = array[_within(patch, array.shape)]
    outside = array.size - inside.size
    kept = np.count_nonzero(array == ignore) - np.count_nonzero(inside == ignore)
    return outside > 0 and bool(kept >= _FRAME * outside)


def doubt(array: np.ndarray, patch: Patch, ignore: int) -> str:
    """Say why what lies outside ``patch`` makes a file doubtful as its answer.

    With the frame of ``ignore`` that was sent, all that is not ``ignore`` counts, background too; else the labels of classes.
    Doubtful is a file if most of that, and not just a slip, lies outside, or more than a fifth and more than the patch's
    smallest face; or if the patch moved by some voxels would hold more of it, and what it holds then fills the gap.

    Args:
        array: what the file says, (z, y, x).
        patch: the patch in voxels of ``array``; it may reach beyond.
        ignore: the value of ``ignore``.

    Returns:
        The finding as a clause; empty if there is no doubt.
    """
    framed = has_frame(array, patch, ignore)
    counts = (array != ignore) if framed else ((array != ignore) & (array != 0))
    inside = int(np.count_nonzero(counts[_within(patch, array.shape)]))
    outside = int(np.count_nonzero(counts)) - inside
    if not outside:
        return ""
    if framed and (moved := _explained_by_shift(counts, patch)):
        z, y, x = moved
        return f"its annotated voxels lie ({x}, {y}, {z}) voxels (x, y, z) beside the patch"
    most = outside > inside and outside >= _SLIP
    face = int(np.prod(sorted(patch.size)[:2]))
    if most or (outside > _MANY * (inside + outside) and outside > max(face, _SLIP)):
        what = "annotated" if framed else "labelled"
        return f"{outside} {what} voxels lie outside the patch and {inside} in it"
    return ""


def _explained_by_shift(counts: np.ndarray, patch: Patch) -> Triple | None:
    """By how many voxels (z, y, x) the patch has to be moved to hold more voxels that count; None if it holds the most, or if
    less than half of what it would gain is filled, as stray paint beside an unfinished patch does not."""
    reach = Patch("", triple(np.subtract(patch.start, patch.size)), triple(np.multiply(patch.size, 3)))
    around = np.zeros(reach.size, bool)
    target, source = shared(reach, Patch("", (0, 0, 0), triple(counts.shape)))
    around[target] = counts[source]
    sums = _sums(around, patch.size)
    here = tuple(patch.size)
    best = np.argwhere(sums == sums.max())
    start = best[np.argmin(np.abs(best - here).sum(axis=1))]
    if sums.max() <= sums[here]:
        return None
    moved = Patch("", triple(start), patch.size)
    gained = around[moved.slices].copy()
    overlap, _ = shared(moved, Patch("", triple(here), patch.size))
    left = gained.size - gained[overlap].size
    filled = int(gained.sum()) - int(gained[overlap].sum())
    z, y, x = (int(a - b) for a, b in zip(start, here, strict=True))
    return (z, y, x) if filled >= left / 2 else None


def _sums(mask: np.ndarray, size: Triple) -> np.ndarray:
    """How many voxels of ``mask`` each window of ``size`` holds, by the window's start."""
    total = mask.astype(np.int64)
    for axis, n in enumerate(size):
        summed = np.cumsum(total, axis=axis)
        summed = np.concatenate([np.zeros_like(np.take(summed, [0], axis)), summed], axis=axis)
        length = summed.shape[axis]
        total = np.take(summed, range(n, length), axis) - np.take(summed, range(length - n), axis)
    return total


def _within(patch: Patch, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return shared(patch, Patch("", (0, 0, 0), triple(shape)))[1]
