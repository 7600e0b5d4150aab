"""Section 3 of the report: what was asked for and why, in numbers, and where in the body it lies."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.tallies import in_order
from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.experiment.result import CycleResult, StratumYield
from nnactive_ext.labelling.tasks import MARKED
from nnactive_ext.pages.charts import SHAPES, Dots, sign, square
from nnactive_ext.pages.colours import Colour
from nnactive_ext.report.facts import Facts
from nnactive_ext.report.places import BINS, Places
from nnactive_ext.report.section_features import features


@dataclass(frozen=True)
class Row:
    """A class, label or reason with its colour (None: it has none) and one value of each cycle."""

    name: str
    colour: Colour | None
    values: Sequence[Any]


def queries(facts: Facts) -> dict[str, Any]:
    """What ``queries.html`` says."""
    plan, results = facts.plan, {result.cycle: result for result in facts.results}
    voxels = {cycle: new_voxels(results, cycle) for cycle in results}
    return {
        "asked": bool(facts.loops),
        "all_labels": plan.purpose == ALL_LABELS,
        "plan": plan,
        "method": method_in_words(plan.method, plan.method_options),
        "others": sorted({str(loop.content.get("method", "")) for loop in facts.loops[1:]} - {plan.method, ""}),
        "overlaps": [(one, _new_foreground(results, one.cycle)) for one in facts.overlaps],
        "open_cycle": facts.open_cycle,
        "cycles": range(len(facts.loops)),
        "strata": _strata(facts),
        "evaluated": bool(results),
        "measured": [cycle for cycle, result in results.items() if result.new_patches_per_class],
        "balance": _balance(facts, results),
        "counted": [cycle for cycle, counts in voxels.items() if sum(counts.values())],
        "voxels": _voxels(facts, voxels),
        "body": _body(facts.places) if facts.places and facts.places.patches else None,
        "features": features(facts),
        "precision": facts.precision,
        "strangers": facts.strangers,
        "gone": facts.plan.called_irrelevant,
    }


def method_in_words(name: str, options: Mapping[str, str]) -> str:
    """What a method says of itself, and its source; empty for one that cannot be found any more."""
    from nnactive_ext.query_methods import methods
    from nnactive_ext.query_methods.words import words

    try:
        found = methods.get_confirmed(name, **options)
    except NnActiveError:
        return ""
    cite = getattr(found, "cite", "")
    return f"{words(found)}{f' ({cite})' if cite else ''}"


def _new_foreground(results: Mapping[int, CycleResult], cycle: int) -> float | None:
    if cycle not in results:
        return None
    if (share := results[cycle].new_foreground_share) is not None:
        return share
    voxels = new_voxels(results, cycle)
    total = sum(voxels.values())
    return 1 - voxels.get("background", 0) / total if total else None


def new_voxels(results: Mapping[int, CycleResult], cycle: int) -> dict[str, int]:
    """Label -> voxels in the new patches of a cycle; in older files, what was annotated since the cycle before.

    Empty where that is not known.
    """
    if cycle not in results:
        return {}
    if results[cycle].new_voxels_per_label:
        return dict(results[cycle].new_voxels_per_label)
    so_far = results[cycle].annotated_voxels_per_label
    if cycle == 0:
        return dict(so_far)
    before = results[cycle - 1].annotated_voxels_per_label if cycle - 1 in results else {}
    found = {name: n - before.get(name, 0) for name, n in so_far.items()}
    return found if before and min(found.values(), default=0) >= 0 else {}


def _strata(facts: Facts) -> list[Row]:
    """How many patches of each cycle were chosen for which reason, those that are no class first; with what they held
    (:class:`StratumYield`), None where none of them is annotated or that is not known."""
    counts = [Counter(task.stratum or "not recorded" for task in loop.tasks) for loop in facts.loops]
    names = in_order({name for one in counts for name in one}, {**facts.names, **facts.labels.classes})
    colours = facts.colours
    held = [facts.yields.get(cycle, {}) for cycle in range(len(facts.loops))]

    def found(name: str, cycle: int) -> StratumYield | None:
        one = held[cycle].get("" if name == "not recorded" else name)
        return one if one and one.annotated else None

    return [
        Row(name, colours.get(name.removeprefix(MARKED)), [(one[name], found(name, cycle)) for cycle, one in enumerate(counts)])
        for name in names
    ]


def _balance(facts: Facts, results: Mapping[int, CycleResult]) -> list[Row]:
    """(patches that hold a class as annotated, new patches) of each cycle that counted them; None for a class that was not
    there then."""
    measured = [result for result in results.values() if result.new_patches_per_class]
    colours = facts.colours
    names = dict.fromkeys([*facts.labels.classes, *(name for one in measured for name in one.new_patches_per_class)])
    return [
        Row(name, colours.get(name, (0, 0, 0)), [(one.new_patches_per_class.get(name), one.new_patches) for one in measured])
        for name in names
    ]


def _voxels(facts: Facts, voxels: Mapping[int, Mapping[str, int]]) -> list[Row]:
    """The share of each label among the new voxels of each cycle, 0 to 1; None for one that was not there then."""
    found = [counts for counts in voxels.values() if sum(counts.values())]
    colours = {name: colour for name, colour in facts.colours.items() if name != "background"}
    names = dict.fromkeys(name for one in reversed(found) for name in one)
    shares = [{name: n / sum(one.values()) for name, n in one.items()} for one in found]
    return [Row(name, colours.get(name), [one.get(name) for one in shares]) for name in names]


_VIEWS = (
    ("From the front", "right_left", "head_foot"),
    ("From the left", "front_back", "head_foot"),
    ("From below", "right_left", "front_back"),
)
_ENDS = {"right_left": ("R", "L"), "front_back": ("A", "P"), "head_foot": ("H", "F")}
_NEWEST: Colour = (213, 94, 0)
_OLD: tuple[Colour, Colour] = ((150, 165, 185), (20, 60, 120))
"""Of the first and the last but one cycle; those between are between."""


def _body(places: Places) -> dict[str, Any]:
    """Where in the body the queried patches lie: three views of points, and their histograms."""
    cycles = sorted({place.cycle for place in places.patches})
    looks = {cycle: (_colour(i, len(cycles)), SHAPES[i % len(SHAPES)]) for i, cycle in enumerate(cycles)}
    return {
        "unknown": places.unknown,
        "signs": {cycle: sign(*looks[cycle]) for cycle in cycles},
        "views": [_view(places, looks, *view) for view in _VIEWS],
        "ends": _ENDS,
        "histograms": places.histograms,
        "parts": [f"{100 * (number + 1) // BINS} %" for number in range(BINS)],
    }


def _view(places: Places, looks: Mapping[int, tuple[Colour, str]], title: str, across: str, down: str) -> Markup:
    groups, size = [], min(4.0, max(1.5, 60 / math.sqrt(max(1, len(places.patches)))))  # many cover each other
    for cycle, look in looks.items():
        patches = [place for place in places.patches if place.cycle == cycle]
        points = [(getattr(place, across), getattr(place, down)) for place in patches]
        groups.append(Dots(f"cycle {cycle}", points, *look, size, [f"{one.case}, cycle {cycle}" for one in patches]))
    return square(title, _ENDS[across], _ENDS[down], groups)


def _colour(number: int, cycles: int) -> Colour:
    """The newest cycle stands out; the others are darker the newer they are."""
    if number == cycles - 1:
        return _NEWEST
    share = number / max(1, cycles - 2)
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(*_OLD, strict=True))
    return red, green, blue
