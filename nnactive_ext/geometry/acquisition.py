"""How the arrays of a pool are to be turned so that slices are slices in all of them: decided from spacings and directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_ext.geometry.alike import turns_alike
from nnactive_ext.geometry.axes import Canonical, Turn, orientation, reoriented
from nnactive_ext.geometry.space import Space

THICK = 3.0
"""An axis is thick where its voxels are at least this many times as long as those of both others. It is nnU-Net's
ANISO_THRESHOLD: from there on nnU-Net, too, treats an image as slices, plans their distance as it is, and does not interpolate
between them."""
_ROUNDING = 0.99
_OWN = 2.0
"""In a pool of thick slices an image with thinner ones still has a slice axis of its own, if it is this much coarser."""
_UPRIGHT = 30.0
"""Degrees up to which the axes of RAS are those of an image beyond doubt; at 45 degrees two are equally near."""

STORED, UPRIGHT, TURNED = "stored", "upright", "turned"
"""Ways to read a pool: as stored; turned to RAS by the reader; from copies that are turned (the others as stored)."""


@dataclass(frozen=True)
class Axes:
    """``way`` is one of :data:`STORED`, :data:`UPRIGHT`, :data:`TURNED`; ``turns``: from the stored array of each case to the
    one that is wanted; ``thick``: the thick stored axis of each case (None: it has none), empty where the pool has none."""

    way: str
    turns: Mapping[str, Turn]
    thick: Mapping[str, int | None]

    @property
    def changed(self) -> dict[str, Turn]:
        """The cases whose arrays are not as they are stored."""
        return {case: turn for case, turn in self.turns.items() if turn.changes}


def coarseness(spacing: Sequence[float]) -> float:
    """How many times as coarse as the next one the coarsest axis is.

    >>> coarseness((8.0, 1.25, 1.25))
    6.4
    """
    second, first = sorted(spacing)[-2:]
    return first / second


def thick_axis(spacing: Sequence[float], least: float = THICK) -> int | None:
    """The axis that is ``least`` times as coarse as both others; None if there is none.

    >>> thick_axis((1.25, 8.0, 1.25)), thick_axis((2.0, 1.0, 1.0))
    (1, None)
    """
    return int(np.argmax(spacing)) if coarseness(spacing) >= least * _ROUNDING else None


def has_thick_slices(spacings: Sequence[Sequence[float]]) -> bool:
    """Whether the median image has a thick axis; its spacing is along any order of axes."""
    return bool(np.median([coarseness(spacing) for spacing in spacings]) >= THICK * _ROUNDING)


def decide_axes(spaces: Mapping[str, Space], labelled: bool = False) -> Axes:
    """How the arrays of a pool are to be turned: the one decision of roll-outs and of simulations.

    Where the slices lie along the same stored axis in all images, that axis stays where it is, and the others are flipped and
    swapped at most, so that images of one acquisition plane agree. Where they do not, the thick axis of each image comes first;
    by RAS where the images are so straight that this does it. Without thick axis, images of several orientations go to RAS.

    Args:
        spaces: of the arrays as stored, by case.
        labelled: the dataset is one that nnU-Net reads as it is; it stays as it is, unless its thick axes differ.

    Returns:
        The decision.
    """
    stay = {case: Turn((0, 1, 2), (False, False, False)) for case in spaces}
    codes = {orientation(space.direction) for space in spaces.values()}
    if not has_thick_slices([space.spacing_zyx for space in spaces.values()]):
        if len(codes) == 1 or labelled:
            return Axes(STORED, stay, {})
        return Axes(UPRIGHT, _upright(spaces), {})
    thick = {case: thick_axis(space.spacing_zyx, _OWN) for case, space in spaces.items()}
    places = {axis for axis in thick.values() if axis is not None}
    if len(places) == 1 and (len(codes) == 1 or labelled):
        return Axes(STORED, stay, thick)
    turns = turns_alike(spaces, thick, next(iter(places)) if len(places) == 1 else 0)
    if not any(turn.changes for turn in turns.values()):
        return Axes(STORED, turns, thick)
    if _straight(spaces, thick):
        return Axes(UPRIGHT, _upright(spaces), thick)
    return Axes(TURNED, turns, thick)


def turn_like(space: Space, others: Sequence[Space]) -> tuple[Turn, bool]:
    """How an image that comes later is turned to lie as the ``others`` of its pool do, and whether one of them has its
    acquisition plane. All of them have their thick axis at the same place."""
    first = next(axis for other in others if (axis := thick_axis(other.spacing_zyx, _OWN)) is not None)
    found = turns_alike({"": space}, {"": thick_axis(space.spacing_zyx, _OWN)}, first, others)[""]
    along = np.reshape(found.turned_space(space).direction, (3, 3))
    near = max(float((along * np.reshape(other.direction, (3, 3))).sum(0).min()) for other in others)
    return found, near > np.cos(np.radians(45))


def _upright(spaces: Mapping[str, Space]) -> dict[str, Turn]:
    return {case: Turn.to_code(space) for case, space in spaces.items()}


def _straight(spaces: Mapping[str, Space], thick: Mapping[str, int | None]) -> bool:
    """Whether RAS puts the slices of all images along one axis, and leaves no doubt about the others."""
    sliced = [space for case, space in spaces.items() if thick[case] is not None]
    places = {thick_axis(reoriented(space).spacing_zyx, _OWN) for space in sliced}
    return len(places) == 1 and all(Canonical.of(space).tilt <= _UPRIGHT for space in spaces.values())
