"""Runs the experiments of a benchmark, or a part of them, each from wherever it stands."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from nnactive_ext.bench.clone import clone
from nnactive_ext.bench.divisions import differing as other_division
from nnactive_ext.bench.divisions import division
from nnactive_ext.bench.outcomes import Outcomes, exists, is_complete
from nnactive_ext.bench.runs import Run
from nnactive_ext.errors import DENIED, NO_SPACE, NnActiveError, PoolExhausted
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.locks import locked
from nnactive_ext.experiment.plan import START, Plan, method_words
from nnactive_ext.experiment.record import write_record
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.tools import Tools
from nnactive_ext.nnunet.dataset import Dataset, find_dataset
from nnactive_ext.planning.create import check_number, create
from nnactive_ext.planning.decisions import WARNING
from nnactive_ext.planning.ensembles import decided_folds
from nnactive_ext.planning.measure import Measured, measure
from nnactive_ext.planning.options import benchmark_keys, planned_value
from nnactive_ext.planning.pretrained import differing_start, start_for
from nnactive_ext.planning.settings import Settings
from nnactive_ext.planning.simulation import decide, trainer_of
from nnactive_ext.query_methods import methods
from nnactive_ext.words import warned

SHARED = ("query_size", "starting_budget", "seed", *benchmark_keys(Settings))
"""What an experiment that is there already must have in common with the benchmark's file."""


@dataclass(frozen=True)
class How:
    """What all experiments of a benchmark are run with."""

    benchmark: str
    tools: Tools
    progress: bool = True
    say: Callable[[str], None] = print
    accumulators: str = "single"

    def run_cycles(self, experiment: Experiment) -> None:
        with experiment.running(wait=True):
            with experiment.lock(wait=True):
                experiment = open_experiment(experiment.name, locked=True)
            run_cycles(experiment, self.tools, self.progress, self.say, self.accumulators)


def run_all(runs: Sequence[Run], how: How, outcomes: Outcomes) -> None:
    """Run the experiments of a benchmark one after another, each from wherever it stands.

    An experiment that fails does not keep the others from running, except those that share its start. A pool that is used up is
    not a failure.

    Args:
        runs: the experiments, starts before those that begin with a copy of them.
        how: the tools and options that all experiments are run with.
        outcomes: where failures and used-up pools are noted.
    """
    broken: dict[str, str] = {}
    for i, run in enumerate(runs, 1):
        how.say(f"\n[{i} of {len(runs)}] {run.folder}")
        outcomes.forget(run)
        try:
            if run.start and run.start.folder in broken:
                raise NnActiveError(broken[run.start.folder])
            experiment = _experiment(run, how)
            if not is_complete(run):
                how.run_cycles(experiment)
        except Exception as error:  # ours, or a library's, of a damaged image for example
            if isinstance(error, OSError) and error.errno in (*NO_SPACE, *DENIED):  # which fails all of them
                raise
            # A starting budget that does not fit into the pool ends no experiment: there is none.
            used_up = isinstance(error, PoolExhausted) and exists(run)
            why = _why(error)
            how.say(f"WARNING: {why}" if used_up else f"ERROR: {run.folder}: {why}")
            outcomes.note(run, not used_up, why)
            if run.start and not is_complete(run.start):
                broken[run.start.folder] = why


def _why(error: Exception) -> str:
    if isinstance(error, NnActiveError):
        return str(error)
    traceback.print_exception(error)  # for whoever is to mend what nobody foresaw
    return f"{type(error).__name__}: {error}"


def _experiment(run: Run, how: How) -> Experiment:
    """The experiment of ``run``, made now if it is not there: anew, or from the cycle 0 it shares with others."""
    experiment = Experiment(run.folder)
    if not exists(run):
        with locked(run.settings.number, wait=True):
            if exists(run):  # made by another part while we waited
                pass
            elif run.start is None:
                _plan(run, how)
            else:
                start = _started(run.start, how)
                clone(start, run.settings.number, _changes(start.plan, run))
    _check(experiment, run)
    return experiment


def _changes(plan: Plan, run: Run) -> dict[str, Any]:
    """In what the plan of ``run`` differs from that of its start."""
    method, options = methods.lasting(run.settings.method, run.settings.method_options)
    row = ("query method", method_words(method, options), f"of the benchmark {plan.benchmark}")
    decisions = tuple(row if decision[0] == "query method" else decision for decision in plan.decisions)
    cycles = run.settings.cycles
    return {"dataset": run.folder, "method": method, "method_options": options, "cycles": cycles, "decisions": decisions}


def _started(start: Run, how: How) -> Experiment:
    """The start, with its cycle 0 trained and evaluated; whoever else needs it meanwhile waits."""
    experiment = _experiment(start, how)
    if not is_complete(start):
        how.say(f"Cycle 0, shared by all methods: {start.folder}")
        how.run_cycles(experiment)
    return experiment


def _plan(run: Run, how: How) -> None:
    check_number(run.settings.number)
    divided = division(run, how.benchmark)
    source = divided.source
    decided = decide(source, _measured(source, how.progress), run.settings, divided)
    plan = replace(decided, benchmark=how.benchmark, purpose=run.purpose)
    if run.purpose == START:  # decided with all its cycles, for warnings about the pool; but it ends with cycle 0
        plan = replace(plan, cycles=1)
    for line in warned(f"{what}: {why}" for kind, what, why in plan.decisions if kind == WARNING):
        how.say(line)
    weights = start_for(run.settings, source.json["channel_names"].values())
    experiment, warnings = create(plan, source, None, how.progress, weights)
    write_record(experiment)  # so that one that fails in its first cycle is known to have been meant
    for line in warned(warnings):
        how.say(line)


@cache
def _measured(source: Dataset, progress: bool) -> dict[str, Measured]:
    return dict(measure(source, None, progress))


def _check(experiment: Experiment, run: Run) -> None:
    """An experiment that is not what the file asks for is an error."""
    plan, settings = experiment.plan, run.settings
    wanted = {name: getattr(settings, name) for name in SHARED} | {"purpose": run.purpose}
    if run.purpose == START:
        wanted["cycles"] = 1
    if settings.all_labels:
        wanted |= {"query_size": 1, "starting_budget": len(plan.pool)}
    wanted |= {"trainer": trainer_of(settings), "folds": decided_folds(settings)}
    if not run.purpose:
        wanted["method"], wanted["method_options"] = methods.lasting(settings.method, settings.method_options)
    wanted = {name: value for name, value in wanted.items() if not name.startswith("pretrained")}  # a file may have moved
    planned = {name: planned_value(plan, name, getattr(Settings, name, None)) for name in wanted}
    differing = [(name, planned[name], value) for name, value in wanted.items() if planned[name] != value]
    source = find_dataset(run.dataset).folder
    if not experiment.source.folder.is_dir() or not source.samefile(experiment.source.folder):
        differing.insert(0, ("dataset", str(experiment.source.folder), str(source)))
    differing += other_division(plan, run)
    differing += differing_start(plan, settings, experiment.dataset.json["channel_names"].values())
    for name, before, value in differing:
        raise NnActiveError(
            f"{plan.dataset}: was planned with {name} = {before!r}, but the benchmark's file says {value!r}. "
            "Restore the file, give the benchmark another name, or delete the experiment."
        )
