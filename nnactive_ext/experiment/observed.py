"""Where the parts of an experiment were computed, as its files tell: planning, queries, members, evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nnactive_ext.experiment.environment import VARIABLES, Environment, read_all
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import last_loop, loop_file, read_loop_content
from nnactive_ext.experiment.marks import ENVIRONMENTS, marks_in
from nnactive_ext.experiment.result import CycleResult, read_results
from nnactive_ext.words import listed

Named = tuple[str, Environment]
"""A part of an experiment, such as "query of cycle 1", and where it was computed."""


def environments(experiment: Experiment) -> list[Named]:
    """All that is written down, planning first; parts made by versions that observed nothing are left out."""
    return [*made(experiment), *evaluations(read_results(experiment.results))]


def made(experiment: Experiment) -> list[Named]:
    """:func:`environments` without those of evaluations, which the results files have."""
    found = [("planning", Environment(versions=experiment.plan.versions))] if experiment.plan.versions else []
    for cycle in range(1, last_loop(experiment.raw) + 1):
        found += [(f"query of cycle {cycle}", one) for one in of_loop(read_loop_content(loop_file(experiment.raw, cycle)))]
    return [*found, *_of_members(experiment)]


def evaluations(results: Iterable[CycleResult]) -> list[Named]:
    """Those of evaluations."""
    return [(f"evaluation of cycle {one.cycle}", one.environment) for one in results if one.environment is not None]


def of_loop(content: Mapping[str, Any]) -> list[Environment]:
    """Those in which the patches of a loop file were scored. Loop files without them have a copy of the plan's versions."""
    return read_all(content.get(ENVIRONMENTS))


def differences(named: Iterable[Named]) -> list[str]:
    """What is not the same everywhere: versions, device, precision; one text each.

    >>> old, new = (Environment(versions={"torch": v}) for v in ("2.9.0", "2.10.0"))
    >>> differences([("planning", old), ("fold 0 of cycle 0", new), ("query of cycle 1", old)])
    ['torch: 2.9.0 (planning, query of cycle 1); 2.10.0 (fold 0 of cycle 0)']
    """
    values: dict[str, dict[str, dict[str, None]]] = {}
    for name, one in named:
        asked = {} if one.variables is None else {name: one.variables.get(name, "not set") for name in VARIABLES}
        told = {
            **one.versions,
            **asked,
            "device": one.device,
            "precision of networks": one.precision,
            "precision of means": one.means,
        }
        for what, value in told.items():
            if value:
                values.setdefault(what, {}).setdefault(value, {})[name] = None
    return [
        f"{what}: {'; '.join(f'{value} ({listed(names, 3)})' for value, names in by_value.items())}"
        for what, by_value in values.items()
        if len(by_value) - len(_unbuilt(by_value)) > 1
    ]


def _unbuilt(values: Iterable[str]) -> list[str]:
    """Versions without the build that another has: 2.15.0 beside 2.15.0+cu132, as earlier code wrote it down."""
    values = list(values)
    return [one for one in values if any(other.startswith(f"{one}+") for other in values)]


def variables(named: Iterable[Named]) -> dict[str, dict[str, list[str]]]:
    """The environment variables that changed trainings: variable -> value -> the members trained with it.

    >>> eight = Environment(variables={"nnactive_iterations_per_epoch": "8"})
    >>> variables([("planning", Environment()), ("fold 0 of cycle 0", eight)])
    {'nnactive_iterations_per_epoch': {'8': ['fold 0 of cycle 0']}}
    """
    found: dict[str, dict[str, list[str]]] = {}
    for member, one in named:
        for name, value in (one.variables or {}).items():
            found.setdefault(name, {}).setdefault(value, []).append(member)
    return found


def as_record(named: Sequence[Named]) -> list[dict[str, Any]]:
    """As JSON."""
    return [{"what": name, **asdict(one)} for name, one in named]


def from_record(content: Any) -> list[Named]:
    """What :func:`as_record` made; empty for anything else."""
    rows = [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
    return [(str(row.get("what", "")), one) for row in rows if (one := Environment.of(row))]


def _of_members(experiment: Experiment) -> Iterator[Named]:
    folders = [*sorted(experiment.results.glob("cycle_*/*/")), *sorted(experiment.model_folder.parent.glob("*__*__*/"))]
    for folder in folders:
        for fold, mark in marks_in(folder).items():
            if mark.get("experiment") == experiment.plan.experiment:
                yield from ((f"fold {fold} of cycle {mark.get('cycle')}", one) for one in read_all(mark.get(ENVIRONMENTS)))
