"""Dice against the share of the pool's foreground that is annotated, with the fit whose rate is FG-Eff."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnactive_ext.compare.cells import efficiency
from nnactive_ext.compare.looks import draw_full, figure, legend_beside, legend_width, method_styles
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.summary import MethodSummary, SettingSummary, complete
from nnactive_ext.compare.trajectories import Trajectory


def foreground_curves(summary: SettingSummary, names: Names, folder: Path) -> str | None:
    """A point per seed and cycle, hollow where the fit does not use it; returns its name, or None where there is none."""
    setting, styles = summary.setting, method_styles(names.methods)
    points = {method.method: _points_of(summary, method) for method in summary.methods}
    if not any(len(found) for both in points.values() for found in both):
        return None
    name = f"foreground_{names.slugs[setting.name]}"
    width = legend_width(f"{names.methods[method.method]}: FG-Eff 12.3 ± 0.12" for method in summary.methods)
    with figure(folder, name, 6.0 + width, 4.8) as drawn:
        axes = drawn.add_subplot()
        for method in summary.methods:
            (found, others), style = points[method.method], styles[method.method]
            fit, label = method.efficiency, names.methods[method.method]
            fitted = fit is not None and not math.isnan(fit.gamma)
            if summary.full and summary.full.mean_dice.n:
                label += f": FG-Eff {efficiency(fit)}" if fitted else ": no fit"
            look = {**style, "linestyle": style["linestyle"] if fitted else "none"}
            axes.plot([], [], label=label, **look)
            axes.plot(*(100 * found).T, **{**style, "linestyle": "none"}, alpha=0.55)
            axes.plot(*(100 * others).T, **{**style, "linestyle": "none", "markerfacecolor": "none"}, alpha=0.55)
            if fit is not None and fitted:
                t = np.linspace(fit.t0, found[:, 0].max(), 200)
                axes.plot(100 * t, 100 * fit.at(t), **{**style, "marker": None})
        if summary.full and summary.full.mean_dice.n:
            draw_full(axes, 100 * summary.full.mean_dice.mean)
        axes.set(xlabel="annotated foreground, in % of all foreground of the pool", ylabel="mean Dice on the test set (%)")
        axes.set_title(setting.name)
        axes.margins(y=0.08)
        partly = any(len(others) for _, others in points.values())
        legend_beside(drawn, axes, "a point is a seed after a cycle" + "\nhollow: not complete, not in the fit" * partly)
    return name


def _points_of(summary: SettingSummary, method: MethodSummary) -> tuple[np.ndarray, np.ndarray]:
    """The points of complete seeds, which the fit sees, and those of the others."""
    whole = complete(summary.setting, method.method)
    return _points(whole), _points([t for t in summary.setting.of(method.method) if t not in whole])


def _points(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """(n, 2): share and Dice of all cycles that have both."""
    seeds = [zip(t.values(lambda cycle: cycle.share_of_all_foreground), t.dice, strict=True) for t in trajectories if t.scored]
    found = np.array([point for seed in seeds for point in seed], float).reshape(-1, 2)
    return found[np.isfinite(found).all(axis=1)]
