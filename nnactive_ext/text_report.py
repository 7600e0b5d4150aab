"""Tables for people: what was decided, and the learning curve so far."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.evaluation import read_results
from nnactive_ext.experiment import Experiment
from nnactive_ext.metrics.trajectory import aubc
from nnactive_ext.timing import STEPS, seconds_per_step


def table(rows: Sequence[Sequence[str]], numbers: bool = False) -> str:
    """Rows in aligned columns, the first row being the heading; ``numbers``: right-aligned but for the first column."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if numbers and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def plan_table(decisions: Sequence[Sequence[str]]) -> str:
    return table([("what", "decided", "why"), *decisions])


def cycle_table(experiment: Experiment) -> str:
    """The learning curve: one line per cycle evaluated so far; without a test set, what was annotated."""
    results = read_results(experiment)
    tested = bool(experiment.plan.test)
    classes = list(results[-1]["dice_per_class"]) if tested else []
    heading = ["cycle", "patches", "cases", "voxels", "foreground", *(["Dice"] if tested else []), *classes]
    rows = [heading]
    for result in results:
        rows.append(
            [
                str(result["cycle"]),
                str(result["patches"]),
                str(result["annotated_cases"]),
                f"{result['annotated_voxels']:,}",
                _percent(result["foreground_share"]),
                *([_percent(result["mean_dice"])] if tested else []),
                *(_percent(result["dice_per_class"][name]) for name in classes),
            ]
        )
    text = table(rows, numbers=True)
    if tested and any(result["classes_left_out"] for result in results):
        text += "\n-: a class that no test case contains or predicts"
    return text


def final_report(experiment: Experiment) -> str:
    """The learning curve, its area, where the time went, and where the files are."""
    results = read_results(experiment)
    about = "Dice in % on the test set" if experiment.plan.test else "no test set, so how good it is is not known"
    lines = [f"{experiment.name}: {experiment.plan.method}, {len(results)} cycles; {about}", ""]
    lines.append(cycle_table(experiment))
    values = [result["mean_dice"] for result in results]
    if None not in values:
        area = aubc([result["patches"] for result in results], values)
        lines += ["", f"AUBC {100 * area:.2f}   Final Dice {100 * values[-1]:.2f}"]
    seconds = seconds_per_step(experiment)
    lines += ["", "Wall time in s: " + ", ".join(f"{step} {seconds[step]:.0f}" for step in STEPS)]
    lines += [
        "",
        f"Queries, partial labels, plan:  {experiment.raw}",
        f"Results per cycle:              {experiment.results}",
        f"Members of the last cycle:      {experiment.model_folder}",
    ]
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
