"""Turns images so that they lie as those of a pool do: the same voxels at the same places, their axes in another order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnactive_ext.geometry.acquisition import has_thick_slices, thick_axis, turn_like
from nnactive_ext.geometry.axes import Turn, orientation
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.headers import REORIENTING
from nnactive_ext.words import listed


def turned_image(image: Any, turn: Turn) -> Any:
    """A SimpleITK image with its axes turned: the same voxels, of the same type, at the same places in the patient."""
    import SimpleITK as sitk

    return turn.turned_space(Space.of_image(image)).image(turn.turned(sitk.GetArrayViewFromImage(image)))


def added(
    spaces: Mapping[str, Space], pool: Mapping[str, Space], reader: str
) -> tuple[dict[str, Turn], dict[str, Space], tuple[str, ...]] | None:
    """How images that are added to a roll-out are read, so that they lie as those of its ``pool`` do.

    Args:
        spaces: of the new images as stored, by case.
        pool: of the arrays of the pool.
        reader: the name of nnU-Net's reader, which was decided when the roll-out was planned.

    Returns:
        The cases to be read from turned copies, with their turns; the spaces of the arrays; and warnings. None where the reader
        gives the new images another orientation than the pool, and no thick slices tell how to turn them.
    """
    if reader == REORIENTING:
        upright = {case: Turn.to_code(space).turned_space(space) for case, space in spaces.items()}
        return {}, upright, _other_planes(upright, pool)
    if has_thick_slices([space.spacing_zyx for space in pool.values()]):
        found = {case: turn_like(space, list(pool.values())) for case, space in spaces.items()}
        turns = {case: turn for case, (turn, _) in found.items() if turn.changes}
        new = [case for case, (_, near) in found.items() if not near]
        what = f"{listed(new)}: no image of the pool has a similar acquisition plane" if new else ""
        arrays = {case: turn.turned_space(spaces[case]) for case, (turn, _) in found.items()}
        return turns, arrays, (what,) if what else ()
    code = orientation(next(iter(pool.values())).direction)
    if any(orientation(space.direction) != code for space in spaces.values()):
        return None
    return {}, dict(spaces), ()


def _other_planes(spaces: Mapping[str, Space], pool: Mapping[str, Space]) -> tuple[str, ...]:
    if not has_thick_slices([space.spacing_zyx for space in pool.values()]):
        return ()
    known = {thick_axis(space.spacing_zyx) for space in pool.values()}
    others = [case for case, space in spaces.items() if thick_axis(space.spacing_zyx) not in {None, *known}]
    what = f"{listed(others)}: the slices lie along another axis than those of the pool, so nnU-Net interpolates between them"
    return (what,) if others else ()
