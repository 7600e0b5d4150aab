"""What an experiment saved against random patches: from the other experiments of its setting in nnUNet_results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from nnactive_ext.compare.checks import check_comparable
from nnactive_ext.compare.economics import economies, prices_of
from nnactive_ext.compare.economy_tables import economy_cells, notes_on
from nnactive_ext.compare.methods import display_names
from nnactive_ext.compare.settings import Grouped, group
from nnactive_ext.compare.trajectories import Trajectory, read_trajectory
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.record import RECORD
from nnactive_ext.metrics.prices import Prices
from nnactive_ext.nnunet.dataset import nnunet_folder
from nnactive_ext.planning.options import planned_value


@dataclass(frozen=True)
class Economics:
    """``rows``: cells below ``compare.economy_tables.HEADING``; ``others``: the experiments that were found."""

    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    others: Sequence[str]


def economics(experiment: Experiment) -> Economics | None:
    """Compare an experiment with the others of its setting, all seeds of its method and of random ones.

    What nnactive_compare would refuse to compare with it is passed over. Only those that got as far as the furthest count.

    Returns:
        None without a test set, results, or a random experiment that is comparable.
    """
    if not experiment.plan.test or not (experiment.results / RECORD).is_file():
        return None
    own = read_trajectory(experiment.results)
    there = [own, *(other for other in _others(own) if _comparable(own, other))]
    grouped = group(there)
    for setting in (one for one in grouped.settings if own.folder in {t.folder for t in one.trajectories}):
        found = [one for one in economies(setting) if one.method == own.method]
        if found:
            known = {one.name: planned_value(experiment.plan, one.name, one.default) for one in fields(Prices)}
            prices, why = prices_of(setting, Prices(**known), None)
            names = display_names(setting.methods)
            others = [t.name for t in setting.trajectories if t.folder != own.folder]
            return Economics([economy_cells(one, names, prices) for one in found], notes_on(prices, why), others)
    return None


def _others(own: Trajectory) -> Iterator[Trajectory]:
    """Of the same source, with the same method or a random one; damaged ones are passed over."""
    for file in sorted(nnunet_folder("nnUNet_results").glob(f"*/nnactive/{RECORD}")):
        if file.parent.resolve() == own.folder.resolve():
            continue
        try:
            other = read_trajectory(file.parent)
        except NnActiveError:
            continue
        if other.record["source"] == own.record["source"] and (other.method == own.method or other.method.startswith("random")):
            yield other


def _comparable(own: Trajectory, other: Trajectory) -> bool:
    """Whether nnactive_compare would put them into one setting."""
    grouped: Grouped = group([own, other])
    if len(grouped.settings) != 1 or len(grouped.settings[0].trajectories) != 2:
        return False
    try:
        check_comparable(grouped)
    except NnActiveError:
        return False
    return True
