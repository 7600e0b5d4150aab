"""What methods save and when that pays, as tables: for readers by method, for programs by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from nnactive_ext.compare.cells import NONE
from nnactive_ext.compare.economics import Economy, economies, prices_of
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.summary import SettingSummary
from nnactive_ext.compare.table import Table
from nnactive_ext.metrics.economics import EXACT, MeanSaved
from nnactive_ext.metrics.prices import Prices
from nnactive_ext.words import duration, percent

HEADING = (
    *("method", "against", "patches saved at the final Dice of random patches", "95 % interval", "saves any (E[r] > 0)"),
    *("at the final Dice of the method", "machine (of it queries)", "pays from ... patches saved"),
    *("pays from ... min per patch", "pays up to ... h per training", "cost difference"),
)
_PAYS = {True: "yes", False: "no", None: "not shown"}


def economy_table(summary: SettingSummary, names: Names, prices: Prices, minutes: float | None = None) -> Table | None:
    """A row for each method and each random one; None where a setting has no random method, or nothing else.

    Args:
        summary: of the setting.
        names: of methods.
        prices: what experts and machines cost.
        minutes: per patch, as typed; None: measured in roll-outs of the setting, else those of ``prices``.
    """
    found = economies(summary.setting)
    if not found:
        return None
    used, why = prices_of(summary.setting, prices, minutes)
    rows = [economy_cells(one, names.methods, used) for one in found]
    caption = f"{summary.setting.name}: what methods save at the Dice that random patches reach, and when that pays."
    return Table(f"economics_{names.slugs[summary.setting.name]}", caption, HEADING, rows, notes_on(used, why))


def notes_on(used: Prices, why: str) -> list[str]:
    """What the columns are; ``why``: where the minutes per patch come from."""
    return [
        "Patches saved (r): those that the random method needs for a Dice minus those that the method needs, linear between "
        "cycles; mean ± standard deviation (seeds), at the mean of the seeds' Dice. It saves any if the interval lies above 0.",
        '"At least" where the random method never reaches the Dice and would need more patches than it has, so "at least 0" '
        'does not say that nothing is saved. "At most" where the method never reaches it.',
        f"Prices: {used.minutes_per_patch:.3g} min per patch, {why}; expert {used.expert_rate:g} and machine "
        f"{used.machine_rate:g} per hour. Cost difference: machine minus patches saved, negative where the method is cheaper.",
        "Machine: all trainings up to the cycle that reaches the Dice, and the queries before it (in brackets); a dash where "
        "times are not in the results folder.",
    ]


def economy_cells(one: Economy, names: Mapping[str, str], prices: Prices) -> list[str]:
    """A row below :data:`HEADING`; ``names``: method -> what it is called."""
    saved, hours = one.saved, one.hours
    interval = NONE if math.isnan(saved.low) else f"{saved.low:.1f} to {saved.high:.1f}"
    which = [names[one.method], names[one.base]]
    at, at_own = (percent(fmean(values)) for values in zip(*((seed.dice, seed.own_dice) for seed in one.seeds), strict=True))
    cells = [*which, f"{saved_text(saved)} at {at}", interval, _PAYS[saved.pays] if saved.n > 1 else "one seed"]
    cells.append(f"{saved_text(one.own)} at {at_own}")
    if hours is None:
        return [*cells, *[NONE] * 5]
    machine = hours.trained + hours.queried
    from_minutes = prices.break_even_minutes(machine, saved.mean)
    up_to = prices.break_even_hours(saved.mean, hours.trainings, hours.queried)
    return [
        *cells,
        f"{duration(3600 * machine)} ({duration(3600 * hours.queried)})",
        _from(prices.break_even(machine)),
        "never" if math.isinf(from_minutes) else _from(from_minutes),
        "never" if up_to <= 0 else "any" if math.isinf(up_to) else f"{up_to:.3g}",
        f"{prices.difference(machine, saved.mean):+,.2f}",
    ]


def _from(value: float) -> str:
    return "below 0.01" if 0 < value < 0.01 else f"{value:.3g}"


def saved_text(saved: MeanSaved) -> str:
    """
    >>> saved_text(MeanSaved(12.0, 2.83, 2, -13.4, 37.4, "at least"))
    'at least 12.0 ± 2.8 (2)'
    """
    spread = "" if math.isnan(saved.std) else f" ± {saved.std:.1f}"
    bound = "bounds only: " if saved.bound is None else f"{saved.bound} " if saved.bound != EXACT else ""
    return f"{bound}{saved.mean:.1f}{spread} ({saved.n})"


def tidy_economies(summaries: Sequence[SettingSummary], names: Names) -> Table:
    """A row for each seed of a method and a random one; hours of the machine up to the cycle that reaches the Dice."""
    rows: list[list[Any]] = []
    for summary in summaries:
        for one in economies(summary.setting):
            for seed in one.seeds:
                known = [seed.dice, seed.saved.needed, seed.saved.patches, seed.saved.bound or None]
                own = [seed.own.patches, seed.own.bound or None]
                hours = [seed.hours.trained, seed.hours.queried, seed.hours.trainings] if seed.hours else [None] * 3
                which = [summary.setting.name, names.methods[one.method], names.methods[one.base], seed.seed]
                rows.append([*which, *known, *own, *hours])
    heading = ["setting", "method", "against", "seed", "dice", "patches_needed", "patches_saved", "bound"]
    heading += ["patches_saved_at_own_dice", "bound_at_own_dice", "hours_trained", "hours_queried", "trainings"]
    return Table("economics", "", heading, rows)
