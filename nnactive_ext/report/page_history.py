"""Section 2 of the report: how it got there, cycle by cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnactive_ext.metrics.trajectory import aubc
from nnactive_ext.pages.charts import SHAPES, Series, lines
from nnactive_ext.pages.parts import Html, element, joined, paragraph, section, table
from nnactive_ext.report.page_facts import Facts
from nnactive_ext.words import duration, percent, points


def history(facts: Facts) -> Html:
    return section("history", "2. How did it get there?", *_parts(facts))


def _parts(facts: Facts) -> list[Html]:
    if not facts.results:
        return [paragraph("No cycle has been evaluated yet."), _times(facts)]
    parts = [_charts(facts), _summary(facts), _cycles(facts)]
    if not any(_dice(facts, result) is not None for result in facts.results):
        parts.insert(0, paragraph("There is no learning curve: no test set, and no cross-validation in these files."))
    return [part for part in [*parts, _times(facts)] if part]


def _dice(facts: Facts, result: Mapping[str, Any]) -> float | None:
    """On the test set, else in cross-validation."""
    source = result if facts.tested else result.get("cross_validation") or {}
    found: float | None = source.get("mean_dice")
    return found


def _per_class(facts: Facts, result: Mapping[str, Any]) -> Mapping[str, float | None]:
    source = result if facts.tested else result.get("cross_validation") or {}
    return source.get("dice_per_class") or {}


def _charts(facts: Facts) -> Html:
    results = facts.results
    where = "test set" if facts.tested else "cross-validation"
    values = [_dice(facts, result) for result in results]
    patches = [float(result["patches"]) for result in results]
    voxels = [float(result["annotated_voxels"]) for result in results]
    classes = list(_per_class(facts, results[-1]))
    colours = facts.colours
    one_each = [
        Series(name, patches, [_per_class(facts, r).get(name) for r in results], colours.get(name, (0, 0, 0)), SHAPES[i % 4])
        for i, name in enumerate(classes)
    ]
    charts = [
        lines(f"Mean Dice over boxes ({where})", "annotated boxes", "Dice, %", [Series("mean", patches, values)]),
        lines(f"Mean Dice over voxels ({where})", "annotated voxels", "Dice, %", [Series("mean", voxels, values)]),
        lines(f"Dice per class ({where})", "annotated boxes", "Dice, %", one_each),
    ]
    return element("div", joined(charts), class_="charts") if any(charts) else Html("")


def _summary(facts: Facts) -> Html:
    values = [_dice(facts, result) for result in facts.results]
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return Html("")
    patches = [result["patches"] for result in facts.results]
    try:
        area = aubc(patches, known)
    except ValueError:  # a cycle without new boxes, or with fewer: answers may have been withdrawn
        return Html("")
    return paragraph(
        f"AUBC {percent(area)}: the area under the curve over boxes, so the mean Dice on the way from {patches[0]} to "
        f"{patches[-1]} boxes. Final Dice {percent(known[-1])}. One seed: nothing can be said about chance; compare several "
        "with nnactive_compare."
        if facts.tested
        else f"The area under the curve is {percent(area)}, on annotated voxels, which are other ones in each cycle."
    )


def _cycles(facts: Facts) -> Html:
    classes = list(_per_class(facts, facts.results[-1]))
    dice = "Dice" if facts.tested else "Dice, cross-validation"
    heading = ["Cycle", "boxes", "cases", "voxels", "foreground", dice, "change", *classes]
    rows: list[list[str]] = []
    before: float | None = None
    for result in facts.results:
        value = _dice(facts, result)
        change = value - before if value is not None and before is not None else None
        per_class = _per_class(facts, result)
        rows.append(
            [
                str(result["cycle"]),
                f"{result['patches']:,}",
                str(result["annotated_cases"]),
                f"{result['annotated_voxels']:,}",
                percent(result["foreground_share"]),
                percent(value),
                points(change),
                *(percent(per_class.get(name)) for name in classes),
            ]
        )
        before = value
    words = "Boxes, cases and voxels annotated up to each cycle; foreground is the share of these voxels that are any structure"
    return table(heading, rows, words)


_STEPS = {
    "train": "training",
    "load": "loading",
    "predict": "predicting",
    "statistics": "statistics",
    "score": "scoring",
    "annotate": "annotating",
    "preprocess": "preprocessing",
    "evaluate": "evaluating",
}


def _times(facts: Facts) -> Html:
    """Seconds per step and cycle; steps that took no time anywhere are left out."""
    cycles = [cycle for cycle, steps in facts.seconds.items() if any(steps.values())]
    if not cycles:
        return Html("")
    steps = [step for step in _STEPS if any(facts.seconds[cycle].get(step, 0) for cycle in cycles)]
    steps += sorted({step for cycle in cycles for step in facts.seconds[cycle]} - set(_STEPS))
    rows = []
    for cycle in cycles:
        spent = facts.seconds[cycle]
        total = sum(spent.values())
        rows.append([str(cycle), *(duration(spent.get(step, 0), tenths=True) for step in steps), duration(total, tenths=True)])
    heading: Sequence[str] = ["Cycle", *(_STEPS.get(step, step) for step in steps), "in all"]
    words = "Time the machine spent on each step; where people annotate, their time is not in it"
    return table(heading, rows, words)
