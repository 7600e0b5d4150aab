"""The tables of one setting for readers: methods side by side, classes, and what was queried."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnactive_ext.compare.cells import NONE, budget, efficiency, spread
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.summary import NO_FULL, TARGETS, SettingSummary, complete
from nnactive_ext.compare.table import Table
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.metrics.averages import MeanAndSpread, mean_and_spread


def main_table(summary: SettingSummary, names: Names) -> Table:
    """A row for each method; what is not complete has dashes, and a note that says why."""
    setting, several = summary.setting, len(summary.setting.seeds) > 1
    tolerance = f" at {summary.tolerance}" if summary.tolerance else ""
    heading = ["method", "seeds", "Final Dice (%)", "AUBC (%)", "FG-Eff"]
    heading += [f"patches to {100 * target:.0f} % of full" for target in TARGETS]
    heading += ["foreground share (%)", f"NSD (%){tolerance}", "HD95 (mm)"]
    rows = []
    for method in summary.methods:
        whole = str(len(method.seeds)) + (f" of {len(setting.seeds)}" if method.missing else "")
        lacking = NONE if method.final.n else "incomplete"
        dice = [spread(v, counted=several) if v.n else lacking for v in (method.final, method.aubc)]
        targets = [budget(method.targets[target]) if target in method.targets else NONE for target in TARGETS]
        more = [spread(value, counted=several) for value in (method.foreground_share, method.nsd)]
        distance = spread(method.hd95, 1, several) + ("*" if method.infinite else "")
        rows.append([names.methods[method.method], whole, *dice, efficiency(method.efficiency), *targets, *more, distance])
    about = "mean ± standard deviation (number of seeds)" if several else "one seed, so no spread"
    caption = f"{setting.name}: after {setting.budgets[-1] if setting.budgets else 0} patches; {about}."
    return Table(f"main_{names.slugs[setting.name]}", caption, heading, rows, _notes(summary, names))


def _notes(summary: SettingSummary, names: Names) -> list[str]:
    notes = []
    for method in summary.methods:
        name = names.methods[method.method]
        if method.missing:
            parts = "; ".join(f"seed {seed}: {why}" for seed, why in method.missing.items())
            rest = "is without these seeds" if method.seeds else "is not complete, so it has no number and no rank"
            notes.append(f"{name} {rest}: {parts}.")
        fit = method.efficiency
        if fit and fit.refusal:
            notes.append(f"FG-Eff of {name}: {fit.refusal}")
        if method.infinite:
            notes.append(
                f"* HD95 of {name} leaves out {method.infinite} of {method.distances} distances (class, test case, seed): "
                "there the class is missed altogether or made up."
            )
    if any(method.final.n and not method.aubc.n for method in summary.methods):
        notes.append(
            "AUBC is missing: the experiments were evaluated alike in one cycle only, and that is no curve. "
            "Plan them with equal -evaluate, -evaluate_mirroring and -evaluate_step."
        )
    if summary.full is None:
        names_of_full = ", ".join(t.name for t in summary.setting.full)
        why = f"{names_of_full}, on all labels, has no result yet" if names_of_full else NO_FULL
        notes.append(f"FG-Eff and the patches to a share of the full Dice are missing: {why}.")
    else:
        full, inference = summary.full, summary.setting.inference
        if full.final.n:
            notes.append(f"The full Dice, on all labels, is {spread(full.final)}: {', '.join(full.names)}.")
        if full.mean_dice.n and full.mean_dice != full.final:
            notes.append(
                f"Evaluated as the curves were ({inference}), it is {spread(full.mean_dice)}; FG-Eff and targets use that."
            )
        elif not full.mean_dice.n:
            how = f"{', '.join(full.names)}, on all labels, was not evaluated as the curves were ({inference})"
            notes.append(f"FG-Eff and the patches to a share of the full Dice are missing: {how}.")
        notes.append("FG-Eff ± standard error: compare it inside this setting only, beside the Dice and the foreground share.")
    return notes


def classes_table(summary: SettingSummary, names: Names) -> Table:
    """Final Dice, a row for each class."""
    rows, several = [], len(summary.setting.seeds) > 1
    for name in summary.setting.classes:
        full = [spread(summary.full.final_per_class[name])] if summary.full else []
        if not any(method.per_class[name].n for method in summary.methods) and full in ([], [NONE]):
            continue  # the notes name it
        rows.append([name, *(spread(method.per_class[name], counted=several) for method in summary.methods), *full])
    heading = ["class", *(names.methods[m.method] for m in summary.methods), *(["all labels"] if summary.full else [])]
    notes = [
        f"{name}: a dash where no test case has or predicts it; the mean Dice is then without it."
        for name in summary.setting.classes
        if any(method.seeds and math.isnan(method.per_class[name].mean) for method in summary.methods)
    ]
    slug = names.slugs[summary.setting.name]
    return Table(f"classes_{slug}", f"{summary.setting.name}: Final Dice (%) per class.", heading, rows, notes)


def queries_table(summary: SettingSummary, names: Names) -> Table:
    """Patches that hold each class and voxels of each label, in all of the complete trajectories' cycles; means over seeds."""
    setting = summary.setting
    found = {method.method: complete(setting, method.method) for method in summary.methods}
    labels = dict.fromkeys(label for ts in found.values() for t in ts for label in t.cycles[-1].annotated_voxels_per_label)
    rows = []
    for label in [*(label for label in labels if label not in setting.classes), *setting.classes]:
        cells = [_asked(found[method.method], label) for method in summary.methods]
        rows += [[label, *cells]] if any(cell != _UNKNOWN for cell in cells) else []
    several = len(setting.seeds) > 1
    rows.append(["foreground share (%)", *(spread(m.foreground_share, counted=several) for m in summary.methods)])
    caption = f"{setting.name}: patches with at least one voxel / voxels annotated in all, per class; means over seeds."
    heading = ["label", *(names.methods[method.method] for method in summary.methods)]
    return Table(f"queries_{names.slugs[setting.name]}", caption, heading, rows)


