"""Lets a runner carry out the experiments of a benchmark, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from nnactive_ext.bench.outcomes import Outcomes, is_complete
from nnactive_ext.bench.running import How, run_all
from nnactive_ext.bench.runs import Run, starts_of
from nnactive_ext.cluster.dask_runner import OnWorkers
from nnactive_ext.cluster.steps import GPU
from nnactive_ext.cluster.under_way import noted
from nnactive_ext.errors import NnActiveError


@dataclass(frozen=True)
class Place:
    """A benchmark, as runners see it: what they ask of an experiment. It has no dataset, so its ``number`` is none's."""

    results: Path
    number: int = 0
    state: Mapping[str, int] = field(default_factory=lambda: {"cycle": 0})

    @property
    def name(self) -> str:
        return self.results.name


@dataclass(frozen=True, eq=False)
class OneExperiment:
    """All that is left of an experiment, as one process carries it out; for runners, it is a step."""

    run: Run
    needs: str = GPU

    @property
    def name(self) -> str:
        return self.run.folder

    @property
    def words(self) -> str:
        return self.name

    def log(self, place: Place) -> Path:
        return place.results / "logs" / f"{self.name}.log"

    def is_done(self, place: Place) -> bool:
        """It has reached its last cycle, or the file that says why it has not is there."""
        return is_complete(self.run) or bool(Outcomes(place.results).of([self.run]))

    is_visible = is_done


def run_one(name: str, runs: Sequence[Run], how: How, place: Place) -> None:
    """Run the experiment called ``name``, or the start of that name, in this process.

    Raises:
        NnActiveError: the benchmark has no such experiment.
    """
    found = [run for run in [*starts_of(runs), *runs] if run.folder == name]
    if not found:
        raise NnActiveError(f"{name}: the benchmark {how.benchmark} has no such experiment. Its file was changed meanwhile.")
    with noted(cast(Any, place), OneExperiment(found[0])):
        run_all(found, how, Outcomes(place.results))


def run_on_workers(runs: Sequence[Run], runner: OnWorkers, how: How, place: Place) -> None:
    """Run the experiments of a benchmark side by side, after the starts that they share.

    One that fails does not keep the others from running, except those that share its start. Failures are noted.

    Args:
        runs: the experiments.
        runner: its workers carry out one experiment each at a time.
        how: of the experiments that are complete, which this process checks; the others are run as the runner was told.
        place: the benchmark.
    """
    outcomes = Outcomes(place.results)
    complete = [run for run in runs if is_complete(run)]
    run_all(complete, how, outcomes)  # does no more than compare them with the benchmark's file
    left = [run for run in runs if run not in complete]
    starts = [start for start in starts_of(left) if not is_complete(start)]
    _carry_out([*starts, *(run for run in left if not run.start)], runner, outcomes, place, how.say)
    why = {outcome.folder: outcome.why for outcome in outcomes.of(starts)}
    ready = []
    for run in left:
        if run.start and is_complete(run.start):
            ready.append(run)
        elif run.start:
            outcomes.note(run, True, why.get(run.start.folder, f"{run.start.folder} is not complete."))
    _carry_out(ready, runner, outcomes, place, how.say)


def _carry_out(runs: Sequence[Run], runner: OnWorkers, outcomes: Outcomes, place: Place, say: Callable[[str], None]) -> None:
    for run in runs:
        outcomes.forget(run)
    begun: list[str] = []

    def begins(task: OneExperiment) -> None:
        begun.append(task.name)
        say(f"[{len(begun)} of {len(runs)}] {task.name}")

    tasks = [OneExperiment(run) for run in runs]
    try:
        runner.run(cast(Any, place), tasks, begins)
    except NnActiveError as error:  # of processes that did not come to note why
        for task in tasks:
            if not task.is_done(place):
                outcomes.note(task.run, True, f"{error}\nSee {task.log(place)}.")
