"""Runs the experiments of a benchmark, or a part of them, each from wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from nnactive_ext.bench.clone import clone
from nnactive_ext.bench.runs import Run
from nnactive_ext.checks import Measured, measure
from nnactive_ext.create import check_number, create
from nnactive_ext.cycles import Tools, run_cycles
from nnactive_ext.dataset import find_dataset, nnunet_folder
from nnactive_ext.errors import NnActiveError, PoolExhausted
from nnactive_ext.evaluation import result_file
from nnactive_ext.experiment import Experiment, locked
from nnactive_ext.files import read_json
from nnactive_ext.loops import loop_file
from nnactive_ext.plan import PLAN_FILE, START, Plan
from nnactive_ext.planning import decide
from nnactive_ext.query_methods import methods
from nnactive_ext.record import write_record

SHARED = ("query_size", "starting_budget", "cycles", "seed", "folds", "configuration", "planner", "preset")
"""What an experiment that is there already must have in common with the benchmark's file."""


@dataclass(frozen=True)
class Failure:
    """An experiment that could not go on, and why."""

    run: Run
    why: str


def run_all(
    runs: Sequence[Run], benchmark: str, tools: Tools, progress: bool = True, say: Callable[[str], None] = print
) -> list[Failure]:
    """Run one after another; one that fails does not keep the others from running. A pool that is used up is no failure."""
    failures = []
    for i, run in enumerate(runs, 1):
        say(f"\n[{i} of {len(runs)}] {run.folder}")
        try:
            experiment = _experiment(run, benchmark, tools, progress, say)
            if not is_complete(run):
                with experiment.lock(wait=True):
                    run_cycles(experiment, tools, progress, say)
        except PoolExhausted as error:
            say(f"WARNING: {error}")
        except NnActiveError as error:
            say(f"ERROR: {run.folder}: {error}")
            failures.append(Failure(run, str(error)))
    return failures


def is_complete(run: Run) -> bool:
    """Whether the experiment's last planned cycle has been evaluated."""
    experiment = Experiment(run.folder)
    return _exists(experiment) and result_file(experiment, experiment.plan.cycles - 1).is_file()


def is_used_up(run: Run) -> bool:
    """Whether the experiment ended before its last cycle because its pool did."""
    experiment = Experiment(run.folder)
    if not _exists(experiment):
        return False
    cycle = experiment.state["cycle"]
    missing = cycle >= 0 and read_json(loop_file(experiment.raw, cycle)).get("missing", 0)
    return bool(missing) and result_file(experiment, cycle).is_file()


def _experiment(run: Run, benchmark: str, tools: Tools, progress: bool, say: Callable[[str], None]) -> Experiment:
    """The experiment of ``run``, made now if it is not there: anew, or from the cycle 0 it shares with others."""
    experiment = Experiment(run.folder)
    if not _exists(experiment):
        with locked(run.wishes.number, wait=True):
            if _exists(experiment):  # made by another part while we waited
                pass
            elif run.start is None:
                _plan(run, benchmark, progress, say)
            else:
                start = _started(run.start, benchmark, tools, progress, say)
                clone(start, run.wishes.number, _changes(start.plan, run))
    _check(experiment.plan, run)
    return experiment


def _changes(plan: Plan, run: Run) -> dict[str, Any]:
    """In what the plan of ``run`` differs from that of its start."""
    method, options = methods.lasting(run.wishes.method, run.wishes.method_options)
    words = " ".join([method, *(f"{key}={value}" for key, value in options.items())])
    row = ("query method", words, f"of the benchmark {plan.benchmark}")
    decisions = tuple(row if decision[0] == "query method" else decision for decision in plan.decisions)
    cycles = run.wishes.cycles
    return {"dataset": run.folder, "method": method, "method_options": options, "cycles": cycles, "decisions": decisions}


def _started(start: Run, benchmark: str, tools: Tools, progress: bool, say: Callable[[str], None]) -> Experiment:
    """The start, with its cycle 0 trained and evaluated; whoever else needs it meanwhile waits."""
    experiment = _experiment(start, benchmark, tools, progress, say)
    if not is_complete(start):
        say(f"Cycle 0, shared by all methods: {start.folder}")
        with experiment.lock(wait=True):
            run_cycles(experiment, tools, progress, say)
    return experiment


def _plan(run: Run, benchmark: str, progress: bool, say: Callable[[str], None]) -> None:
    check_number(run.wishes.number)
    source = find_dataset(run.dataset)
    plan = replace(decide(source, _measured(run.dataset, progress), run.wishes), benchmark=benchmark, purpose=run.purpose)
    if run.purpose == START:  # decided with all its cycles, for warnings about the pool; but it ends with cycle 0
        plan = replace(plan, cycles=1)
    for _, what, why in (row for row in plan.decisions if row[0] == "WARNING"):
        say(f"WARNING: {what}: {why}")
    experiment, warnings = create(plan, source, None, progress)
    write_record(experiment)  # so that one that fails in its first cycle is known to have been meant
    for warning in warnings:
        say(f"WARNING: {warning}")


@cache
def _measured(dataset: str, progress: bool) -> dict[str, Measured]:
    return dict(measure(find_dataset(dataset), None, progress))


def _exists(experiment: Experiment) -> bool:
    return (nnunet_folder("nnUNet_raw") / experiment.name / PLAN_FILE).is_file()


def _check(plan: Plan, run: Run) -> None:
    wishes = run.wishes
    wanted = {name: getattr(wishes, name) for name in SHARED} | {"purpose": run.purpose}
    if run.purpose == START:
        wanted["cycles"] = 1
    if wishes.all_labels:
        wanted |= {"query_size": 1, "starting_budget": len(plan.pool)}
    if wishes.trainer:
        wanted["trainer"] = wishes.trainer
    if not run.purpose:
        wanted["method"], wanted["method_options"] = methods.lasting(wishes.method, wishes.method_options)
    for name, value in wanted.items():
        if getattr(plan, name) != value:
            raise NnActiveError(
                f"{plan.dataset}: was planned with {name} = {getattr(plan, name)!r}, but the benchmark's file says {value!r}. "
                "Restore the file, give the benchmark another name, or delete the experiment."
            )
