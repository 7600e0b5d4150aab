"""Methods over all settings: averages, ranks and tests, of those that share complete seeds in every setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nnactive_ext.compare.completeness import comparable_dice
from nnactive_ext.compare.settings import Setting
from nnactive_ext.compare.shared import Shared, shared_seeds
from nnactive_ext.compare.summary import VALUES, SettingSummary, complete
from nnactive_ext.metrics.averages import MeanAndSpread, average_over_settings, mean_and_spread
from nnactive_ext.metrics.pairwise import FEWEST, Penalties, pairwise_penalties
from nnactive_ext.metrics.ranking import Friedman, Kendall, Nemenyi, friedman, kendall, mean_ranks, nemenyi, ranks

METRICS = {"final": "Final Dice", "aubc": "AUBC"}
"""What methods are ranked by: the key of :data:`nnactive_ext.compare.summary.VALUES`, and its name."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """``ranks`` (settings, methods); ``averages``: mean and 1.96 of its standard errors over seeds, per method; NaN instead of
    the errors where a setting rests on fewer than three seeds.

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
    """``several``: whether any method has two complete seeds; otherwise there are no penalties.

    ``shared``: the methods and seeds that ``rankings`` rest on; without two seeds in any setting averages are shown, and no
    ranks or tests of them. ``penalties`` is None, too, where no two methods have three seeds in common.
    """

    several: bool
    shared: Shared
    rankings: tuple[Ranking, ...]
    penalties: Penalties | None


def overall(summaries: Sequence[SettingSummary]) -> Overall:
    """Rankings need two methods; without them there is none."""
    shared = shared_seeds(summaries)
    settings = [summary.setting for summary in summaries]
    metrics = [metric for metric in METRICS if len(shared.methods) > 1 and _is_known(settings, shared, metric)]
    rankings = tuple(_ranking(settings, shared, metric) for metric in metrics)
    penalties = pairwise_penalties([_runs(setting) for setting in settings])
    several = any(len(summary.seeds) > 1 for setting in summaries for summary in setting.methods)
    return Overall(several, shared, rankings, penalties if several and penalties.tests.any() else None)


def _ranking(settings: Sequence[Setting], shared: Shared, metric: str) -> Ranking:
    found = [[_value(setting, method, metric, shared.seeds[setting.name]) for setting in settings] for method in shared.methods]
    table = np.array([[value.mean for value in of_method] for of_method in found]).T
    order = np.argsort(mean_ranks(table), kind="stable")
    methods, values, table = [shared.methods[i] for i in order], [found[i] for i in order], table[:, order]
    averages = tuple(
        average_over_settings([v.mean for v in each], [v.std if v.n >= FEWEST else math.nan for v in each], [v.n for v in each])
        for each in values
    )
    return Ranking(
        metric,
        tuple(setting.name for setting in settings),
        tuple(methods),
        ranks(table),
        mean_ranks(table),
        averages,
        friedman(table),
        nemenyi(table),
        {(a, b): kendall(table[a], table[b]) for a, b in combinations(range(len(table)), 2)},
    )


def _value(setting: Setting, method: str, metric: str, seeds: Sequence[int]) -> MeanAndSpread:
    """Over these seeds alone, whatever others the method has."""
    return mean_and_spread([VALUES[metric](t) for t in complete(setting, method) if t.seed in seeds])


def _is_known(settings: Sequence[Setting], shared: Shared, metric: str) -> bool:
    """Whether each method has a value in each setting; one cycle has no AUBC."""
    return all(_value(s, method, metric, shared.seeds[s.name]).n for s in settings for method in shared.methods)


def _runs(setting: Setting) -> dict[str, dict[int, list[float]]]:
    return {method: {t.seed: comparable_dice(t, setting) for t in setting.of(method)} for method in setting.methods}
