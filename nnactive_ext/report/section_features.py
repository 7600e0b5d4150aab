"""The part of section 3 on feature space: a figure of candidates, annotated and chosen patches, with its legends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnactive_ext.pages.charts import SHAPES, Dots, sign, square
from nnactive_ext.pages.colours import Colour
from nnactive_ext.report.facts import Facts
from nnactive_ext.report.feature_space import GIVEN, FeatureSpace, Point
from nnactive_ext.words import percent

_CANDIDATE: Colour = (170, 170, 170)
_PLAIN: Colour = (90, 90, 90)
_UNKNOWN = "not annotated"
_SIZES = 1.6, 3.4, 5.5
"""Of candidates, annotated and chosen patches."""


def features(facts: Facts) -> dict[str, Any] | None:
    """What ``queries_features.html`` says; None where no query has descriptors."""
    space = facts.feature_space
    if space is None:
        return None
    colours = {**facts.colours, _UNKNOWN: facts.colours["ignore"]}
    seen = {one.label or _UNKNOWN for one in (*space.annotated, *space.chosen)}
    shapes: dict[str, list[int | None]] = {}
    for cycle in sorted({one.cycle for one in space.annotated}, key=lambda cycle: (cycle is None, -(cycle or 0))):
        shapes.setdefault(_shape(cycle, space.cycle), []).append(cycle)
    drawn = len(space.candidates), len(space.annotated), len(space.chosen)
    return {
        "space": space,
        "figure": square(
            f"Query of cycle {space.cycle}",
            ("", ""),
            (f"up: component 2, {percent(space.shares[1])}", f"to the right: component 1, {percent(space.shares[0])}"),
            _groups(space, colours),
            side=380,
        ),
        "candidate": sign(_CANDIDATE),
        "classes": [(name, sign(colours[name])) for name in ("background", *facts.labels.classes, _UNKNOWN) if name in seen],
        "cycles": [(", ".join(map(_when, cycles)), sign(_PLAIN, shape)) for shape, cycles in shapes.items()],
        "chosen": sign(_PLAIN, _shape(space.cycle, space.cycle)),
        "thinned": drawn if drawn != space.found else None,
    }


def _groups(space: FeatureSpace, colours: dict[str, Colour]) -> list[Dots]:
    """Chosen patches lie on top."""
    place = _placed([*space.candidates, *space.annotated, *space.chosen])
    groups = [Dots("candidates", [place(p) for p in space.candidates], _CANDIDATE, "circle", _SIZES[0], _cases(space))]
    for what, points, size in (("annotated", space.annotated, _SIZES[1]), ("chosen", space.chosen, _SIZES[2])):
        for cycle, label in sorted({(one.cycle, one.label) for one in points}, key=str):
            here = [one for one in points if (one.cycle, one.label) == (cycle, label)]
            name = label or _UNKNOWN
            titles = [f"{one.case}, {what}{'' if cycle is None else f', {_when(cycle)}'}: {name}" for one in here]
            group = f"{what} patches, {_when(cycle)}, {name}"
            groups.append(Dots(group, [place(one) for one in here], colours[name], _shape(cycle, space.cycle), size, titles))
    return groups


def _cases(space: FeatureSpace) -> list[str]:
    return [f"{one.case}, candidate" for one in space.candidates]


def _placed(points: Sequence[Point]) -> Callable[[Point], tuple[float, float]]:
    """Into the unit square with the same scale along both components, so that distances compare."""
    xs, ys = [one.x for one in points], [one.y for one in points]
    extent = 1.06 * max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    middle = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return lambda one: (0.5 + (one.x - middle[0]) / extent, 0.5 - (one.y - middle[1]) / extent)


def _shape(cycle: int | None, last: int) -> str:
    """One of its own for each of the last cycles; earlier ones share the last, with those that are not known."""
    return SHAPES[-1 if cycle is None else min(last - cycle, len(SHAPES) - 1)]


def _when(cycle: int | None) -> str:
    if cycle is None:
        return "cycle not known"
    return "given with the images" if cycle == GIVEN else f"cycle {cycle}"
