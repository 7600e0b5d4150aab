"""What queries did not find, and whether the members find anything at all; the status and the report say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import PREDICTED, loop_file, read_loop_content
from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.experiment.result import CycleResult, StratumYield
from nnactive_ext.members.yields import Yields, yields_of
from nnactive_ext.query_methods.methods import METHODS
from nnactive_ext.query_methods.random_patches import RandomPatches
from nnactive_ext.words import count, enumerated

ENOUGH = 3
"""Patches chosen for a class from which it tells something that none of them holds it, although others do."""
_SHOWN = 3
"""Classes whose numbers are said in a sentence; those of more are in the tables."""


@dataclass(frozen=True)
class Missed:
    """A class that the last query did not find: ``asked`` annotated patches were chosen for it, and none held it; of
    ``others`` annotated patches ``held`` did."""

    name: str
    asked: int
    others: int
    held: int


def yields_by_cycle(experiment: Experiment, results: Sequence[CycleResult], thorough: bool = True) -> dict[int, Yields]:
    """Of each cycle whose patches are annotated, in part at least.

    Args:
        experiment: a simulation or a roll-out.
        results: of its cycles so far.
        thorough: read the partial labels where a simulation's results do not tell, as those of earlier versions do not.

    Returns:
        Cycle -> stratum -> what its patches held. In a roll-out this is what the answers say today.
    """
    if experiment.plan.purpose == ALL_LABELS:
        return {}
    if experiment.plan.human:
        return annotated({cycle: yields_of(experiment, cycle) for cycle in range(experiment.last_loop + 1)})
    found: dict[int, Yields] = {result.cycle: result.new_yields for result in results if result.new_yields}
    for cycle in range(experiment.state["cycle"] + 1) if thorough else ():
        if cycle not in found:
            try:
                found[cycle] = yields_of(experiment, cycle)
            except (NnActiveError, OSError, RuntimeError):  # labels that are gone tell nothing
                continue
    return annotated(dict(sorted(found.items())))


def annotated(yields: Mapping[int, Yields]) -> dict[int, Yields]:
    """Those of cycles with an annotated patch."""
    return {cycle: found for cycle, found in yields.items() if any(one.annotated for one in found.values())}


def missed(found: Yields, classes: Sequence[str]) -> list[Missed]:
    """The classes that a query was to find and did not, once half of the patches are annotated.

    A class is missed when no patch held it, or when none of :data:`ENOUGH` patches or more that were chosen for it did.
    """
    names = []
    for name in classes:
        chosen = [one for one in found.values() if one.chosen_for == name]
        rest = [one for one in found.values() if one.chosen_for != name]
        asked, others = _annotated(chosen), _annotated(rest)
        held = sum(one.patches_per_class.get(name, 0) for one in rest)
        counted = chosen if asked >= ENOUGH else [*chosen, *rest]
        half = 2 * _annotated(counted) >= sum(one.patches for one in counted) > 0
        if half and not sum(one.held for one in chosen) and (asked >= ENOUGH or not held):
            names.append(Missed(name, asked, others, held))
    return names


def _annotated(strata: Sequence[StratumYield]) -> int:
    return sum(one.annotated for one in strata)


def missed_words(experiment: Experiment, yields: Mapping[int, Yields]) -> str:
    """Which classes the last annotated query missed and what helps, in a few sentences; empty for none."""
    if not yields:
        return ""
    cycle = max(yields)
    found = missed(yields[cycle], list(experiment.dataset.labels.classes))
    if not found:
        return ""
    where = f"The query of cycle {cycle}" if cycle else "The starting budget"
    counts = f" ({'; '.join(map(_counts, found))})" if len(found) <= _SHOWN else ""
    said = f"{where} did not find {enumerated([one.name for one in found])}{counts}."
    return f"{said} {_remedy(experiment, cycle, found)}"


def _counts(one: Missed) -> str:
    others = f"{one.held} of {count(one.others, 'other patch', 'other patches')}" if one.asked else ""
    asked = f"{one.name}: 0 of {count(one.asked or one.others, 'patch', 'patches')}"
    return f"{asked} chosen for it{f', {others}' if one.others else ''}" if one.asked else asked


def _remedy(experiment: Experiment, cycle: int, found: Sequence[Missed]) -> str:
    plan, commands = experiment.plan, experiment.commands
    stratified = plan.method in {method.name for method in METHODS if getattr(method, "alpha", 0)}
    unpredicted = _unpredicted(experiment, cycle)
    own = [one.name for one in found if unpredicted is not None and one.name in unpredicted]
    option = ""
    if own and stratified and plan.method_options.get("unpredicted") != "own":
        names = enumerated(own)
        option = f" No member predicts {names}: with unpredicted=own, {plan.method} looks where its probability is highest."
    drawn = next((method for method in METHODS if isinstance(method, RandomPatches) and method.name == plan.method), None)
    blind = "The members do not know where to look. " if cycle and not drawn else ""
    if plan.human:
        when = "" if experiment.last_loop > experiment.state["cycle"] else " after the next query"
        names = enumerated([one.name for one in found])
        return (
            f"{blind}Methods that draw around structures (random_fg_66) are for simulations only: they read reference labels."
            f"{option} Mark points of {names}{when}, each of which adds a patch: {commands.annotate('points', 'FILE...')}"
        )
    if drawn and drawn.foreground and cycle:
        return (
            f"{plan.method} draws around structures, but by chance: {count(plan.query_size, 'patch', 'patches')} a query can "
            "miss a class. Larger queries miss fewer classes (-query_size)."
        )
    lower = " or a smaller alpha, which leaves more patches to the rest of the query" if any(o.held for o in found) else ""
    return f"{blind}Compare with a method that draws patches around structures (--method random_fg_66){lower}.{option}"


def _unpredicted(experiment: Experiment, cycle: int) -> set[str] | None:
    """Classes that no member predicted in the pool when the patches of a cycle were chosen; None where that is not known."""
    told = read_loop_content(loop_file(experiment.raw, cycle)).get(PREDICTED)
    return None if told is None else set(experiment.dataset.labels.classes) - set(told)


def nothing_predicted(experiment: Experiment, results: Sequence[CycleResult]) -> str:
    """That the last members predict no class at all, where they were asked, and what to do; empty where they do, or where
    that is not known, as in files of earlier versions."""
    cycle = results[-1].cycle if results else experiment.state["cycle"]
    places = _empty_places(results[-1]) if results else []
    following = loop_file(experiment.raw, cycle + 1)
    if following.is_file() and read_loop_content(following).get(PREDICTED) == []:
        places.append("the pool")
    if not places:
        return ""
    return (
        f"No class is predicted at all: after cycle {cycle} the members predict background everywhere in {enumerated(places)}. "
        + _what_to_do(experiment)
    )


def _empty_places(result: CycleResult) -> list[str]:
    validated = result.cross_validation
    places = []
    if result.predicted_voxels_per_class and not any(result.predicted_voxels_per_class.values()):
        places.append("the test set")
    if validated and validated.predicted_voxels_per_class and not any(validated.predicted_voxels_per_class.values()):
        places.append("the annotated voxels of cases that they were not trained on")
    return places


def _what_to_do(experiment: Experiment) -> str:
    commands, foreground = experiment.commands, experiment.dataset.labels.foreground
    counts = [
        int(counts.get(label, counts.get(str(label), 0)))
        for counts in experiment.state["annotated"].values()
        for label in foreground
    ]
    if experiment.plan.human:
        points = commands.annotate("points", "FILE...")
        more = f"mark points of the structures, each of which adds a patch that holds one: {points}"
    else:
        more = "annotate more patches that hold the structures: a larger starting budget, or --method random_fg_66."
    if not sum(counts):
        return f"No annotated voxel is of any class, so there is nothing to learn one from: {more}"
    return (
        "Look before the next query: (1) do the labels in place fit the images (section 3 of the report)? (2) Was the training "
        "long enough? A trainer with more epochs is chosen when planning (-tr nnActiveTrainer_500epochs). (3) If both are "
        f"right, {more}"
    )
