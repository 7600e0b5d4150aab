"""The figure of a validation of uncertainty: risk over coverage, the best line against Dice, cases out of distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from nnactive_ext.compare.looks import FULL_COLOUR, figure, legend_beside, legend_width, method_styles
from nnactive_ext.compare.validation import Validation, Worth, best

_NAME = "uncertainty"


def draw(validation: Validation, found: Sequence[Worth], folder: Path) -> str | None:
    """Of each score its best aggregation; None where no line has a number."""
    chosen = best(found)
    if chosen is None:
        return None
    plots, names = 3 if validation.ood else 2, [one.line.name for one in found]
    with figure(folder, _NAME, 4.4 * plots + legend_width(names), 4.2) as drawn:
        axes = drawn.subplots(1, plots, squeeze=False)[0]
        _coverage(axes[0], validation, found)
        _failures(axes[1], validation, chosen)
        if validation.ood:
            _strange(axes[2], validation, max(found, key=lambda one: (not math.isnan(one.auroc), one.auroc)))
        legend_beside(drawn, axes[0], "the best aggregation of each score")
    return _NAME


def _coverage(axes: Axes, validation: Validation, found: Sequence[Worth]) -> None:
    scores = dict.fromkeys(one.line.score for one in found)
    styles = method_styles({score: score for score in scores})
    n = len(validation.cases)
    coverage = 100 * np.arange(1, n + 1) / n
    for score in scores:
        one = best([worth for worth in found if worth.line.score == score])
        if one:
            risks = np.array(validation.risks)[np.argsort(validation.values(one.line), kind="stable")]
            style = {**styles[score], "markevery": max(1, n // 8)}
            axes.plot(coverage, 100 * np.cumsum(risks) / np.arange(1, n + 1), label=one.line.name, **style)
    perfect = np.cumsum(np.sort(validation.risks)) / np.arange(1, n + 1)
    axes.plot(coverage, 100 * perfect, color=FULL_COLOUR, linestyle=(0, (6, 3)), linewidth=1.2, label="perfect order")
    axes.axhline(100 * float(np.mean(validation.risks)), color=FULL_COLOUR, linestyle=":", linewidth=1.2, label="random order")
    axes.set(xlabel=f"coverage: {validation.unit} kept (%)", ylabel="mean risk of those kept, 100 - Dice (%)")
    axes.set_title("Which score puts failures aside?")


def _failures(axes: Axes, validation: Validation, chosen: Worth) -> None:
    axes.scatter(validation.values(chosen.line), [100 * (1 - risk) for risk in validation.risks], color="#0072B2", alpha=0.8)
    axes.set(xlabel=chosen.line.name, ylabel="Dice (%)", title=f"The best line: AURC {chosen.aurc:.3f}")


def _strange(axes: Axes, validation: Validation, chosen: Worth) -> None:
    """Two columns of points, spread sideways by a fixed pattern, so that equal values are seen."""
    for place, (cases, colour) in enumerate(((validation.cases, "#0072B2"), (validation.ood, "#D55E00"))):
        values = [case.values[chosen.line] for case in cases]
        sideways = [place + 0.24 * ((i * 0.618) % 1 - 0.5) for i in range(len(values))]
        axes.scatter(sideways, values, color=colour, alpha=0.8)
    axes.set_xticks([0, 1], [validation.unit, "out of distribution"])
    axes.set_xlim(-0.5, 1.5)
    title = "" if math.isnan(chosen.auroc) else f"The largest AUROC: {chosen.auroc:.2f}"
    axes.set(ylabel=chosen.line.name, title=title)