_UNKNOWN = f"{NONE} / {NONE}"


def _asked(trajectories: Sequence[Trajectory], label: str) -> str:
    patches = mean_and_spread([math.fsum(t.values(lambda cycle: cycle.new_patches_per_class.get(label))) for t in trajectories])
    voxels = mean_and_spread([t.values(lambda cycle: cycle.annotated_voxels_per_label.get(label))[-1] for t in trajectories])
    return f"{_count(patches, 1)} / {_count(voxels, 0)}"


def _count(value: MeanAndSpread, digits: int) -> str:
    return f"{value.mean:,.{digits}f}" if value.n else NONE


def overview(summaries: Sequence[SettingSummary]) -> Table:
    """What each setting is, and how much of it there is."""
    heading = ["setting", "dataset", "query patch z, y, x (mm)", "start", "query", "cycles", "pool", "test", "trainer", "folds"]
    heading += ["members"]
    rows = [_overview(summary.setting) for summary in summaries]
    return Table("settings", "The settings.", [*heading, "seeds", "experiments", "complete"], rows)


def _overview(setting: Setting) -> list[str]:
    first, key = setting.trajectories[0], setting.key
    whole = sum(len(complete(setting, method)) for method in setting.methods)
    sizes = " x ".join(f"{mm:.6g}" for mm in key.patch_size_mm)
    budgets = [str(key.starting_budget), str(key.query_size), str(len(setting.budgets))]
    cases = [str(len(first.plan["pool"])), str(len(first.plan["test"]))]
    members = [str(first.plan.get("trainer", NONE)), str(first.plan.get("folds", NONE)), key.members]
    counts = [" ".join(map(str, setting.seeds)), str(len(setting.trajectories)), str(whole)]
    return [setting.name, key.source, sizes, *budgets, *cases, *members, *counts]
