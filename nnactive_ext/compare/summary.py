"""The numbers of each method in a setting, and how many seeds each rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from nnactive_ext.compare.completeness import shortcoming
from nnactive_ext.compare.doubts import surface_tolerance
from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.experiment.result import CycleResult
from nnactive_ext.metrics.averages import MeanAndSpread, mean_and_spread
from nnactive_ext.metrics.efficiency import Efficiency, foreground_efficiency
from nnactive_ext.metrics.surface import Tolerance
from nnactive_ext.metrics.trajectory import aubc, budget_to_target

TARGETS = (0.95, 0.99)
"""Shares of the Dice on all labels."""
NO_FULL = "no experiment on all labels (nnactive_plan --all_labels, or nnactive_bench)"


def is_curve(trajectory: Trajectory) -> bool:
    """Whether there is more than one cycle to compare, if there is more than one: an area of one point is no area."""
    return len(trajectory.scored) >= min(2, len(trajectory.cycles))


VALUES: dict[str, Callable[[Trajectory], float]] = {
    "final": lambda t: math.nan if (dice := t.final.mean_dice) is None else dice,
    "aubc": lambda t: aubc(t.budgets, t.dice) if is_curve(t) else math.nan,
}
"""What methods are ranked by, of a complete trajectory."""
_OTHER_CLASSES = "The mean Dice of its cycles, or that on all labels, leaves out a class that another one holds."
NOTHING = MeanAndSpread(math.nan, math.nan, 0)


@dataclass(frozen=True)
class MethodSummary:
    """Numbers of the complete trajectories of one method, over seeds; Dice 0..1, distances in mm.

    ``missing``: seed -> why its trajectory is not complete, or that others have it. ``curve``: per cycle the budget and the
    Dice over the seeds in ``seeds``. ``targets``: share of the Dice on all labels -> the budget that reaches it on the
    mean curve; None where it does not; empty without such a Dice.
    """

    method: str
    seeds: tuple[int, ...]
    missing: Mapping[int, str]
    curve: tuple[tuple[int, MeanAndSpread], ...]
    final: MeanAndSpread
    aubc: MeanAndSpread
    efficiency: Efficiency | None
    targets: Mapping[float, float | None]
    foreground_share: MeanAndSpread
    nsd: MeanAndSpread
    hd95: MeanAndSpread
    infinite: int
    """Cases and classes, over all seeds, that were missed altogether or made up: ``hd95`` leaves them out."""
    distances: int
    """Cases and classes, over all seeds, with these."""
    per_class: Mapping[str, MeanAndSpread]


@dataclass(frozen=True)
class Full:
    """The Dice on all labels, over seeds: ``mean_dice`` and ``per_class`` as those of curves (none where it was not evaluated
    as they were), ``final`` and ``final_per_class`` as those of the last cycle."""

    mean_dice: MeanAndSpread
    per_class: Mapping[str, MeanAndSpread]
    final: MeanAndSpread
    final_per_class: Mapping[str, MeanAndSpread]
    names: tuple[str, ...]
    classes: frozenset[frozenset[str]]
    """Those with a value, of each seed: its mean is over them."""


@dataclass(frozen=True, eq=False)
class SettingSummary:
    """``full`` is None without an experiment on all labels that has a result."""

    setting: Setting
    full: Full | None
    methods: tuple[MethodSummary, ...]
    tolerance: Tolerance | None

    def get(self, method: str) -> MethodSummary | None:
        return next((summary for summary in self.methods if summary.method == method), None)


def summarise(setting: Setting) -> SettingSummary:
    full = _full(setting)
    tolerance = surface_tolerance(setting)
    methods = tuple(_method(setting, method, full, tolerance is not None) for method in setting.methods)
    return SettingSummary(setting, full, methods, tolerance)


def complete(setting: Setting, method: str) -> list[Trajectory]:
    """The trajectories of a method that reach as far as the setting's, by seed."""
    return [trajectory for trajectory in setting.of(method) if not shortcoming(trajectory, setting)]


def _full(setting: Setting) -> Full | None:
    curves = [t.scored[-1] for t in setting.full if t.scored]
    lasts = [t.final for t in setting.full if (t.as_nnunet if setting.final_as_nnunet else t.scored)]
    dice, final = _mean_dice(curves), _mean_dice(lasts)
    if not (dice.n or final.n):
        return None
    names = tuple(t.name for t in setting.full if t.scored or t.as_nnunet)
    per_class = _per_class(curves, setting.classes), _per_class(lasts, setting.classes)
    return Full(dice, per_class[0], final, per_class[1], names, frozenset(map(_with_value, curves)))


