"""The three slices through the middle of a patch, called by what they are, brought to pixels; acquired slices first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from nnactive_ext.geometry.axes import BETWEEN, Canonical
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space

PLANES = ("axial", "coronal", "sagittal")
"""By the canonical axis that each looks along."""
SLICED = 2.0
"""Where one axis is more than this many times as coarse as the others, planes across its slices look blurred."""
_LARGE, _SMALL = 1.5, 0.75
"""The size of the plane of acquisition, and the scale of the others, where they do."""


@dataclass(frozen=True)
class Plane:
    """One slice through the middle voxel of a patch.

    ``height`` and ``width`` in pixels; ``frame``: left, top, right and bottom of the patch in them, half open; ``ends``: the
    letters of the sides at the top, bottom, left and right. ``name`` is the nearest one of :data:`PLANES`; ``axis`` the
    canonical one that it looks along; ``title`` says to people what it is; ``oblique``: it is none of the patient's planes.
    """

    name: str
    axis: int
    title: str
    oblique: bool
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
    """The three planes of an array in ``space`` through the middle voxel of ``box``.

    Head, front and the patient's right are on top or on the left; of an oblique space its own slices are taken. They are in the
    order of :data:`PLANES`, and all have one scale in pixels per mm, at which the longest side of the space is ``size`` pixels.
    Where the space has thick slices (:data:`SLICED`), the plane in which they were acquired comes first and is the largest: its
    longest side is one and a half times ``size``; the others have half of its scale.
    """
    turn = Canonical.of(space)
    shape = [space.shape[axis] for axis in turn.axes]
    canonical, middle = turn.box(box), turn.middle(box)
    lengths = [n * mm for n, mm in zip(shape, turn.spacing, strict=True)]
    acquired = _acquired(turn.spacing)
    planes = []
    for axis in sorted(range(3), key=lambda axis: (axis != acquired, axis)):
        rows, columns = (other for other in range(3) if other != axis)
        scale = size / max(lengths)
        if acquired is not None:
            large = _LARGE * size / max(mm for other, mm in enumerate(lengths) if other != acquired)
            scale = large if axis == acquired else large * _SMALL / _LARGE
        height, width = (max(1, round(shape[a] * turn.spacing[a] * scale)) for a in (rows, columns))
        pixels = {rows: height, columns: width}
        left, top, right, bottom = (
            round(corner[a] * pixels[a] / shape[a]) for corner in (canonical.start, canonical.stop) for a in (columns, rows)
        )
        cut = (slice(None),) * axis + (middle[axis],)
        ends = (*turn.ends(rows), *turn.ends(columns))
        title, oblique = _title(turn, axis, acquired)
        frame = (left, top, right, bottom)
        planes.append(Plane(PLANES[axis], axis, title, oblique, height, width, frame, ends, turn, cut))
    return planes


def _acquired(spacing: Sequence[float]) -> int | None:
    """The axis across the acquired slices; None where no axis is much coarser than the others."""
    second, first = sorted(spacing)[-2:]
    return int(np.argmax(spacing)) if first > SLICED * second * 1.001 else None  # headers hold rounded numbers


def _title(turn: Canonical, axis: int, acquired: int | None) -> tuple[str, bool]:
    """What a plane is called, and whether it is oblique: by the angle between its normal and the patient's nearest axis."""
    normal = np.abs(turn.directions[:, axis])
    angle = math.degrees(math.acos(min(1.0, float(normal.max()))))
    nearest, oblique = PLANES[2 - int(np.argmax(normal))], angle > BETWEEN
    tilt = f", {angle:.0f}° from {nearest}" if oblique else f", tilted by {angle:.0f}°" if angle >= 1 else ""
    name = ("oblique" if oblique else nearest) + tilt
    if acquired is None:
        return name, oblique
    if axis == acquired:
        mm = turn.spacing[axis]
        thickness = f"{mm:.3g} mm" if mm >= 0.01 else f"{1000 * mm:.3g} µm"
        return f"acquisition plane ({thickness} slices), {name}", oblique
    return f"across the slices, {name}", oblique


def outlined(classes: np.ndarray, drawn: list[int]) -> np.ndarray:
    """The values of ``drawn`` on the outermost pixels of their areas, elsewhere 0; where two of them touch, only the
    higher one's."""
    area = np.pad(np.where(np.isin(classes, drawn), classes, 0), 1)
    centre = area[1:-1, 1:-1]
    edge = np.zeros(centre.shape, bool)
    for neighbour in (area[:-2, 1:-1], area[2:, 1:-1], area[1:-1, :-2], area[1:-1, 2:]):
        edge |= centre > neighbour  # one line where two classes touch, that of the higher value
    return np.where(edge, centre, 0)
