"""Tables for programs: one fact a row, numbers in full, empty where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nnactive_ext.compare.completeness import shortcoming
from nnactive_ext.compare.economy_tables import tidy_economies
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.overall import Overall
from nnactive_ext.compare.summary import TARGETS, MethodSummary, SettingSummary
from nnactive_ext.compare.table import Table
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.compare.yield_tables import tidy_yields
from nnactive_ext.experiment.result import CycleResult

_CYCLE: dict[str, Callable[[CycleResult], float | None]] = {
    "patches": lambda cycle: cycle.patches,
    "new_patches": lambda cycle: cycle.new_patches,
    "mean_dice": lambda cycle: cycle.mean_dice,
    "annotated_cases": lambda cycle: cycle.annotated_cases,
    "annotated_voxels": lambda cycle: cycle.annotated_voxels,
    "foreground_share": lambda cycle: cycle.foreground_share,
    "share_of_all_foreground": lambda cycle: cycle.share_of_all_foreground,
    "new_foreground_share": lambda cycle: cycle.new_foreground_share,
    "tolerance_mm": lambda cycle: cycle.tolerance_mm,
}
"""Columns of a cycle."""


def tidy_tables(summaries: Sequence[SettingSummary], overall: Overall, names: Names) -> list[Table]:
    return [
        _trajectories(summaries, names),
        _summary(summaries, names),
        _per_class(summaries, names),
        _queries(summaries, names),
        tidy_yields(_each(summaries, names)),
        tidy_economies(summaries, names),
        _ppm(overall, names),
        _averages(overall, names),
        *([_ranks(overall, names), _nemenyi(overall, names), _kendall(overall)] if overall.shared.repeated else []),
    ]


def _each(summaries: Sequence[SettingSummary], names: Names) -> Iterator[tuple[SettingSummary, Trajectory, list[Any]]]:
    """Every trajectory, with the cells that tell which it is."""
    for summary in summaries:
        for t in summary.setting.trajectories:
            yield summary, t, [summary.setting.name, names.methods[t.method], t.seed, t.name]


def _trajectories(summaries: Sequence[SettingSummary], names: Names) -> Table:
    """Every cycle that is there; a trajectory without one has a row that says so."""
    rows = []
    for summary, t, which in _each(summaries, names):
        incomplete = shortcoming(t, summary.setting)
        for cycle, result in enumerate(t.cycles):
            left_out = " ".join(result.classes_left_out)
            inference = str(result.inference) if result.inference else None
            rows.append([*which, cycle, *(number(result) for number in _CYCLE.values()), left_out, incomplete, inference])
        if not t.cycles:
            rows.append([*which, None, *[None] * len(_CYCLE), None, incomplete, None])
    heading = ["setting", "method", "seed", "experiment", "cycle", *_CYCLE, "classes_left_out", "incomplete", "inference"]
    return Table("trajectories", "", heading, rows)


_SPREADS = ("final", "aubc", "foreground_share", "nsd", "hd95")


def _summary(summaries: Sequence[SettingSummary], names: Names) -> Table:
    heading = ["setting", "method", "seeds_complete", "seeds_missing"]
    heading += [f"{name}_{part}" for name in _SPREADS for part in ("mean", "std", "n")]
    heading += ["hd95_infinite", "tolerance_mm", "full_dice", "full_n", "fg_eff", "fg_eff_standard_error", "fg_eff_points"]
    heading += ["fg_eff_refusal", *(f"budget_to_{100 * target:.0f}_percent" for target in TARGETS)]
    rows = [_summary_row(setting, method, names) for setting in summaries for method in setting.methods]
    return Table("summary", "", heading, rows)


def _summary_row(setting: SettingSummary, method: MethodSummary, names: Names) -> list[Any]:
    row: list[Any] = [setting.setting.name, names.methods[method.method], len(method.seeds), len(method.missing)]
    for name in _SPREADS:
        value = getattr(method, name)
        row += [_known(value.mean), _known(value.std), value.n]
    row += [method.infinite if method.nsd.n else None, setting.tolerance.mm if setting.tolerance else None]
    row += [_known(setting.full.mean_dice.mean), setting.full.mean_dice.n] if setting.full else [None, 0]
    fit = method.efficiency
    row += [_known(fit.gamma), _known(fit.standard_error), fit.points, fit.refusal] if fit else [None] * 4
    return row + [_target(method, target) for target in TARGETS]


def _target(method: MethodSummary, target: float) -> float | str | None:
    if target not in method.targets:
        return None
    reached = method.targets[target]
    return "not reached" if reached is None else reached


def _per_class(summaries: Sequence[SettingSummary], names: Names) -> Table:
    rows = []
    for summary, t, which in _each(summaries, names):
        for cycle, result in enumerate(t.cycles):
            for name in summary.setting.classes:
                dice = [result.dice_per_class.get(name), result.cases_per_class.get(name)]
                surface = result.surface_cases_per_class.get(name)
                distances = [result.nsd_per_class.get(name), result.hd95_per_class.get(name)]
                counts = [surface.nsd, surface.hd95, surface.infinite] if surface else [None] * 3
                rows.append([*which, cycle, result.patches, name, *dice, *distances, *counts])
    heading = ["setting", "method", "seed", "experiment", "cycle", "patches", "class", "dice", "cases", "nsd", "hd95_mm"]
    return Table("per_class", "", [*heading, "nsd_cases", "hd95_cases", "hd95_infinite"], rows)


def _queries(summaries: Sequence[SettingSummary], names: Names) -> Table:
    """``new_patches``: those that hold a voxel of the class; voxels: of the label, in this cycle's patches and so far. The
    foreground shares are of all labels together."""
    rows = []
    for summary, t, which in _each(summaries, names):
        for cycle, result in enumerate(t.cycles):
            patches, new, voxels = result.new_patches_per_class, result.new_voxels_per_label, result.annotated_voxels_per_label
            shares = [result.new_foreground_share, result.foreground_share]
            for name in dict.fromkeys([*voxels, *summary.setting.classes]):
                rows.append([*which, cycle, name, patches.get(name), new.get(name), voxels.get(name), *shares])
    heading = ["setting", "method", "seed", "experiment", "cycle", "label", "new_patches", "new_voxels", "voxels"]
    return Table("queries", "", [*heading, "new_foreground_share", "foreground_share"], rows)


def _ppm(overall: Overall, names: Names) -> Table:
    rows = []
    if overall.penalties:
        found = overall.penalties
        for i, row in enumerate(found.methods):
            for j, column in enumerate(found.methods):
                if i != j:
                    counts = [int(found.wins[i, j]), int(found.tests[i, j]), _known(float(found.share[i, j]))]
                    rows.append([names.methods[row], names.methods[column], *counts])
    return Table("ppm", "", ["method", "beats", "wins", "tests", "share"], rows)


def _ranks(overall: Overall, names: Names) -> Table:
    rows: list[list[Any]] = []
    for ranking in overall.rankings:
        for j, method in enumerate(ranking.methods):
            found = zip(ranking.settings, ranking.ranks[:, j], strict=True)
            for setting, rank in found:
                seeds = " ".join(map(str, overall.shared.seeds[setting]))
                rows.append([ranking.metric, names.methods[method], setting, float(rank), seeds])
            rows.append([ranking.metric, names.methods[method], "(mean)", float(ranking.mean_ranks[j]), None])
    return Table("ranks", "", ["metric", "method", "setting", "rank", "seeds"], rows)


def _averages(overall: Overall, names: Names) -> Table:
    rows = [
        [ranking.metric, names.methods[method], _known(mean), _known(half), len(ranking.settings)]
        for ranking in overall.rankings
        for method, (mean, half) in zip(ranking.methods, ranking.averages, strict=True)
    ]
    return Table("averages", "", ["metric", "method", "mean", "half_width", "settings"], rows)


def _nemenyi(overall: Overall, names: Names) -> Table:
    rows = []
    for ranking in overall.rankings:
        for i, row in enumerate(ranking.methods):
            for j, column in enumerate(ranking.methods[:i]):
                rows.append([ranking.metric, names.methods[column], names.methods[row], _known(float(ranking.nemenyi.p[j, i]))])
    return Table("nemenyi", "", ["metric", "first", "second", "p"], rows)


def _kendall(overall: Overall) -> Table:
    rows = [
        [ranking.metric, ranking.settings[a], ranking.settings[b], _known(found.tau), _known(found.p), found.n]
        for ranking in overall.rankings
        for (a, b), found in ranking.taus.items()
    ]
    return Table("kendall", "", ["metric", "first", "second", "tau_b", "p", "methods"], rows)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
