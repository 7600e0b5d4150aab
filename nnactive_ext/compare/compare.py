"""From results folders to a folder with tables, figures and a page that tells them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nnactive_ext.compare.checks import check_comparable, same_world_and_members
from nnactive_ext.compare.doubts import warnings
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.overall import Overall, overall
from nnactive_ext.compare.page import Comparison, page, readable_tables
from nnactive_ext.compare.settings import Grouped, group, with_full
from nnactive_ext.compare.summary import SettingSummary, summarise
from nnactive_ext.compare.tidy import tidy_tables
from nnactive_ext.compare.trajectories import read_trajectories
from nnactive_ext.compare.writing import check_output, replacing_folder
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import write_text
from nnactive_ext.metrics.prices import Prices
from nnactive_ext.words import plural, warned


def compare(
    sources: Sequence[Path],
    output: Path,
    say: Callable[[str], None] = print,
    cycles: int | None = None,
    prices: Prices | None = None,
    minutes: float | None = None,
) -> Path:
    """Compare experiments and write tables, figures and a page.

    A trajectory that is incomplete is not an error; the page lists it with the reason.

    Args:
        sources: the results folders of the experiments.
        output: the folder to write; it is replaced as a whole.
        say: gets warnings and a summary, one line each.
        cycles: compare only this many cycles of each experiment, counting cycle 0 (default: all).
        prices: what experts and machines cost (default: those of nnactive_plan).
        minutes: of an expert per patch (default: measured in roll-outs, else those of ``prices``).

    Returns:
        The path of the page, ``output/comparison.md``.

    Raises:
        NnActiveError: the experiments are not comparable, none has a query method, or ``output`` holds other files; nothing
            is written then.
    """
    check_output(output)
    _check_prices(prices, minutes)
    grouped = _grouped(sources, cycles)
    check_comparable(grouped)
    summaries = [summarise(setting) for setting in grouped.settings]
    found, names, doubts = overall(summaries), Names.of(grouped.settings), warnings(grouped)
    with replacing_folder(output) as folder:
        figures = _draw(summaries, found, names, folder / "figures")
        comparison = Comparison(grouped, summaries, found, names, doubts, figures, prices or Prices(), minutes)
        _write_tables(comparison, folder / "tables")
        write_text(folder / "comparison.md", page(comparison))
    for line in warned(doubts):
        say(line)
    number = sum(len(setting.trajectories) for setting in grouped.settings)
    whole = sum(len(method.seeds) for summary in summaries for method in summary.methods)
    counts = f"{number} {plural(number, 'experiment')} in {len(summaries)} {plural(len(summaries), 'setting')}"
    say(f"{counts} compared, {whole} of them complete: {output / 'comparison.md'}")
    return output / "comparison.md"


def _check_prices(prices: Prices | None, minutes: float | None) -> None:
    """An expert who takes no time or no money, and a negative number, are errors."""
    rates = prices or Prices()
    for flag, value in (("-minutes_per_patch", minutes), ("-expert_rate", rates.expert_rate)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise NnActiveError(f"{flag} {value}: it must be more than 0.")
    if not (math.isfinite(rates.machine_rate) and rates.machine_rate >= 0):
        raise NnActiveError(f"-machine_rate {rates.machine_rate}: it must be 0 or more.")


def _grouped(sources: Sequence[Path], cycles: int | None) -> Grouped:
    trajectories = read_trajectories(sources)
    if cycles is not None:
        if cycles < 1:
            raise NnActiveError(f"-cycles {cycles}: at least 1, which is cycle 0.")
        trajectories = [trajectory.first(cycles) for trajectory in trajectories]
    grouped = group(trajectories)
    if not grouped.settings:
        others = f"{len(grouped.starts)} with only the cycle 0 of others, {len(grouped.full)} on all labels"
        raise NnActiveError(f"There is no experiment to compare ({others}). Give those with query methods, too.")
    settings = tuple(
        with_full(setting, [f for f in grouped.full if same_world_and_members(f, setting.trajectories[0])])
        for setting in grouped.settings
    )
    return replace(grouped, settings=settings)


def _draw(summaries: Sequence[SettingSummary], found: Overall, names: Names, folder: Path) -> dict[str, list[str]]:
    """All figures; setting, or "" for all of them, -> their names."""
    # Imported late: matplotlib takes a second, which a refusal need not wait for.
    from nnactive_ext.compare.figures_curves import class_curves, learning_curves
    from nnactive_ext.compare.figures_foreground import foreground_curves
    from nnactive_ext.compare.figures_overall import penalty_map, rank_diagram

    folder.mkdir()
    drawn = {
        summary.setting.name: [draw(summary, names, folder) for draw in (learning_curves, class_curves, foreground_curves)]
        for summary in summaries
    }
    drawn[""] = [penalty_map(found, names, folder)]
    if found.shared.repeated:
        drawn[""] += [rank_diagram(ranking, names, folder) for ranking in found.rankings]
    return {setting: [name for name in figures if name] for setting, figures in drawn.items()}


def _write_tables(comparison: Comparison, folder: Path) -> None:
    folder.mkdir()
    for table in tidy_tables(comparison.summaries, comparison.overall, comparison.names):
        write_text(folder / f"{table.name}.csv", table.csv())
    for table in readable_tables(comparison):
        write_text(folder / f"{table.name}.tex", table.latex())
