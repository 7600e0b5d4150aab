"""Methods over all settings: averages, ranks and tests, of those that are complete in every setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nnactive_ext.compare.completeness import comparable_dice
from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.summary import SettingSummary
from nnactive_ext.metrics.averages import MeanAndSpread, average_over_settings
from nnactive_ext.metrics.pairwise import Penalties, pairwise_penalties
from nnactive_ext.metrics.ranking import Friedman, Kendall, Nemenyi, friedman, kendall, mean_ranks, nemenyi, ranks

METRICS = {"final": "Final Dice", "aubc": "AUBC"}
"""What methods are ranked by: the attribute of a summary, and its name."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """``ranks`` (settings, methods); ``averages``: mean and half the width of its 95 % interval, per method.

    ``taus``: Kendall's tau-b for each two settings, by index. Methods are in the order of their mean rank.
    """

    metric: str
    settings: tuple[str, ...]
    methods: tuple[str, ...]
    ranks: np.ndarray
    mean_ranks: np.ndarray
    averages: tuple[tuple[float, float], ...]
    friedman: Friedman
    nemenyi: Nemenyi
    taus: Mapping[tuple[int, int], Kendall]


@dataclass(frozen=True)
class Overall:
    """``several``: whether any method has two complete seeds; otherwise averages are shown, and no ranks or tests.

    ``unranked``: method -> the settings in which it is not complete, for which it has no rank anywhere.
    ``penalties`` is None, too, where no two methods have two seeds in common.
    """

    several: bool
    unranked: Mapping[str, tuple[str, ...]]
    rankings: tuple[Ranking, ...]
    penalties: Penalties | None


def overall(summaries: Sequence[SettingSummary]) -> Overall:
    """Rankings need two methods; without them there is none."""
    methods = sorted({summary.method for setting in summaries for summary in setting.methods})
    lacking = {method: tuple(s.setting.name for s in summaries if not _value(s, method, "final").n) for method in methods}
    ranked = [method for method in methods if not lacking[method]]
    rankings = tuple(_ranking(summaries, ranked, metric) for metric in METRICS) if len(ranked) > 1 else ()
    penalties = pairwise_penalties([_runs(summary.setting) for summary in summaries])
    unranked = {method: where for method, where in lacking.items() if where}
    several = any(len(summary.seeds) > 1 for setting in summaries for summary in setting.methods)
    return Overall(several, unranked, rankings, penalties if several and penalties.tests.any() else None)


def _ranking(summaries: Sequence[SettingSummary], methods: Sequence[str], metric: str) -> Ranking:
    table = np.array([[_value(setting, method, metric).mean for method in methods] for setting in summaries])
    order = np.argsort(mean_ranks(table), kind="stable")
    methods, table = [methods[i] for i in order], table[:, order]
    values = [[_value(setting, method, metric) for setting in summaries] for method in methods]
    averages = tuple(
        average_over_settings([v.mean for v in found], [v.std for v in found], [v.n for v in found]) for found in values
    )
    return Ranking(
        metric,
        tuple(setting.setting.name for setting in summaries),
        tuple(methods),
        ranks(table),
        mean_ranks(table),
        averages,
        friedman(table),
        nemenyi(table),
        {(a, b): kendall(table[a], table[b]) for a, b in combinations(range(len(table)), 2)},
    )


def _value(setting: SettingSummary, method: str, metric: str) -> MeanAndSpread:
    summary = setting.get(method)
    return getattr(summary, metric) if summary else MeanAndSpread(math.nan, math.nan, 0)


def _runs(setting: Setting) -> dict[str, dict[int, list[float]]]:
    return {method: {t.seed: comparable_dice(t, setting) for t in setting.of(method)} for method in setting.methods}
