"""What terminals show of experiments: query methods, what was decided, and the learning curve so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from nnactive_ext.experiment.evaluating import common_inference, comparable, evaluated
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inference import NNUNET
from nnactive_ext.experiment.label_changes import LABELS
from nnactive_ext.experiment.result import CycleResult, StratumYield, read_results
from nnactive_ext.experiment.timing import STEPS, seconds_per_step
from nnactive_ext.members.cross_validation import EXPLAINED
from nnactive_ext.metrics.trajectory import aubc
from nnactive_ext.pages.terminal import listed_columns, paragraph, table
from nnactive_ext.planning.cycle_cost import Network, published, rows
from nnactive_ext.planning.decisions import shown
from nnactive_ext.planning.hours import Hours
from nnactive_ext.words import count

_CYCLES = 5
"""Cycles that a table of the terminal has columns for, the last ones."""


def yields_table(yields: Mapping[int, Mapping[str, StratumYield]], classes: Sequence[str] = ()) -> str:
    """What the patches of each stratum held: a row for each, of the last cycles a column. A stratum chosen for a class counts
    patches and voxels of that class, the others those of any class. Rows are in the order of the ``classes``, the rest last."""
    cycles = sorted(yields)[-_CYCLES:]
    strata = {name: one for cycle in reversed(cycles) for name, one in yields[cycle].items()}
    place = {name: number for number, name in enumerate(classes)}
    order = sorted(strata, key=lambda name: (not strata[name].chosen_for, place.get(strata[name].chosen_for, 0)))
    rows = [["chosen for", *(f"cycle {cycle}" for cycle in cycles), "voxels"]]
    for name in order:
        found = [yields[cycle].get(name) for cycle in cycles]
        cells = [f"{one.held} of {one.annotated}" if one and one.annotated else "-" for one in found]
        label = name if strata[name].chosen_for else f"{name or 'not recorded'} (any class)"
        rows.append([label, *cells, f"{sum(one.voxels for one in found if one):,}"])
    title = paragraph("Patches chosen for each class: how many of those annotated hold it, and its voxels in them")
    return f"{title}\n{table(rows, numbers=True)}"


def method_list(width: int | None = None) -> str:
    """All query methods, in lines of at most ``width`` columns (default: those of the terminal)."""
    from nnactive_ext.query_methods.listing import described

    rows = [(name, [text, *([f"[{source}]"] if source else [])]) for name, text, source in described()]
    return listed_columns(rows, width)


def plan_table(decisions: Sequence[Sequence[str]]) -> str:
    return table([("what", "decided", "why"), *shown(decisions)])


def cost_table(experiment: Experiment, hours: Hours) -> str:
    """What a cycle of a planned experiment takes, what would save how much, and what fewer epochs cost others in Dice."""
    plan = experiment.plan
    found = rows(plan, Network.of(experiment.preprocessed.plans, plan.configuration), hours)
    cheaper = [] if plan.preset else [table(published(), numbers=True)]
    return "\n\n".join([table([("estimate", "hours", "why"), *found]), *cheaper])


def cycle_table(experiment: Experiment) -> str:
    """The learning curve: one line per cycle evaluated so far; without a test set, what was annotated, and how members do
    on it where they were not trained on it."""
    read = read_results(experiment.results)
    results = comparable([read])[0]
    tested = bool(experiment.plan.test)
    scored = [result if tested else result.cross_validation for result in results]
    # Classes may have been changed on the way: the last ones first, and none is left out.
    told = [scores.dice_per_class for scores in reversed(scored) if scores]
    names = list(dict.fromkeys(name for dice in told for name in dice))
    classes = [name for name in names if any(dice.get(name) is not None for dice in told)] or names
    empty = [name for name in names if name not in classes]
    heading = ["cycle", "patches", "cases", "voxels", "foreground", *(["Dice" if tested else "CV Dice"] if classes else [])]
    rows = [[*heading, *classes]]
    for result, scores in zip(results, scored, strict=True):
        rows.append(
            [
                str(result.cycle),
                str(result.patches),
                str(result.annotated_cases),
                f"{result.annotated_voxels:,}",
                _percent(result.foreground_share),
                *([_percent(scores.mean_dice if scores else None)] if classes else []),
                *(_percent(scores.dice_per_class.get(name) if scores else None) for name in classes),
            ]
        )
    text = table(rows, numbers=True)
    for change in experiment.plan.changes:
        if change["what"] == LABELS:
            text += "\n" + paragraph(f"Classes changed after cycle {change['after_cycle']}: {'; '.join(change['operations'])}")
    if len({result.label_version for result in results}) > 1:
        text += "\nThe mean is over the classes of the cycle: it does not compare across a change of classes."
    if empty:
        text += f"\nWithout any Dice so far: {', '.join(empty)}"
    text += f"\n{how}" if (how := inference_words(read)) else ""
    if tested and any(result.classes_left_out for result in evaluated(results)):
        text += "\n-: a class that no test case contains or predicts"
    return text if tested or not classes else f"{text}\n{paragraph(EXPLAINED, indent='')}"


def inference_words(results: Sequence[CycleResult]) -> str:
    """With what the Dice of a curve were predicted, and what the last cycle has as nnU-Net predicts; empty where it is that."""
    found, _ = common_inference([results])
    if found == NNUNET or not evaluated(results):
        return ""
    last = results[-1].scored(NNUNET)
    beside = "" if last.mean_dice is None else f"; {_percent(last.mean_dice)} % in cycle {last.cycle} as nnU-Net predicts"
    return f"Dice {found}{beside}."


def final_report(experiment: Experiment) -> str:
    """The learning curve, its area, where the time went, and where the files are."""
    results = read_results(experiment.results)
    about = "Dice in % on the test set" if experiment.plan.test else "no test set; CV Dice in %"
    lines = [f"{experiment.name}: {experiment.plan.method}, {count(len(results), 'cycle')}; {about}", ""]
    lines.append(cycle_table(experiment))
    numbers = []
    curve = evaluated(comparable([results])[0])
    values = [result.mean_dice for result in curve if result.mean_dice is not None]
    final = results[-1].mean_dice if results else None
    if final is not None and len(values) == len(curve):
        area = aubc([result.patches for result in curve], values) if len(curve) >= min(2, len(results)) else None
        numbers.append(f"{f'AUBC {100 * area:.2f} %   ' if area is not None else ''}Final Dice {100 * final:.2f} %")
    numbers += _surfaces(results[-1]) if results else []
    lines += ["", *numbers] if numbers else []
    seconds = seconds_per_step(experiment)
    lines += ["", paragraph("Wall time in s: " + ", ".join(f"{step} {seconds[step]:.0f}" for step in STEPS))]
    lines += [
        "",
        f"Queries, partial labels, plan:  {experiment.raw}",
        f"Results per cycle:              {experiment.results}",
        f"Members of the last cycle:      {experiment.model_folder}",
        f"A page that shows all of it:    {experiment.commands.report}",
    ]
    return "\n".join(lines)


def _surfaces(result: CycleResult) -> list[str]:
    """One line on the surfaces of a cycle, as means over classes; none where they were not measured."""
    nsd, hd95 = ([v for v in values.values() if v is not None] for values in (result.nsd_per_class, result.hd95_per_class))
    if not nsd or result.tolerance is None:
        return []
    text = f"Last cycle: NSD at {result.tolerance} {100 * fmean(nsd):.1f} %"
    text += f"   HD95 {fmean(hd95):{'.2f' if fmean(hd95) >= 0.1 else '.3g'}} mm" if hd95 else "   no HD95"
    infinite = sum(cases.infinite for cases in result.surface_cases_per_class.values())
    if infinite:
        text += f" (without {infinite} that are infinite: a class missed, or made up)"
    return [text]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
