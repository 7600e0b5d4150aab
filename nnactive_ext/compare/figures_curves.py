"""Learning curves: mean Dice, and Dice per class, against the budget, with the spread over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from nnactive_ext.compare.completeness import shortcoming
from nnactive_ext.compare.looks import (
    FULL_COLOUR,
    draw_full,
    figure,
    leave_margins,
    legend_beside,
    legend_width,
    method_styles,
    titles,
)
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.summary import SettingSummary, complete
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.metrics.averages import mean_and_spread

Values = Callable[[Trajectory], list[float]]
_BUDGET = "annotated patches"
_MANY = 12
"""Classes from which on matplotlib would take minutes to find places for their plots."""


def learning_curves(summary: SettingSummary, names: Names, folder: Path) -> str | None:
    """One line per method; returns the figure's name, or None where there is no cycle to draw."""
    setting = summary.setting
    if not setting.budgets:
        return None
    name = f"curves_{names.slugs[setting.name]}"
    with figure(folder, name, 6.0 + _legend_width(summary, names), 4.8) as drawn:
        axes = drawn.add_subplot()
        _draw(axes, summary, names, lambda t: t.dice)
        if summary.full and summary.full.mean_dice.n:
            draw_full(axes, 100 * summary.full.mean_dice.mean)
        axes.set(xlabel=_BUDGET, ylabel="mean Dice on the test set (%)", title=setting.name)
        _mark_budgets(axes, setting.budgets)
        legend_beside(drawn, axes, _about(summary))
    return name


def class_curves(summary: SettingSummary, names: Names, folder: Path) -> str | None:
    """One small plot per class, all of one scale; None where there is no cycle, or only one class."""
    setting, classes = summary.setting, summary.setting.classes
    if not setting.budgets or len(classes) < 2:
        return None
    many = len(classes) > _MANY
    rows = math.ceil(len(classes) / (6 if many else 3))
    columns = math.ceil(len(classes) / rows)
    name = f"classes_{names.slugs[setting.name]}"
    beside = _legend_width(summary, names)
    width, height = 2.8 * columns + 0.4 + beside, 2.6 * rows + 0.6
    with figure(folder, name, width, height, None if many else "constrained") as drawn:
        grid = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in grid:
            axes.set_autoscale_on(False)  # once at the end will do; each time would ask all that share the scale
        for axes, label in zip(grid, classes, strict=False):
            _draw(axes, summary, names, lambda t, n=label: t.class_dice(n))  # type: ignore[misc]
            if summary.full and summary.full.per_class[label].n:
                draw_full(axes, 100 * summary.full.per_class[label].mean)
            if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):  # type: ignore[arg-type, call-overload]
                axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", color=FULL_COLOUR)
            axes.set_title(label)
            _mark_budgets(axes, setting.budgets)
        for axes in grid[len(classes) - columns : len(classes)]:
            axes.tick_params(labelbottom=True)
        for axes in grid[len(classes) :]:
            axes.set_axis_off()
        for axes in grid:
            axes.set_autoscale_on(True)
        grid[0].autoscale_view()
        titles(drawn, below=_BUDGET, left="Dice on the test set (%)", above=setting.name)
        legend_beside(drawn, grid[0], _about(summary))
        if many:
            leave_margins(drawn, left=0.95, right=beside, bottom=0.65, top=0.8)
    return name


def _about(summary: SettingSummary) -> str:
    several = any(len(method.seeds) > 1 for method in summary.methods)
    text = "mean, band ± 1 standard deviation" if several else "one seed, so no spread"
    partly = any(t.scored and shortcoming(t, summary.setting) for t in summary.setting.trajectories)
    return text + ("\ndotted: a seed that is not complete" if partly else "")


def _legend_width(summary: SettingSummary, names: Names) -> float:
    labels = [f"{names.methods[method]} (incomplete)" for method in summary.setting.methods]
    return legend_width([*labels, *_about(summary).splitlines()])


def _mark_budgets(axes: Axes, budgets: Sequence[int]) -> None:
    """Ticks where cycles are, while there are few."""
    if len(budgets) <= 8:
        axes.set_xticks(budgets)
    axes.margins(y=0.08)


def _draw(axes: Axes, summary: SettingSummary, names: Names, values: Values) -> None:
    """Mean and band of the complete seeds; the others thin and dotted, one by one."""
    setting = summary.setting
    for method, style in method_styles(names.methods).items():
        whole = complete(setting, method)
        same = len({tuple(t.budgets) for t in whole}) == 1
        if whole and same:
            _mean_and_band(axes, whole, values, style, names.methods[method])
        for trajectory in setting.of(method):
            if trajectory.scored and not (same and trajectory in whole):
                label = names.methods[method] + ("" if trajectory in whole else " (incomplete)")
                thin = {**style, "linestyle": ":", "linewidth": 1.2, "markersize": 4, "markerfacecolor": "white"}
                told = (whole and same) or label in axes.get_legend_handles_labels()[1]
                axes.plot(trajectory.budgets, 100 * np.array(values(trajectory)), label=None if told else label, **thin)


def _mean_and_band(axes: Axes, whole: Sequence[Trajectory], values: Values, style: dict[str, Any], name: str) -> None:
    budgets = whole[0].budgets
    found = [mean_and_spread(cycle) for cycle in zip(*(values(t) for t in whole), strict=True)]
    mean, std = 100 * np.array([f.mean for f in found]), 100 * np.array([f.std for f in found])
    label = f"{name} ({len(whole)} seeds)" if len(whole) > 1 else name
    axes.plot(budgets, mean, label=label, **style)
    if len(whole) > 1:
        # No Dice lies outside of 0 to 100 %, however far apart seeds are.
        band = np.clip((mean - std, mean + std), 0, 100)
        axes.fill_between(budgets, *band, color=style["color"], alpha=0.13, linewidth=0)
