"""What the rest of a roll-out costs: its later cycles at the pace of the earlier ones, where that was measured."""

from __future__ import annotations

from collections import Counter
from statistics import median

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import read_results
from nnactive_ext.experiment.timing import QUERY, TRAIN, read_times
from nnactive_ext.labelling.answers import CountingAnswers, status_of
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.minutes import Measured
from nnactive_ext.labelling.tasks import tasks_of
from nnactive_ext.planning.cost import Cost, estimate
from nnactive_ext.planning.hours import Hours, member_hours
from nnactive_ext.planning.options import options, planned_value
from nnactive_ext.planning.settings import Settings
from nnactive_ext.words import count


def remaining(experiment: Experiment, measured: Measured | None, counted: CountingAnswers | None = None) -> Cost | None:
    """The cost of what is left of the plan: tasks that are not done, later queries, and the trainings of later cycles.

    Args:
        experiment: a roll-out.
        measured: how long annotation took so far (:func:`nnactive_ext.labelling.minutes.measured`); None: the plan's minutes
            per patch are used.
        counted: the ledger, for whoever has read it already.

    Returns:
        The cost; None where no patch is left to annotate.
    """
    plan = experiment.plan
    patches = _open_tasks(experiment, counted) + (plan.cycles - 1 - max(experiment.last_loop, 0)) * plan.query_size
    if patches <= 0:
        return None
    voxels, pool = plan.voxels
    minutes, minutes_why = _setting(experiment, "minutes_per_patch"), ""
    if measured:
        minutes = measured.patches.median
        minutes_why = f"median {minutes:.2g} min of {count(measured.patches.patches, 'measured patch', 'measured patches')}"
    hours, queries = _hours(experiment), max(0, plan.cycles - 1 - max(experiment.last_loop, 0))
    return estimate(
        patches,
        round(voxels),
        pool,
        max(1, plan.cycles - len(read_results(experiment.results))),
        plan.folds,
        minutes,
        hours.value,
        _setting(experiment, "expert_rate"),
        _setting(experiment, "machine_rate"),
        hours.why,
        minutes_why,
        queries * _query_hours(experiment),
    )


def _open_tasks(experiment: Experiment, counted: CountingAnswers | None) -> int:
    """Tasks of cycles that are not closed, and that are not done."""
    ledger, ignore = Ledger(experiment.annotation), experiment.dataset.labels.ignore
    counted = CountingAnswers.of(ledger) if counted is None else counted
    cycles = range(experiment.state["cycle"] + 1, experiment.last_loop + 1)
    tasks = [task for cycle in cycles for task in tasks_of(experiment, cycle)]
    return sum(status_of(ledger, counted, task.id, ignore) != "done" for task in tasks)


def _query_hours(experiment: Experiment) -> float:
    """Of a query, as the queries so far; 0 where there was none."""
    found: Counter[int] = Counter()
    for line in read_times(experiment):
        if line["step"] in QUERY:
            found[line["cycle"]] += line["seconds"]
    return median(found.values()) / 3600 if found else 0.0


def _hours(experiment: Experiment) -> Hours:
    """To train one member: as the trainings so far, else as asked for or assumed when it was planned."""
    trainings = [float(line["seconds"]) for line in read_times(experiment) if line["step"] == TRAIN]
    if trainings:
        return Hours(median(trainings) / 3600, f"median of {count(len(trainings), 'training')}")
    asked = planned_value(experiment.plan, "training_hours")
    return Hours(asked, "as asked for") if asked is not None else member_hours(experiment.plan, experiment.dataset.json)


def _setting(experiment: Experiment, name: str) -> float:
    default = next(one.default for one, _ in options(Settings) if one.name == name)
    return float(planned_value(experiment.plan, name, default))
