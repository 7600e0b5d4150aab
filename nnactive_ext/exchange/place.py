"""Whether a file that comes back lies where it was sent from: one of the size that was sent lies there and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.geometry.axes import Alignment, align
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.geometry.space import Space

_SLACK = 0.1
"""Voxels, as in :mod:`nnactive_ext.geometry.axes`."""


def misplaced(returned: Space, space: Space, sent: Sequence[tuple[str, Patch]]) -> str:
    """Say how far a file of a size that was sent lies from there.

    Viewers cut and extend label maps, and turn their axes. What has exactly the size that was sent was neither cut nor
    extended, so that another place means that its geometry was lost or changed when it was saved.

    Args:
        returned: the file's lattice.
        space: the lattice of the image.
        sent: what was sent, in words, and where it lies in voxels of the image; the likeliest first.

    Returns:
        What differs and by how much, in voxels and mm along the axes x, y and z of the image. Empty if the file lies at one of
        these places, or has none of these sizes.
    """
    same = [(what, box) for what, box in sent if sorted(box.size) == sorted(returned.shape)]
    try:
        placed = align(space, returned)
    except ValueError as error:
        difference = str(error)
    else:
        if any(_covers(placed, returned, box) for _, box in same):
            return ""
        difference = ""
    if not same:
        return ""
    what, box = next(((w, b) for w, b in same if b.size == returned.shape), same[0])
    there = space.crop(box)
    parts = [difference] if difference else []
    if not difference and box.size != returned.shape:
        parts.append(f"its size is {_numbers(returned.shape[::-1])} instead of {_numbers(box.size[::-1])} voxels (x, y, z)")
    if not difference and not np.allclose(returned.direction, there.direction, atol=1e-3):
        parts.append(f"its direction is {_numbers(returned.direction)} instead of {_numbers(there.direction)}")
    voxels = np.subtract(there.to_index(_centre(returned)), np.subtract(box.size, 1) / 2)[::-1]
    if (np.abs(voxels) > _SLACK).any() or not parts:
        parts.append(
            f"its centre is {_numbers(voxels)} voxels, {_numbers(voxels * there.spacing)} mm away from where it was "
            "(along the image's axes x, y, z)"
        )
    return f"{'; '.join(parts)}. It has the size of {what} and does not lie where that does"


def _covers(placed: Alignment, returned: Space, box: Patch) -> bool:
    return placed.start == box.start and triple([returned.shape[axis] for axis in placed.axes]) == box.size


def _centre(space: Space) -> Sequence[float]:
    return space.to_world([(n - 1) / 2 for n in space.shape])


def _numbers(values: Sequence[float] | np.ndarray) -> str:
    return "(" + ", ".join(f"{round(float(value), 3) + 0.0:.4g}" for value in values) + ")"
