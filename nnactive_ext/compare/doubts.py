"""What may be compared, but not without a word: warnings about versions, members, classes and changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nnactive_ext.compare.checks import MEMBERS, same_world_and_members
from nnactive_ext.compare.completeness import shortcoming
from nnactive_ext.compare.settings import Grouped, Setting
from nnactive_ext.compare.trajectories import Trajectory
from nnactive_ext.experiment.environment import UNKNOWN, VARIABLES, Environment
from nnactive_ext.experiment.inference import NNUNET, Evaluation
from nnactive_ext.experiment.observed import Named, differences, evaluations, from_record
from nnactive_ext.metrics.surface import Tolerance

_NAMED = ("trainer", "folds", "kind of members")
_VERSIONS = ("nnactive-ext", "nnunetv2", "torch", "numpy")


def warnings(grouped: Grouped) -> list[str]:
    """One sentence each."""
    found = [doubt for setting in grouped.settings for doubt in _setting(setting)]
    trainers = {repr([part(s.trajectories[0]) for part in [MEMBERS[what] for what in _NAMED]]) for s in grouped.settings}
    if len(trainers) > 1:
        found.append("Settings differ in trainer, folds or kind of members; numbers of different settings are not of one kind.")
    for full in grouped.full:
        if not any(same_world_and_members(full, s.trajectories[0]) for s in grouped.settings):
            found.append(
                f"{full.label} has all labels and belongs to no setting: its dataset, pool, test set, trainer, folds or "
                "network is another one."
            )
    return found


def surface_tolerance(setting: Setting) -> Tolerance | None:
    """The tolerance of the normalised surface distance; None where cycles have none, or several."""
    tolerances = _tolerances(setting)
    return next(iter(tolerances.values())) if len(tolerances) == 1 else None


def _tolerances(setting: Setting) -> dict[str, Tolerance | None]:
    """Those of all cycles, by their text; None in cycles from before there were surface metrics."""
    found = [cycle.tolerance for t in setting.trajectories for cycle in t.scored]
    return {str(one or "none"): one for one in sorted(found, key=lambda one: one.mm if one else 0)}


def _setting(setting: Setting) -> Iterator[str]:
    everything = (*setting.trajectories, *setting.full)
    for trajectory in everything:
        if differing := differences(_environments(trajectory)):
            yield f"{setting.name}: not all of {trajectory.name} was made in the same way. {'. '.join(differing)}."
    for package in _VERSIONS:
        by_version = _by(everything, lambda t, p=package: _versions(t, p))  # type: ignore[misc]
        if len(by_version) > 1:
            parts = [f"{version} in {_some(names)}" for version, names in sorted(by_version.items())]
            yield f"{setting.name}: versions of {package} differ: {'; '.join(parts)}."
    yield from _variables(setting.name, everything)
    tolerances = _tolerances(setting)
    if len(tolerances) > 1:
        yield f"{setting.name}: surface metrics are left out, for their tolerances differ: {', '.join(tolerances)}."
    yield from _evaluations(setting)
    yield from _classes(setting)
    yield from _unfinished(setting)
    yield from _schedules(setting)
    for trajectory in setting.trajectories:
        for change in trajectory.plan.get("changes", ()):
            if change["what"] == "seed":
                yield (
                    f"{setting.name}: the seed of {trajectory.name} was changed from {change['before']} to {change['after']} "
                    f"after cycle {change['after_cycle']}."
                )
            elif change["what"] == "references":
                yield (
                    f"{setting.name}: reference labels of {trajectory.name} ({_some(change['cases'])}) were changed after "
                    f"cycle {change['after_cycle']}; {_rest(change)} on those before."
                )


def _evaluations(setting: Setting) -> Iterator[str]:
    """That experiments were evaluated differently, or otherwise than by nnU-Net, and what is compared then."""
    told = _by(setting.trajectories, _evaluated)
    where = f"curves and AUBC {setting.inference}"
    if len(told) > 1:
        parts = "; ".join(f"{how} in {_some(names)}" for how, names in sorted(told.items()))
        yield f"{setting.name}: test sets were evaluated differently ({parts}): {where}, of the cycles that all have."
    elif setting.inference != NNUNET:
        last = "the last cycle as nnU-Net evaluates it" if any(t.as_nnunet for t in setting.trajectories) else "as curves"
        yield f"{setting.name}: {where}; Final Dice and surfaces: {last}."


def _evaluated(trajectory: Trajectory) -> str:
    """How its test set was to be evaluated."""
    found = Evaluation.of(trajectory.plan.get("settings") or {})
    return f"{found.when} cycles {found.inference}"


def _rest(change: Mapping[str, Any]) -> str:
    """Which results rest on the reference labels before a change."""
    cycles = [str(cycle) for cycle in change.get("results", ())]
    return f"results of cycle {', '.join(cycles)} rest" if cycles else "no result rests"


def _environments(trajectory: Trajectory) -> list[Named]:
    """Where its parts were computed: as its record and its results tell."""
    planning = Environment(versions=trajectory.plan.get("versions") or {})
    recorded = from_record(trajectory.record.get("environments"))
    return [*(recorded or [("planning", planning)]), *evaluations(trajectory.cycles)]


def _versions(trajectory: Trajectory, package: str) -> str:
    """Those of a package with which its parts were made."""
    found = {one.versions[package]: None for _, one in _environments(trajectory) if package in one.versions}
    return " and ".join(found) or UNKNOWN


def _variables(name: str, trajectories: Sequence[Trajectory]) -> Iterator[str]:
    """Environment variables that changed the trainings of some trajectories, as far as they are known."""
    for variable in VARIABLES:
        known = [t for t in trajectories if _trained_with(t, variable)]
        by_value = _by(known, lambda t, v=variable: _trained_with(t, v))
        if len(by_value) > 1:
            parts = [f"{value} in {_some(names)}" for value, names in sorted(by_value.items())]
            yield f"{name}: members were trained with different {variable}: {'; '.join(parts)}."


def _trained_with(trajectory: Trajectory, variable: str) -> str:
    """The values that an environment variable had in trainings; empty where none is known."""
    told = [one.variables for _, one in _environments(trajectory) if one.variables is not None]
    return " and ".join(dict.fromkeys(variables.get(variable, "not set") for variables in told))


def _unfinished(setting: Setting) -> Iterator[str]:
    """Trajectories that got as far as any other, and not as far as planned."""
    short = [t for t in setting.trajectories if not shortcoming(t, setting) and len(t.cycles) < t.planned]
    if short:
        shown = _some([f"{t.name} has {len(t.cycles)} of {t.planned} cycles" for t in short])
        yield f"{setting.name}: compared up to {setting.budgets[-1]} patches, which is less than planned: {shown}."


def _schedules(setting: Setting) -> Iterator[str]:
    """Numbers of cycles planned at first that differ, on which schedules over the cycles depend."""
    mixed = [method for method in setting.methods if len({t.schedule for t in setting.of(method)}) > 1]
    for method in mixed:
        shown = _planned(setting.of(method))
        yield (
            f"{setting.name}: the seeds of {method} were planned with different numbers of cycles ({shown}). "
            "If the method has a schedule over the cycles, they are not of one method, and its numbers mean nothing."
        )
    if not mixed and len({t.schedule for t in setting.trajectories}) > 1:
        shown = _planned(setting.trajectories)
        yield f"{setting.name}: methods were planned with different numbers of cycles ({shown}), with which schedules end."


def _planned(trajectories: Sequence[Trajectory]) -> str:
    by_number = _by(trajectories, lambda t: t.schedule)
    return "; ".join(
        f"{number} in {_some(names)}" for number, names in sorted(by_number.items(), key=lambda item: int(item[0]))
    )


def _classes(setting: Setting) -> Iterator[str]:
    """Classes that are in the mean Dice of some cycles and not of others, or that not every test case has."""
    test = len(setting.trajectories[0].plan["test"])
    for name in setting.classes:
        cases = [(t, c.cycle, c.cases_per_class.get(name)) for t in (*setting.trajectories, *setting.full) for c in t.scored]
        without = [(t, i) for t, i, n in cases if n == 0]
        if without and len(without) == len(cases):
            yield f"{setting.name}: no test case has the class {name}, and nothing predicts it; no mean contains it."
        elif without:
            where = _some([f"cycle {i} of {t.name}" for t, i in without])
            yield f"{setting.name}: the mean Dice leaves out {name} in {where}, where no test case has or predicts it."
        elif (counts := {n for _, _, n in cases if n is not None}) - {test}:
            number = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{min(counts)}"
            yield (
                f"{setting.name}: Dice of {name} rests on {number} of {test} test cases, for it is left out where neither "
                "reference nor prediction has it."
            )


def _by(trajectories: Sequence[Trajectory], part: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for trajectory in trajectories:
        found[str(part(trajectory))].append(trajectory.name)
    return found


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
