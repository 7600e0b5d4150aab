"""comparison.md: what it says, as plain values; its template says how."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from nnactive_ext.compare.economy_tables import economy_table
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.noise import noise_text
from nnactive_ext.compare.overall import Overall, Ranking
from nnactive_ext.compare.overall_tables import (
    averages_table,
    dropped_notes,
    kendall_table,
    nemenyi_table,
    ppm_table,
    tests_text,
)
from nnactive_ext.compare.setting_tables import classes_table, main_table, overview, queries_table
from nnactive_ext.compare.settings import Grouped, Setting
from nnactive_ext.compare.summary import SettingSummary
from nnactive_ext.compare.table import Table
from nnactive_ext.compare.yield_tables import yields_per_cycle, yields_table
from nnactive_ext.metrics.prices import Prices
from nnactive_ext.pages.templates import render
from nnactive_ext.words import folded


@dataclass(frozen=True)
class Comparison:
    """Everything there is to show. ``figures``: setting, or "" for all of them, -> names of figures."""

    grouped: Grouped
    summaries: Sequence[SettingSummary]
    overall: Overall
    names: Names
    warnings: Sequence[str]
    figures: Mapping[str, Sequence[str]]
    prices: Prices = field(default_factory=Prices)
    minutes: float | None = None
    """Per patch, as typed."""

    def economy(self, summary: SettingSummary) -> Table | None:
        return economy_table(summary, self.names, self.prices, self.minutes)


_EACH = (main_table, classes_table, queries_table, yields_table, yields_per_cycle)
"""Makers of the tables of each setting."""


def readable_tables(comparison: Comparison) -> list[Table]:
    """All tables of the page, in its order."""
    made: list[Table | None] = [overview(comparison.summaries)]
    for summary in comparison.summaries:
        made += [*(table(summary, comparison.names) for table in _EACH), comparison.economy(summary)]
    made += [averages_table(comparison.overall, comparison.names), ppm_table(comparison.overall, comparison.names)]
    for ranking in comparison.overall.rankings if comparison.overall.shared.repeated else ():
        made += [nemenyi_table(ranking, comparison.names), kendall_table(ranking)]
    return [table for table in made if table]


def page(comparison: Comparison) -> str:
    """The page in Markdown; figures and tables are linked relative to it."""
    c, settings = comparison, [summary.setting for summary in comparison.summaries]
    text = render(
        "compare",
        "comparison.md",
        experiments=sum(len(setting.trajectories) for setting in settings),
        methods=list(c.names.methods.values()),
        seeds=sorted({seed for setting in settings for seed in setting.seeds}),
        on_all_labels=len(c.grouped.full),
        starts=len(c.grouped.starts),
        one_seed=all(len(setting.seeds) == 1 for setting in settings),
        overview=overview(c.summaries),
        missing=_missing(c),
        warnings=folded(c.warnings),
        settings=[_setting(c, summary) for summary in c.summaries],
        averages=averages_table(c.overall, c.names),
        dropped=dropped_notes(c.overall, c.names),
        several_seeds=c.overall.several,
        shared_seeds=c.overall.shared.repeated,
        penalties=ppm_table(c.overall, c.names),
        rankings=[_ranking(c, ranking) for ranking in c.overall.rankings],
        figures_over_settings=c.figures.get("", ()),
        noise=[words for setting in settings if (words := noise_text(setting))],
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _setting(c: Comparison, summary: SettingSummary) -> dict[str, Any]:
    return {
        "name": summary.setting.name,
        "main": main_table(summary, c.names),
        "classes": classes_table(summary, c.names),
        "queries": queries_table(summary, c.names),
        "yields": yields_table(summary, c.names),
        "yields_per_cycle": yields_per_cycle(summary, c.names),
        "economy": c.economy(summary),
        "figures": c.figures.get(summary.setting.name, ()),
    }


def _ranking(c: Comparison, ranking: Ranking) -> dict[str, Any]:
    return {
        "metric": ranking.metric,
        "tests": tests_text(ranking),
        "nemenyi": nemenyi_table(ranking, c.names),
        "kendall": kendall_table(ranking),
    }


def _missing(c: Comparison) -> list[str]:
    missing = [
        f"{summary.setting.name}, {c.names.methods[method.method]}, seed {seed}: {why}"
        for summary in c.summaries
        for method in summary.methods
        for seed, why in method.missing.items()
    ]
    alike = min((_alike(summary.setting) for summary in c.summaries), default=0)
    if missing and alike > 1:
        missing.append(f"All that have begun have the same budgets in {alike} cycles: -cycles {alike} compares them that far.")
    return missing


def _alike(setting: Setting) -> int:
    """How many of the first cycles all trajectories that have begun have, with the same budgets."""
    cycles = zip(*([cycle.patches for cycle in t.cycles] for t in setting.trajectories if t.cycles), strict=False)
    return sum(1 for _ in takewhile(lambda budgets: len(set(budgets)) == 1, cycles))
