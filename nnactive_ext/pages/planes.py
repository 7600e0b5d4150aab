"""The axial, the coronal and the sagittal slice through the middle of a patch, brought to pixels of one scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnactive_ext.geometry.axes import ENDS, Canonical
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space

PLANES = ("axial", "coronal", "sagittal")
"""By the canonical axis that each looks along."""


@dataclass(frozen=True)
class Plane:
    """One slice through the middle voxel of a patch.

    ``height`` and ``width`` in pixels; ``frame``: left, top, right and bottom of the patch in them, half open; ``ends``: the
    letters of the sides at the top, bottom, left and right.
    """

    name: str
    height: int
    width: int
    frame: tuple[int, int, int, int]
    ends: tuple[str, ...]
    turn: Canonical
    cut: tuple

    def voxels(self, array: np.ndarray) -> np.ndarray:
        """The slice (rows, columns) of an ``array`` (z, y, x) of the space."""
        return self.turn.turned(array)[self.cut]

    def shades(self, image: np.ndarray, low: float, high: float) -> np.ndarray:
        """Its values between pixels' centres interpolated, (height, width): 0 at ``low`` and below or where they are no
        number, 1 at ``high`` and above."""
        values = np.nan_to_num(self.voxels(image).astype(np.float32), nan=low)
        values = (np.clip(values, low, high) - low) / (high - low)
        resized = Image.fromarray(values).resize((self.width, self.height), Image.Resampling.BICUBIC)
        return np.clip(np.asarray(resized), 0, 1)

    def classes(self, labels: np.ndarray) -> np.ndarray:
        """The class at the centre of every pixel, (height, width)."""
        found = self.voxels(labels)
        rows, columns = (
            ((np.arange(pixels) + 0.5) * n / pixels).astype(int)
            for pixels, n in zip((self.height, self.width), found.shape, strict=True)
        )
        return found[np.ix_(rows, columns)]


def planes_of(space: Space, box: Patch, size: int) -> list[Plane]:
    """The three planes of an array in ``space`` through the middle voxel of ``box``, in the order of :data:`PLANES`.

    Head, front and the patient's right are on top or on the left; of an oblique space its own slices are taken, each
    under the nearest plane. All have one scale in pixels per mm, at which the longest side of the space is ``size`` pixels.
    """
    turn = Canonical.of(space)
    shape = [space.shape[axis] for axis in turn.axes]
    canonical, middle = turn.box(box), turn.middle(box)
    scale = size / max(n * mm for n, mm in zip(shape, turn.spacing, strict=True))
    planes = []
    for axis, name in enumerate(PLANES):
        rows, columns = (other for other in range(3) if other != axis)
        height, width = (max(1, round(shape[a] * turn.spacing[a] * scale)) for a in (rows, columns))
        pixels = {rows: height, columns: width}
        left, top, right, bottom = (
            round(corner[a] * pixels[a] / shape[a]) for corner in (canonical.start, canonical.stop) for a in (columns, rows)
        )
        cut = (slice(None),) * axis + (middle[axis],)
        ends = (*ENDS[rows], *ENDS[columns])
        planes.append(Plane(name, height, width, (left, top, right, bottom), ends, turn, cut))
    return planes


def outlined(classes: np.ndarray, drawn: list[int]) -> np.ndarray:
    """The values of ``drawn`` on the outermost pixels of their areas, elsewhere 0; where two of them touch, only the
    higher one's."""
    area = np.pad(np.where(np.isin(classes, drawn), classes, 0), 1)
    centre = area[1:-1, 1:-1]
    edge = np.zeros(centre.shape, bool)
    for neighbour in (area[:-2, 1:-1], area[2:, 1:-1], area[1:-1, :-2], area[1:-1, 2:]):
        edge |= centre > neighbour  # one line where two classes touch, that of the higher value
    return np.where(edge, centre, 0)
