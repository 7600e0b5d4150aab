"""Whether another query seems worth it: advice from the results so far, with the numbers it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nnactive_ext.plan import Plan
from nnactive_ext.report.disagreement import Disagreement
from nnactive_ext.report.improvement import Change, Slope, added, change, slope

GO_ON, STOP, EARLY = "go on", "consider stopping", "too early to say"
NOTHING = "nothing to say without "
"""How the headline begins where there are no numbers; what is missing follows."""
NOISE = 0.02
"""Dice by which two trainings on the same labels may differ on small data (docs/hippocampus.md)."""
TEST, HELD_OUT = "test set", "cross-validation"
_FITTED = 4
"""Cycles that the slope is fitted to, at most: what the first queries brought says little about the next one."""


@dataclass(frozen=True)
class ClassChange:
    """A class: its Dice (0 to 1) after the last cycle, None where no case has it; what the last query changed (of one test
    case or none: None), with an interval widened for the number of classes; annotated voxels of it, if they are counted."""

    name: str
    dice: float | None
    change: Change | None
    voxels: int | None

    @property
    def rises(self) -> bool:
        return _rises(self.change)


@dataclass(frozen=True)
class Advice:
    """``headline``: :data:`GO_ON`, :data:`STOP`, :data:`EARLY` or :data:`NOTHING` with what is missing. ``points``: the
    reasons, a sentence or two each, plain text. ``basis``: what Dice was measured on, "" for nothing. ``steps``: the change
    by each query, in order; ``unit``: voxels that rates are told for."""

    headline: str
    points: tuple[str, ...]
    basis: str
    steps: tuple[Change, ...]
    slope: Slope | None
    classes: tuple[ClassChange, ...]
    unit: int


def advice(results: Sequence[Mapping[str, Any]], plan: Plan, disagreements: Sequence[Disagreement] | None) -> Advice:
    """From the contents of ``cycle_NNN.json`` in order, and what :func:`disagreement` found.

    Dice is that on the test set; without one, that of the cross-validation on annotated voxels, which has no interval.
    """
    from nnactive_ext.report.advice_words import words

    basis = TEST if plan.test else HELD_OUT
    known = [result for result in results if dice(result, basis) is not None]
    steps = tuple(_step(before, after, basis) for before, after in pairwise(known))
    classes = _classes(known, basis)
    fitted = known[-_FITTED:]
    line = slope([r["annotated_voxels"] for r in fitted], [dice(r, basis) or 0.0 for r in fitted])
    made = Advice(
        headline=_headline(results, steps, classes, disagreements, basis) if known else NOTHING + _missing(results, basis),
        points=(),
        basis=basis if known else "",
        steps=steps,
        slope=line,
        classes=classes,
        unit=_unit(steps),
    )
    return Advice(**{**vars(made), "points": words(made, known, results, plan, disagreements)})


def dice(result: Mapping[str, Any], basis: str) -> float | None:
    """The mean Dice of one result."""
    found = result if basis == TEST else result.get("cross_validation") or {}
    value: float | None = found.get("mean_dice")
    return value


def _step(before: Mapping[str, Any], after: Mapping[str, Any], basis: str) -> Change:
    found = change(before, after) if basis == TEST else None
    if found is not None:
        return found
    value = (dice(after, basis) or 0.0) - (dice(before, basis) or 0.0)
    return Change(before["cycle"], after["cycle"], value, None, None, 0, *added(before, after))


def _classes(known: Sequence[Mapping[str, Any]], basis: str) -> tuple[ClassChange, ...]:
    if not known:
        return ()
    last = known[-1] if basis == TEST else known[-1]["cross_validation"]
    voxels = known[-1].get("annotated_voxels_per_label", {})
    changes = {
        name: change(known[-2], known[-1], name) if basis == TEST and len(known) > 1 else None
        for name in last["dice_per_class"]
    }
    return tuple(ClassChange(name, value, changes[name], voxels.get(name)) for name, value in last["dice_per_class"].items())


def _headline(
    results: Sequence[Mapping[str, Any]],
    steps: Sequence[Change],
    classes: Sequence[ClassChange],
    disagreements: Sequence[Disagreement] | None,
    basis: str,
) -> str:
    if not steps:
        return EARLY
    if basis == HELD_OUT:
        # Its voxels are others in every cycle, and there is no interval: only what is large counts.
        if steps[-1].value >= 2 * NOISE:
            return GO_ON
        flat = len(steps) >= 2 and all(abs(step.value) < NOISE for step in steps[-2:])
        return STOP if flat and settled(disagreements) else EARLY
    if _rises(steps[-1]) or any(one.rises for one in classes):
        return GO_ON
    return STOP if len(steps) >= 2 and all(_flat(step) for step in steps[-2:]) else EARLY


def _rises(found: Change | None) -> bool:
    """Surely above nothing, and by more than two trainings differ."""
    return found is not None and found.low is not None and found.low > 0 and found.value >= NOISE


def _flat(step: Change) -> bool:
    """Surely less than two trainings differ by."""
    return step.high is not None and step.high < NOISE


def settled(disagreements: Sequence[Disagreement] | None) -> bool:
    """Whether the ensemble is less than half as unsure about the pool as it was at first."""
    if not disagreements or len({one.query for one in disagreements}) > 1 or len(disagreements) < 2:
        return False
    return disagreements[-1].median < disagreements[0].median / 2


def _missing(results: Sequence[Mapping[str, Any]], basis: str) -> str:
    if not results:
        return "a first training"
    return "a test case that has any class" if basis == TEST else "a test set or a cross-validation"


def _unit(steps: Sequence[Change]) -> int:
    """A power of ten of voxels, at most as many as the last query brought, so that rates are easy to read."""
    voxels = steps[-1].voxels if steps else 0
    return 10 ** max(0, len(str(voxels)) - 1) if voxels > 0 else 1
