"""Section 2 of the report: how it got there, cycle by cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nnactive_ext.compare.economy_tables import HEADING
from nnactive_ext.experiment.label_changes import LABELS
from nnactive_ext.experiment.result import CrossValidation, CycleResult
from nnactive_ext.labelling.repeats import rater_lines
from nnactive_ext.metrics.trajectory import aubc
from nnactive_ext.pages.charts import SHAPES, Series, lines
from nnactive_ext.planning.cost import rows as cost_rows
from nnactive_ext.planning.decisions import WARNING
from nnactive_ext.report.facts import Facts


@dataclass(frozen=True)
class Row:
    """A cycle: its Dice (0 to 1) and the change since the cycle before, None where there is none."""

    result: CycleResult
    dice: float | None
    change: float | None
    per_class: Mapping[str, float | None]


@dataclass(frozen=True)
class Curve:
    """A learning curve: its normalised area (AUBC) and final Dice, 0 to 1, and the patches at both ends."""

    area: float
    final: float
    first: int
    last: int


def history(facts: Facts) -> dict[str, Any]:
    """What ``history.html`` says."""
    rows = _rows(facts)
    cycles = [cycle for cycle, steps in facts.seconds.items() if any(steps.values())]
    steps = [step for step in _STEPS if any(facts.seconds[cycle].get(step, 0) for cycle in cycles)]
    steps += sorted({step for cycle in cycles for step in facts.seconds[cycle]} - set(_STEPS))
    return {
        "rows": rows,
        "classes": {name: facts.colours.get(name) for name in _classes(rows)},
        "label_changes": [change for change in facts.plan.changes if change["what"] == LABELS],
        "charts": _charts(facts, rows) if rows else [],
        "curve": _curve(rows),
        "inference": facts.inference,
        "reread": [change for change in facts.plan.changes if change["what"] == "references"],
        "steps": {step: _STEPS.get(step, step) for step in steps},
        "seconds": {cycle: facts.seconds[cycle] for cycle in cycles},
        "minutes": facts.minutes,
        "raters": rater_lines(facts.raters),
        "colours": facts.colours,
        "economics": facts.economics,
        "economy_heading": HEADING,
        "remaining": [row for row in cost_rows(facts.remaining) if row[0] != WARNING] if facts.remaining else [],
    }


_STEPS = {
    "plan": "planning",
    "train": "training",
    "load": "loading",
    "predict": "predicting",
    "statistics": "statistics",
    "score": "scoring",
    "annotate": "annotating",
    "preprocess": "preprocessing",
    "evaluate": "evaluating",
}


def _rows(facts: Facts) -> list[Row]:
    rows: list[Row] = []
    for result in facts.results:
        # On the test set, else in cross-validation.
        source: CycleResult | CrossValidation | None = result if facts.tested else result.cross_validation
        value = source.mean_dice if source else None
        judged = _judged(rows)
        before = judged[-1].dice if judged and judged[-1].result.label_version == result.label_version else None
        change = value - before if value is not None and before is not None else None
        rows.append(Row(result, value, change, source.dice_per_class if source else {}))
    return rows


def _judged(rows: Sequence[Row]) -> list[Row]:
    """Those of cycles that were evaluated."""
    return [row for row in rows if row.result.inference or row.result.cross_validation]


def _classes(rows: Sequence[Row]) -> list[str]:
    """Of all cycles, those of the last one first: classes may have been changed on the way. Those without any Dice are left
    out."""
    names = dict.fromkeys(name for row in reversed(rows) for name in row.per_class)
    return [name for name in names if any(row.per_class.get(name) is not None for row in rows)]


def _means(rows: Sequence[Row], across: Sequence[float]) -> list[Series]:
    """One line for each set of classes that there was: means over different ones do not compare."""
    versions = sorted({row.result.label_version for row in rows})
    found = []
    for version in versions:
        chosen = [number for number, row in enumerate(rows) if row.result.label_version == version]
        shape = "circle" if version == 0 else SHAPES[version % len(SHAPES)]
        name = "mean" if len(versions) == 1 else f"mean of {', '.join(rows[chosen[0]].per_class)}"
        found.append(Series(name, [across[i] for i in chosen], [rows[i].dice for i in chosen], shape=shape))
    return found


def _charts(facts: Facts, rows: Sequence[Row]) -> list[Markup]:
    """Those that have something to show."""
    where = "test set" if facts.tested else "cross-validation"
    patches = [float(row.result.patches) for row in rows]
    voxels = [float(row.result.annotated_voxels) for row in rows]
    colours = facts.colours
    one_each = [
        Series(name, patches, [row.per_class.get(name) for row in rows], colours.get(name, (0, 0, 0)), SHAPES[i % len(SHAPES)])
        for i, name in enumerate(_classes(rows))
    ]
    charts = (
        lines(f"Mean Dice over patches ({where})", "annotated patches", "Dice, %", _means(rows, patches)),
        lines(f"Mean Dice over voxels ({where})", "annotated voxels", "Dice, %", _means(rows, voxels)),
        lines(f"Dice per class ({where})", "annotated patches", "Dice, %", one_each),
    )
    return [chart for chart in charts if chart]


def _curve(rows: Sequence[Row]) -> Curve | None:
    """None unless there are two cycles or more, and all have a Dice of the same classes."""
    rows = _judged(rows)
    known = [row.dice for row in rows if row.dice is not None]
    if len(known) < 2 or len(known) < len(rows) or len({row.result.label_version for row in rows}) > 1:
        return None
    patches = [row.result.patches for row in rows]
    try:
        area = aubc(patches, known)
    except ValueError:  # a cycle without new patches, or with fewer: answers may have been withdrawn
        return None
    return Curve(area, known[-1], patches[0], patches[-1])
