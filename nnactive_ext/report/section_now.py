"""Section 1 of the report: how good it is now, and what that rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnactive_ext.experiment.result import CycleResult
from nnactive_ext.report.facts import Facts
from nnactive_ext.words import natural

_STANDS_OUT = 0.1
"""Dice below the mean of the other classes from which a class is named as the weakest."""


@dataclass(frozen=True)
class Weakest:
    """A class whose ``dice`` lies far below the mean of the ``others``, all 0 to 1."""

    name: str
    dice: float
    others: float


@dataclass(frozen=True)
class ClassRow:
    """A class on the test set: Dice and NSD 0 to 1, HD95 in mm, None where no case has a value."""

    name: str
    dice: float | None
    cases: int
    voxels: int | None
    nsd: float | None
    hd95: float | None
    surface_cases: Any


def now(facts: Facts) -> dict[str, Any]:
    """What ``now.html`` and the top of the page say."""
    last = facts.last
    return {
        "last": last,
        "tests": len(facts.plan.test),
        "pool": len(facts.plan.pool),
        "planned": len(facts.loops[0].tasks) if facts.loops else 0,
        "nsd": _mean(last.nsd_per_class) if last else None,
        "before": _before(facts),
        "weakest": weakest(last) if last else None,
        "classes": _classes(facts, last) if last else [],
        "cases": _worst_first(last.dice_per_case) if last else [],
    }


def weakest(last: CycleResult) -> Weakest | None:
    """The class that an expert should look at first, if one is worse than the mean of the others by 10 points or more."""
    known = {name: value for name, value in last.dice_per_class.items() if value is not None}
    if len(known) < 2:
        return None
    name, value = min(known.items(), key=lambda item: item[1])
    others = _mean({key: other for key, other in known.items() if key != name}) or 0.0
    return Weakest(name, value, others) if others - value >= _STANDS_OUT else None


def _before(facts: Facts) -> CycleResult | None:
    """The result before the last, if both have a mean Dice of the same classes, with one inference."""
    known = [result for result in facts.results if result.inference or not facts.tested]
    if len(known) < 2:
        return None
    before, last = known[-2:]
    same = before.label_version == last.label_version and (facts.last is None or facts.last.inference == last.inference)
    return before if same and before.mean_dice is not None and last.mean_dice is not None else None


def _classes(facts: Facts, last: CycleResult) -> list[ClassRow]:
    return [
        ClassRow(
            name,
            value,
            last.cases_per_class.get(name, 0),
            _annotated(facts, last, name),
            last.nsd_per_class.get(name),
            last.hd95_per_class.get(name),
            last.surface_cases_per_class.get(name),
        )
        for name, value in last.dice_per_class.items()
    ]


def _annotated(facts: Facts, last: CycleResult, name: str) -> int | None:
    """Voxels annotated as a class; that of a region is the sum over its labels."""
    values = facts.labels.classes.get(name, ())
    labels = [label for label, value in facts.names.items() if value in values]
    return sum(last.annotated_voxels_per_label.get(label, 0) for label in labels) if labels else None


def _worst_first(per_case: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, Mapping[str, float | None]]]:
    """Cases without any class come last."""
    means = {case: _mean(scores) for case, scores in per_case.items()}
    return sorted(per_case.items(), key=lambda item: (means[item[0]] is None, means[item[0]] or 0.0, natural(item[0])))


def _mean(values: Mapping[str, float | None]) -> float | None:
    known = [value for value in values.values() if value is not None]
    return sum(known) / len(known) if known else None
