"""Tells how the images of a pool are turned, and what follows for nnU-Net: the rows of planning about acquisition planes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nnactive_ext.geometry.acquisition import (
    STORED,
    THICK,
    TURNED,
    UPRIGHT,
    Axes,
    coarseness,
    decide_axes,
)
from nnactive_ext.geometry.axes import Turn, orientation
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.headers import PLAIN, REORIENTING
from nnactive_ext.planning.decisions import Decisions
from nnactive_ext.planning.measure import Measured
from nnactive_ext.words import count, listed

_STORED_ORDER = ("SimpleITKIO", "NibabelIO")
"""Readers of nnU-Net that give an array in the order in which its file stores it."""
_COARSE = 1.5
"""An axis that is this many times as coarse as the others, though not thick, is worth a warning where it is another in other
images."""


def reading(spaces: Mapping[str, Space], decisions: Decisions) -> tuple[str, dict[str, Turn], dict[str, Space]]:
    """How the images of a roll-out are read.

    Args:
        spaces: of the images as stored, by case.
        decisions: what was decided is added.

    Returns:
        The name of nnU-Net's reader; the cases that it reads from turned copies, with their turns; and the spaces of the arrays
        that it gives.
    """
    axes = decide_axes(spaces)
    found = {case: axes.turns[case].turned_space(space) for case, space in spaces.items()}
    codes = ", ".join(sorted({orientation(space.direction) for space in spaces.values()}))
    if axes.way == UPRIGHT:
        decisions.add("orientation", "all to RAS, when read", f"stored as {codes} (nnU-Net's {REORIENTING})")
        _tell_interpolation(found, decisions)
    if axes.thick:
        _tell_thick(axes, found, decisions)
    if axes.way == TURNED:
        _tell_copies(axes.changed, len(spaces), decisions)
    return REORIENTING if axes.way == UPRIGHT else PLAIN, axes.changed if axes.way == TURNED else {}, found


def reading_labelled(
    measured: Mapping[str, Measured], reader: str, decisions: Decisions
) -> tuple[dict[str, Turn], dict[str, Measured]]:
    """How the images of a labelled dataset are read: as nnU-Net does, unless their slices lie along different array axes.

    Args:
        measured: all cases.
        reader: the name of the reader that nnU-Net has for the dataset.
        decisions: what was decided is added.

    Returns:
        The cases that are read from turned copies, with their turns; and the cases as they are measured then.
    """
    spaces = {case: found.space for case, found in measured.items() if found.space is not None}
    if len(spaces) < len(measured) or not spaces:
        return {}, dict(measured)
    axes = decide_axes(spaces, labelled=True)
    if axes.way == STORED:
        if len(codes := sorted({orientation(space.direction) for space in spaces.values()})) > 1:
            decisions.add("orientation", f"as stored ({', '.join(codes)})", "as nnU-Net reads this dataset")
        return {}, dict(measured)
    if reader not in _STORED_ORDER:
        what = f"as {reader} gives them, the slices lie along different axes, and nnU-Net will interpolate between them"
        decisions.warn("acquisition planes", f"{what}; without this reader, named in dataset.json, planning turns the images")
        return {}, dict(measured)
    _tell_thick(axes, {case: axes.turns[case].turned_space(space) for case, space in spaces.items()}, decisions)
    _tell_copies(axes.changed, len(spaces), decisions, "images and label maps")
    return axes.changed, {case: turned_measure(found, axes.turns[case]) for case, found in measured.items()}


def turned_measure(found: Measured, turn: Turn) -> Measured:
    """What a case measures along the axes of its turned array."""

    def along(values: Sequence[float]) -> tuple[float, float, float]:
        z, y, x = (values[axis] for axis in turn.axes)
        return z, y, x

    assert found.space is not None
    space = turn.turned_space(found.space)
    extents = {value: along(extent) for value, extent in found.extents.items()}
    return replace(found, shape=space.shape, spacing=along(found.spacing), extents=extents, space=space)


def _tell_thick(axes: Axes, found: Mapping[str, Space], decisions: Decisions) -> None:
    sliced = [found[case].spacing_zyx for case, axis in axes.thick.items() if axis is not None]
    places = sorted({"zyx"[int(np.argmax(spacing))] for spacing in sliced})
    mm, times = np.median([max(spacing) for spacing in sliced]), np.median([coarseness(spacing) for spacing in sliced])
    why = f"{mm:.3g} mm, {times:.2g} times as coarse as the others ({THICK:g} times or more are thick)"
    decisions.add("thick axis", f"{' or '.join(places)} in every array", why)
    without = [case for case, axis in axes.thick.items() if axis is None]
    if without:
        decisions.warn(f"{count(len(without), 'image')} without thick axis", f"turned as the others lie: {listed(without)}")


def _tell_copies(turned: Mapping[str, Turn], cases: int, decisions: Decisions, what: str = "images") -> None:
    why = f"{what}, with axes swapped or flipped so that slices are slices in all arrays; voxels are not resampled"
    decisions.add("turned copies", f"of {len(turned)} of {cases} cases", why)
    what = "nnUNetv2_predict does not turn images"
    decisions.warn("images to predict", f"{what}; turn them first (docs/rollout.md, Use the model)")


def _tell_interpolation(found: Mapping[str, Space], decisions: Decisions) -> None:
    """What nnU-Net's spacing, the median along each axis, makes of images whose coarse axes differ."""
    spacings = np.array([space.spacing_zyx for space in found.values()])
    places = {int(np.argmax(spacing)) for spacing in spacings if coarseness(spacing) > _COARSE}
    target, stored = np.median(spacings, axis=0), sum(float(np.prod(space.shape)) for space in found.values())
    planned = sum(float(np.prod(space.shape * np.array(space.spacing_zyx) / target)) for space in found.values())
    if len(places) > 1:
        mm = " x ".join(f"{value:.3g}" for value in target)
        why = f"nnU-Net plans {mm} mm, {planned / stored:.1f} times the voxels of the images"
        decisions.warn("coarse axes differ", f"{why}; across the slices of some, and within those of others, it interpolates")
