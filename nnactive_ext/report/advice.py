"""Whether another query seems worth it: advice from the results so far, with the numbers it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from nnactive_ext.experiment.plan import ALL_LABELS, Plan
from nnactive_ext.experiment.result import CycleResult
from nnactive_ext.report.advice_words import words
from nnactive_ext.report.disagreement import Disagreement
from nnactive_ext.report.improvement import Change, added, change, slope
from nnactive_ext.report.verdict import EMPTY, HELD_OUT, LIMIT, NOTHING, TEST, USED_UP, Advice, ClassChange, dice, verdict

_FITTED = 4
"""Cycles that the slope is fitted to, at most: what the first queries brought says little about the next one."""


def advice(
    results: Sequence[CycleResult],
    plan: Plan,
    disagreements: Sequence[Disagreement] | None,
    missing: int = 0,
    unanswered: bool = False,
    nothing: str = "",
    missed: str = "",
) -> Advice:
    """From the results of the cycles in order, and what :func:`disagreement` found.

    ``missing``: patches that the last query could not find in the pool as it is now; ``unanswered``: whether its patches
    are still being annotated; ``nothing`` and ``missed``: that no class is predicted at all, and which classes the last
    query did not find (:mod:`nnactive_ext.loop.findings`), or empty. Dice is that on the test set; without one, that of
    the cross-validation on annotated voxels, which has no interval.
    """
    basis = TEST if plan.test else HELD_OUT
    known = [result for result in results if dice(result, basis) is not None]
    steps = tuple(_step(before, after, basis) for before, after in pairwise(known))
    classes = _classes(known, basis)
    fitted = known[-_FITTED:]
    line = slope([r.annotated_voxels for r in fitted], [dice(r, basis) or 0.0 for r in fitted])
    made = Advice(
        headline="",
        points=(),
        basis=basis if known else "",
        levels=tuple((result.cycle, dice(result, basis) or 0.0) for result in known),
        steps=steps,
        slope=line,
        classes=classes,
        unit=_unit(steps),
    )
    if not known and not nothing:
        headline = NOTHING + _lacking(results, basis)
    elif plan.purpose == ALL_LABELS:
        headline = LIMIT
    elif nothing:
        headline = EMPTY
    elif missing and not unanswered:
        headline = USED_UP
    else:
        headline = verdict(steps, classes, disagreements, basis)
    made = replace(made, headline=headline)
    said = words(made, known, results, plan, disagreements, missing, unanswered)
    return replace(made, points=(*filter(None, (nothing, missed)), *said))


def _step(before: CycleResult, after: CycleResult, basis: str) -> Change:
    found = change(before, after) if basis == TEST else None
    if found is not None:
        return found
    value = (dice(after, basis) or 0.0) - (dice(before, basis) or 0.0)
    return Change(before.cycle, after.cycle, value, None, None, 0, *added(before, after))


def _classes(known: Sequence[CycleResult], basis: str) -> tuple[ClassChange, ...]:
    last = (known[-1] if basis == TEST else known[-1].cross_validation) if known else None
    if last is None:
        return ()
    voxels = known[-1].annotated_voxels_per_label
    changes = {
        name: change(known[-2], known[-1], name) if basis == TEST and len(known) > 1 else None for name in last.dice_per_class
    }
    return tuple(ClassChange(name, value, changes[name], voxels.get(name)) for name, value in last.dice_per_class.items())


def _lacking(results: Sequence[CycleResult], basis: str) -> str:
    if not results:
        return "a first training"
    return "a test case that has any class" if basis == TEST else "a test set or a cross-validation"


def _unit(steps: Sequence[Change]) -> int:
    """A power of ten of voxels, at most as many as the last query brought, so that rates are easy to read."""
    voxels = steps[-1].voxels if steps else 0
    return 10 ** max(0, len(str(voxels)) - 1) if voxels > 0 else 1
