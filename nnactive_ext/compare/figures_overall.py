"""Figures over all settings: who beats whom, and mean ranks with their critical difference."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from nnactive_ext.compare.cells import p_value
from nnactive_ext.compare.looks import figure, method_styles
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.overall import METRICS, Overall, Ranking
from nnactive_ext.metrics.ranking import cliques

_WRAPPED = 28
"""Letters after which the name of a method goes on in the next line."""


def penalty_map(overall: Overall, names: Names, folder: Path) -> str | None:
    """Share of tests that the row's method won, in %; None where no test was possible."""
    found = overall.penalties
    if found is None:
        return None
    shown = [textwrap.fill(names.methods[method], _WRAPPED) for method in found.methods]
    size, longest = 0.65 * len(shown), 0.085 * _longest(shown)
    with figure(folder, "ppm", max(4.5, size + longest + 2.0), max(3.4, size + longest * 0.65 + 1.2)) as drawn:
        axes = drawn.add_subplot()
        share = 100 * found.share
        image = axes.imshow(np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=100)
        axes.set_facecolor("#dddddd")
        axes.grid(False)
        axes.set_xticks(np.arange(len(shown) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(shown) + 1) - 0.5, minor=True)
        axes.grid(True, which="minor", color="white", linewidth=1.5, alpha=1)
        axes.tick_params(which="minor", length=0)
        for (i, j), value in np.ndenumerate(share):
            if not math.isnan(value):
                colour = "white" if value > 55 else "black"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(shown)), shown, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(shown)), shown)
        axes.set(ylabel="this method ...", xlabel="... beats this one", title="Tests won by the row (%)")
        drawn.colorbar(image, ax=axes, shrink=0.8)
    return "ppm"


def rank_diagram(ranking: Ranking, names: Names, folder: Path) -> str | None:
    """Mean ranks, best at the top; a bar joins methods that Nemenyi's test does not tell apart. None without a test."""
    if ranking.nemenyi.refusal:
        return None
    count, difference = len(ranking.methods), ranking.nemenyi.critical_difference
    styles, name = method_styles(names.methods), f"ranks_{ranking.metric}"
    groups = cliques(ranking.mean_ranks, difference)
    shown = [textwrap.fill(names.methods[method], _WRAPPED) for method in ranking.methods]
    with figure(folder, name, 6.8 + 0.08 * _longest(shown), 0.4 * count + 2.1) as drawn:
        axes = drawn.add_subplot()
        for i, (method, rank) in enumerate(zip(ranking.methods, ranking.mean_ranks, strict=True)):
            axes.plot(rank, i, **{**styles[method], "linestyle": "none", "markersize": 8})
            axes.annotate(f"{rank:.2f}", (rank, i), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9)
        _bars(axes, ranking, groups)
        axes.plot([1, 1 + difference], [-1, -1], color="black", marker="|", markersize=9)
        axes.annotate(
            f"critical difference {difference:.2f}",
            (1 + difference, -1),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
        )
        axes.set_yticks(range(count), shown)
        right = max(count, 1 + difference) + 0.35 * len(groups) * count / 8
        about = "mean rank (1 is best)"
        about += "\nbars join methods that are not told apart (Nemenyi, 0.05)" if groups else ""
        axes.set(ylim=(count - 0.4, -1.7), xlim=(0.8, right + 0.6), xlabel=about)
        axes.set_xticks(range(1, count + 1))
        axes.grid(False, axis="y")
        p = p_value(ranking.friedman.p)
        test = f"Friedman p {p if p.startswith('<') else '= ' + p}, {ranking.friedman.settings} settings"
        axes.set_title(f"{METRICS[ranking.metric]}: {test}")
    return name


def _longest(shown: list[str]) -> int:
    """Letters in the longest line."""
    return max(len(line) for name in shown for line in name.splitlines())


def _bars(axes: Axes, ranking: Ranking, groups: list[tuple[int, ...]]) -> None:
    """Vertical bars to the right of all ranks, one per group of methods."""
    left = max(len(ranking.methods), 1 + ranking.nemenyi.critical_difference)
    step = 0.35 * len(ranking.methods) / 8
    for number, group in enumerate(groups):
        x = left + step * (number + 1)
        axes.plot([x, x], [min(group) - 0.25, max(group) + 0.25], color="black", linewidth=3.5, solid_capstyle="butt")
