"""comparison.md: what was compared, what is missing, the tables, the figures, and what the numbers do not show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from nnactive_ext.compare.names import Names
from nnactive_ext.compare.noise import noise_text
from nnactive_ext.compare.overall import Overall
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
from nnactive_ext.compare.table import Table, markdown_text

_LIMITS = (
    "The ± of a setting is over seeds, which share its images: it says nothing about other datasets.",
    "A mean Dice hides small structures, which it weighs like large ones and which move it in jumps: see the classes, NSD "
    "and HD95.",
    "HD95 leaves out cases in which a class is missed altogether, the worst of all; NSD counts them as 0.",
    "FG-Eff is a rate of progress per annotated foreground. A method that queries little foreground can have a high one "
    "and a low Dice. Its standard error takes the points as independent, which cycles are not.",
    "The tests of pairs are not corrected for their number, and cycles of one trajectory are not independent: PPM "
    "describes, and proves nothing.",
    "Budgets count patches. What a patch costs an expert depends on what is in it.",
)


@dataclass(frozen=True)
class Comparison:
    """Everything there is to show. ``figures``: setting, or "" for all of them, -> names of figures."""

    grouped: Grouped
    summaries: Sequence[SettingSummary]
    overall: Overall
    names: Names
    warnings: Sequence[str]
    figures: Mapping[str, Sequence[str]]


def readable_tables(comparison: Comparison) -> list[Table]:
    """All tables of the page, in its order."""
    made: list[Table | None] = [overview(comparison.summaries)]
    for summary in comparison.summaries:
        made += [table(summary, comparison.names) for table in (main_table, classes_table, queries_table)]
    made += [averages_table(comparison.overall, comparison.names), ppm_table(comparison.overall, comparison.names)]
    for ranking in comparison.overall.rankings if comparison.overall.shared.repeated else ():
        made += [nemenyi_table(ranking, comparison.names), kendall_table(ranking)]
    return [table for table in made if table]


def page(comparison: Comparison) -> str:
    """The page in Markdown; figures and tables are linked relative to it."""
    return "\n\n".join(part for part in _parts(comparison) if part) + "\n"


def _parts(c: Comparison) -> Iterator[str]:
    yield "# Comparison of query methods"
    yield "## What was compared"
    yield _what(c)
    yield overview(c.summaries).markdown()
    yield _list("Not complete", _missing(c))
    yield _list("Warnings", c.warnings)
    yield "## Each setting"
    for summary in c.summaries:
        yield f"### {markdown_text(summary.setting.name)}"
        yield _shown(main_table(summary, c.names))
        yield _figures(c, summary.setting.name, "curves_")
        yield _shown(classes_table(summary, c.names))
        yield _figures(c, summary.setting.name, "classes_")
        yield _figures(c, summary.setting.name, "foreground_")
    yield "## Over settings"
    yield from _over_settings(c)
    yield "## What was queried"
    for summary in c.summaries:
        yield _shown(queries_table(summary, c.names))
    yield "## What these numbers do not show"
    noise = [text for summary in c.summaries if (text := noise_text(summary.setting))]
    yield _bullets((*noise, *_LIMITS))
    yield "The raw points are in [tables/trajectories.csv](tables/trajectories.csv); `tables/` has the others, and LaTeX."


def _what(c: Comparison) -> str:
    settings = [summary.setting for summary in c.summaries]
    trajectories = sum(len(setting.trajectories) for setting in settings)
    seeds = sorted({seed for setting in settings for seed in setting.seeds})
    methods = c.names.methods.values()
    text = f"{_number(trajectories, 'experiment')}: {_number(len(settings), 'setting')}, "
    text += f"{_number(len(methods), 'method')} ({', '.join(methods)}), "
    text += f"{_number(len(seeds), 'seed')} ({', '.join(map(str, seeds))})."
    if c.grouped.full:
        text += f" {_number(len(c.grouped.full), 'experiment')} on all labels."
    if c.grouped.starts:
        text += f" {_number(len(c.grouped.starts), 'experiment')} with only the cycle 0 of others left out."
    if all(len(setting.seeds) == 1 for setting in settings):
        text += " One seed only: curves and numbers without spread and without tests. Nothing is claimed about which is better."
    return markdown_text(text)


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
    cycles = zip(*(t.budgets for t in setting.trajectories if t.cycles), strict=False)
    return sum(1 for _ in takewhile(lambda budgets: len(set(budgets)) == 1, cycles))


def _over_settings(c: Comparison) -> Iterator[str]:
    averages = averages_table(c.overall, c.names)
    if averages:
        yield _shown(averages)
    else:
        yield "No averages and no ranks: they need two methods that have a complete seed in common in every setting."
        yield _bullets(dropped_notes(c.overall, c.names))
    if not c.overall.several:
        yield "No method has two complete seeds: no penalties, no ranks, no tests."
        return
    yield from _penalties(c)
    if c.overall.rankings and not c.overall.shared.repeated:
        yield "No setting has two seeds that all methods have complete: no ranks, and no tests of them."
        return
    yield "### Ranks"
    for ranking in c.overall.rankings:
        yield markdown_text(tests_text(ranking))
        table = nemenyi_table(ranking, c.names)
        yield _shown(table) if table else ""
        yield _figures(c, "", f"ranks_{ranking.metric}")
    if not c.overall.rankings:
        yield "None, as said above."
    yield "### Do settings agree?"
    tables = [table for ranking in c.overall.rankings if (table := kendall_table(ranking))]
    yield "\n\n".join(map(_shown, tables)) if tables else "It takes two settings with the same two methods to tell."


def _penalties(c: Comparison) -> Iterator[str]:
    table = ppm_table(c.overall, c.names)
    yield "### Who beats whom (PPM)"
    if table:
        yield _shown(table)
        yield "Cycle 0, where all methods have the same labels, is left out."
        yield _figures(c, "", "ppm")
    else:
        yield "No test was possible: it needs two methods with two seeds in common, and a query."


def _shown(table: Table) -> str:
    return f"{markdown_text(table.caption)}\n\n{table.markdown()}"


def _figures(c: Comparison, setting: str, beginning: str) -> str:
    found = [name for name in c.figures.get(setting, ()) if name.startswith(beginning)]
    return "\n\n".join(f"![{name}](figures/{name}.png)" for name in found)


def _list(title: str, lines: Sequence[str]) -> str:
    return f"**{title}**\n\n{_bullets(lines)}" if lines else ""


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
