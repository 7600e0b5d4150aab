"""What the strata of methods found, side by side: for readers by class and cycle, for programs by stratum and class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nnactive_ext.compare.cells import NONE
from nnactive_ext.compare.names import Names
from nnactive_ext.compare.summary import SettingSummary, complete
from nnactive_ext.compare.table import Table
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.experiment.result import StratumYield
from nnactive_ext.metrics.averages import mean_and_spread

_REST = ""
"""Stands for the rest of a query among the classes."""
_NOTES = (
    "In brackets: no patch was chosen for the class, so all patches count.",
    "The rest: patches that were chosen for no class, those with any class / voxels of all classes.",
)
ANY = "any"
"""In the table for programs: any class."""


def yields_table(summary: SettingSummary, names: Names) -> Table | None:
    """A row for each class, over all queries; None where no result tells."""
    return _table(summary, names, "yields", [("", _queries(summary))], "what each stratum found in all queries")


def yields_per_cycle(summary: SettingSummary, names: Names) -> Table | None:
    """A row for each class and query; None where no result tells, or for a single query."""
    queries = _queries(summary)
    every = [(f", cycle {cycle}", [cycle]) for cycle in queries]
    return _table(summary, names, "yields_per_cycle", every, "what each stratum found, query by query") if queries[1:] else None


def _queries(summary: SettingSummary) -> list[int]:
    """The cycles that a query led to; the starting budget is the same for all methods."""
    found = (len(t.cycles) for method in summary.methods for t in complete(summary.setting, method.method))
    return list(range(1, max(found, default=0)))


def _table(
    summary: SettingSummary, names: Names, name: str, every: Sequence[tuple[str, Sequence[int]]], about: str
) -> Table | None:
    there = {method.method: complete(summary.setting, method.method) for method in summary.methods}
    rows = []
    for stratum in (*summary.setting.classes, _REST):
        for when, cycles in every:
            cells = [_cell(trajectories, stratum, cycles) for trajectories in there.values()]
            if any(cell != NONE for cell in cells):
                rows.append([f"{stratum or 'the rest'}{when}", *cells])
    caption = (
        f"{summary.setting.name}: {about}: of the annotated patches that were chosen for a class, how many held it / "
        "its voxels; means over seeds."
    )
    heading = ["chosen for", *(names.methods[method] for method in there)]
    return Table(f"{name}_{names.slugs[summary.setting.name]}", caption, heading, rows, _NOTES) if rows else None


def _cell(trajectories: Sequence[Trajectory], about: str, cycles: Sequence[int]) -> str:
    told = [t for t in trajectories if all(t.cycles[c].new_yields for c in cycles if c < len(t.cycles))]
    found = [[one for c in cycles if c < len(t.cycles) for one in t.cycles[c].new_yields.values()] for t in told]
    own = [[one for one in strata if one.chosen_for == about] for strata in found]
    if any(own):
        return _counts([(sum(s.held for s in of), sum(s.annotated for s in of), sum(s.voxels for s in of)) for of in own])
    if about == _REST or not any(found):
        return NONE
    totals = [(_held(strata, about), sum(s.annotated for s in strata), _voxels(strata, about)) for strata in found]
    return f"({_counts(totals)})"


def _held(strata: Iterable[StratumYield], name: str) -> int:
    return sum(one.patches_per_class.get(name, 0) for one in strata)


def _voxels(strata: Iterable[StratumYield], name: str) -> int:
    return sum(one.voxels_per_class.get(name, 0) for one in strata)


def _counts(seeds: Sequence[tuple[int, int, int]]) -> str:
    """Means over seeds."""
    held, of, voxels = (mean_and_spread([float(seed[i]) for seed in seeds]).mean for i in range(3))
    return f"{_number(held)} of {_number(of)} / {voxels:,.0f}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def tidy_yields(each: Iterator[tuple[SettingSummary, Trajectory, list[Any]]]) -> Table:
    """Patches of a stratum that hold a class, and its voxels in them; the class ``any`` is any of them."""
    rows = []
    for summary, t, which in each:
        for cycle, result in enumerate(t.cycles):
            for stratum, one in result.new_yields.items():
                known = [*which, cycle, stratum, one.chosen_for, one.patches, one.annotated]
                rows.append([*known, ANY, one.patches_with_any, one.voxels_of_any])
                for name in summary.setting.classes:
                    rows.append([*known, name, one.patches_per_class.get(name, 0), one.voxels_per_class.get(name, 0)])
    heading = ["setting", "method", "seed", "experiment", "cycle", "stratum", "chosen_for", "patches", "annotated"]
    return Table("yields", "", [*heading, "class", "patches_with_class", "voxels"], rows)