def _mean_dice(results: Sequence[CycleResult]) -> MeanAndSpread:
    return mean_and_spread([dice for result in results if (dice := result.mean_dice) is not None])


def _method(setting: Setting, method: str, full: Full | None, surface: bool) -> MethodSummary:
    there = complete(setting, method)
    missing = {t.seed: why + _reached(t) for t in setting.of(method) if (why := shortcoming(t, setting))}
    missing |= {seed: "no experiment" for seed in setting.seeds if seed not in {t.seed for t in setting.of(method)}}
    curve = _curve(there)
    judged = full if full is not None and full.mean_dice.n else None
    comparable = judged is not None and judged.classes == {_with_value(cycle) for t in there for cycle in t.scored}
    surfaces = [cases for t in there for cases in t.final.surface_cases_per_class.values()]
    share = _over_seeds(there, lambda t: t.values(lambda cycle: cycle.foreground_share)[-1])
    return MethodSummary(
        method,
        tuple(t.seed for t in there),
        dict(sorted(missing.items())),
        curve,
        _over_seeds(there, VALUES["final"]),
        _over_seeds(there, VALUES["aubc"]),
        _efficiency(there, judged, comparable),
        _targets(curve if all(map(is_curve, there)) else (), judged if comparable else None),
        share,
        _over_seeds(there, lambda t: _over_classes(t.final.nsd_per_class)) if surface else NOTHING,
        _over_seeds(there, lambda t: _over_classes(t.final.hd95_per_class)) if surface else NOTHING,
        sum(cases.infinite for cases in surfaces) if surface else 0,
        sum(cases.nsd for cases in surfaces) if surface else 0,
        _per_class([t.final for t in there], setting.classes),
    )


def _curve(trajectories: Sequence[Trajectory]) -> tuple[tuple[int, MeanAndSpread], ...]:
    """Mean over seeds of the cycles; only where all seeds have the same budgets, as those of a simulation do."""
    if len({tuple(t.budgets) for t in trajectories}) != 1:
        return ()
    budgets = trajectories[0].budgets
    return tuple((b, mean_and_spread([t.dice[i] for t in trajectories])) for i, b in enumerate(budgets))


def _reached(trajectory: Trajectory) -> str:
    """How far an incomplete trajectory came, in words."""
    known = [(b, dice) for b, dice in zip(trajectory.budgets, trajectory.dice, strict=True) if not math.isnan(dice)]
    return f"; Dice {100 * known[-1][1]:.2f} % after {known[-1][0]} patches" if known else ""


def _with_value(cycle: CycleResult) -> frozenset[str]:
    return frozenset(name for name, dice in cycle.dice_per_class.items() if dice is not None)


def _efficiency(trajectories: Sequence[Trajectory], full: Full | None, comparable: bool) -> Efficiency | None:
    """None without a Dice on all labels or a trajectory; ``comparable``: whether all means are over the same classes."""
    if full is None or not trajectories:
        return None
    seeds = [list(zip(t.values(lambda cycle: cycle.share_of_all_foreground), t.dice, strict=True)) for t in trajectories]
    found = foreground_efficiency(seeds, full.mean_dice.mean if comparable else math.nan)
    return found if comparable else replace(found, refusal=_OTHER_CLASSES)


def _targets(curve: Sequence[tuple[int, MeanAndSpread]], full: Full | None) -> dict[float, float | None]:
    if full is None or not curve:
        return {}
    budgets, dice = [budget for budget, _ in curve], [value.mean for _, value in curve]
    return {target: budget_to_target(budgets, dice, target * full.mean_dice.mean) for target in TARGETS}


def _over_seeds(trajectories: Sequence[Trajectory], value: Callable[[Trajectory], float]) -> MeanAndSpread:
    return mean_and_spread([value(trajectory) for trajectory in trajectories])


def _over_classes(per_class: Mapping[str, float | None]) -> float:
    """Mean over classes with a value."""
    return mean_and_spread([value for value in per_class.values() if value is not None]).mean


def _per_class(results: Sequence[CycleResult], classes: Sequence[str]) -> dict[str, MeanAndSpread]:
    """The Dice over seeds."""
    known = [[value for result in results if (value := result.dice_per_class.get(name)) is not None] for name in classes]
    return {name: mean_and_spread(values) for name, values in zip(classes, known, strict=True)}
