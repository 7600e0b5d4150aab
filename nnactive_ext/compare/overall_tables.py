"""The tables over all settings for readers: averages and ranks, penalties, tests, and how alike settings are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from nnactive_ext.compare.cells import NONE, average, p_value
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.overall import METRICS, Overall, Ranking
from nnactive_ext.compare.table import Table
from nnactive_ext.words import enumerated, plural

_MOST_PAIRS = 10
"""Pairs of settings that are listed; more are told by their range, and are all in kendall.csv."""


def averages_table(overall: Overall, names: Names) -> Table | None:
    """A row for each method that shares complete seeds with the others everywhere, best mean rank first; by name, and without
    ranks, where there is one seed. None where fewer than two methods share seeds."""
    if not overall.rankings:
        return None
    heading, repeated = ["method"], overall.shared.repeated
    for ranking in overall.rankings:
        heading += [f"{METRICS[ranking.metric]} (%)", f"mean rank by {METRICS[ranking.metric]}"][: 1 + repeated]
    methods = overall.rankings[0].methods
    rows = []
    for method in methods if repeated else sorted(methods):
        row = [names.methods[method]]
        for ranking in overall.rankings:
            i = ranking.methods.index(method)
            row += [average(ranking.averages[i]), f"{ranking.mean_ranks[i]:.2f}"][: 1 + repeated]
        rows.append(row)
    number = len(overall.rankings[0].settings)
    about = (
        "± 1.96 standard errors over seeds, as published; with few seeds well below 95 %"
        if repeated
        else "no two complete seeds in common, so neither ± nor ranks"
    )
    caption = f"Averages over {number} {plural(number, 'setting')}, over the seeds that all methods have; {about}."
    notes = [*seeds_notes(overall, names), *dropped_notes(overall, names)]
    if repeated and any(math.isnan(half) for ranking in overall.rankings for _, half in ranking.averages):
        notes.append("Without a ± where a setting rests on fewer than three seeds.")
    return Table("averages", caption, heading, rows, notes)


def seeds_notes(overall: Overall, names: Names) -> list[str]:
    """Which seeds averages, ranks and their tests rest on, and for lack of which method others are left out."""
    shared, notes = overall.shared, []
    alike = len(set(shared.seeds.values())) == 1
    for setting, seeds in shared.seeds.items():
        lacking = "; ".join(
            f"seed {seed} is left out, for {enumerated([names.methods[m] for m in methods])} "
            f"{plural(len(methods), 'lacks', 'lack')} it"
            for seed, methods in shared.lacking[setting].items()
        )
        if lacking or not alike:
            notes.append(f"{setting}: {_seeds(seeds)}{'; ' * bool(lacking)}{lacking}.")
    return notes or [f"Averages, ranks and their tests rest on {_seeds(seeds)} in every setting."]


def dropped_notes(overall: Overall, names: Names) -> list[str]:
    """Each method that is not ranked, and why."""
    return [f"{names.methods[method]} is not ranked: it {why}." for method, why in overall.shared.dropped.items()]


def _seeds(seeds: Sequence[int]) -> str:
    return f"{plural(len(seeds), 'seed')} {enumerated(list(map(str, seeds)))}"


def ppm_table(overall: Overall, names: Names) -> Table | None:
    """Row beats column in so many of the tests; None where no test was possible."""
    found = overall.penalties
    if found is None:
        return None
    shown = [names.methods[method] for method in found.methods]
    rows = []
    for i, name in enumerate(shown):
        cells = [f"{found.wins[i, j]} of {found.tests[i, j]}" if found.tests[i, j] else NONE for j in range(len(shown))]
        rows.append([name, *cells])
    low, high = found.seeds
    seeds = f"{low}" if low == high else f"{low} to {high}"
    caption = f"In how many pairs of setting and cycle the row beats the column: paired t-test over {seeds} seeds, p < 0.05."
    return Table("ppm", caption, ["beats", *shown], rows)


def nemenyi_table(ranking: Ranking, names: Names) -> Table | None:
    """p of every two methods; None where there is no test."""
    if ranking.nemenyi.refusal:
        return None
    shown = [names.methods[method] for method in ranking.methods]
    p = ranking.nemenyi.p
    rows = [[name, *(p_value(p[i, j]) if i != j else NONE for j in range(len(shown)))] for i, name in enumerate(shown)]
    return Table(f"nemenyi_{ranking.metric}", f"Nemenyi's test on {METRICS[ranking.metric]}: p.", ["", *shown], rows)


def kendall_table(ranking: Ranking) -> Table | None:
    """Tau-b of every two settings, or its range where they are many; None for a single setting."""
    if not ranking.taus:
        return None
    caption = f"Kendall's tau-b between settings, by {METRICS[ranking.metric]}: 1 where they rank the methods alike."
    if len(ranking.taus) <= _MOST_PAIRS:
        rows = [
            [ranking.settings[a], ranking.settings[b], _tau(found.tau), p_value(found.p), str(found.n)]
            for (a, b), found in ranking.taus.items()
        ]
        return Table(f"kendall_{ranking.metric}", caption, ["setting", "and", "tau-b", "p", "methods"], rows)
    taus = [found.tau for found in ranking.taus.values() if not math.isnan(found.tau)]
    some = [_tau(value) for value in (min(taus), statistics.median(taus), max(taus))] if taus else [NONE] * 3
    heading = ["pairs of settings", "lowest tau-b", "median", "highest"]
    return Table(f"kendall_{ranking.metric}", caption, heading, [[str(len(ranking.taus)), *some]])


def tests_text(ranking: Ranking) -> str:
    """Friedman's test in a sentence, or why there is none, with what it rests on."""
    test = ranking.friedman
    if test.refusal:
        return f"{METRICS[ranking.metric]}: no Friedman test. {test.refusal}"
    few = " So few settings give it little power, and its p is rough." if test.settings < 10 else ""
    difference = f" Mean ranks further apart than {ranking.nemenyi.critical_difference:.2f} differ (Nemenyi, 0.05)."
    if test.p >= 0.05:
        difference = (
            " The test cannot tell the methods apart, which does not mean that they are alike; rely on no difference of two."
        )
    p = p_value(test.p)
    return (
        f"{METRICS[ranking.metric]}: Friedman's test over {test.settings} settings and {test.methods} methods: "
        f"chi-squared {test.statistic:.2f}, p {p if p.startswith('<') else '= ' + p}.{few}{difference}"
    )


def _tau(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.2f}"
