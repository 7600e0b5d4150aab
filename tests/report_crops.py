"""A crop with an asymmetric anatomy, in any order of storage, for tests of the report's pictures and volumes."""

from __future__ import annotations

import numpy as np

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.report.crop import Crop

IGNORE = 3
COLOURS = {0: (0, 0, 0), 1: (230, 20, 20), 2: (20, 20, 230), IGNORE: (128, 128, 128)}
SHAPE = (12, 20, 24)
SPACING = (3.0, 1.5, 1.0)
"""Along (z, y, x)."""


def made(order=(0, 1, 2), flips=(False, False, False), **changed) -> Crop:
    """Stored along (z, y, x) with head, back and left at the high ends, then turned: ``order`` of the axes, then ``flips``.

    Wherever it is stored, each voxel keeps its place in the patient.
    """
    z, y, x = np.indices(SHAPE)
    image = (100.0 + 5 * z + 3 * y - 2 * x + 200 * ((z > 8) & (y < 6) & (x < 7))).astype(np.float32)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 6:15, 7:12] = 1
    labels[5:8, 9:13, 14:17] = 2
    box = np.zeros(SHAPE, bool)
    box[4:8, 7:14, 9:18] = True
    arrays = {
        "image": image,
        "prediction": labels,
        "annotation": np.where(box, labels, IGNORE).astype(np.uint8),
        "uncertainty": (0.9 * (x > 15)).astype(np.float32),
    }
    turned = {name: _turned(array, order, flips) for name, array in arrays.items()}
    inside = np.argwhere(_turned(box, order, flips))
    start, stop = inside.min(0), inside.max(0) + 1
    patch = Patch("case", tuple(start.tolist()), tuple((stop - start).tolist()))
    facts = dict(cycle=1, patch=patch, box=patch, stratum="", score=None, overlap=0.0, missing="", ignore=IGNORE)
    return Crop(**{**facts, **turned, "space": _space(order, flips), **changed})


def _turned(array: np.ndarray, order, flips) -> np.ndarray:
    return np.ascontiguousarray(np.flip(array.transpose(order), [axis for axis in range(3) if flips[axis]]))


def _space(order, flips) -> Space:
    """World's (x, y, z) is left, back, head; the first voxel as stored at first is at the origin (10, 20, 30)."""
    affine = np.eye(4)
    affine[:3, 3] = 10, 20, 30
    for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
        step = np.zeros(3)
        step[2 - source] = -SPACING[source] if flip else SPACING[source]
        affine[:3, 2 - axis] = step
        if flip:
            affine[:3, 3] -= step * (SHAPE[source] - 1)
    return Space.of_affine(affine, [SHAPE[source] for source in order])
