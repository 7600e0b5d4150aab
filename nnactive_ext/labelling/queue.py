"""The tasks of an experiment, from its loop files."""

from __future__ import annotations

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.files import read_json
from nnactive_ext.labelling.tasks import Task


def tasks_of(experiment: Experiment, cycle: int) -> list[Task]:
    """The tasks of one cycle, numbered from 1 as its loop file lists them; those in dropped cases are left out."""
    file = loop_file(experiment.raw, cycle)
    patches = read_loop(file, experiment.dataset.file_ending)
    experiment.plan.check(patches, file)
    content = read_json(file)
    tasks = []
    for number, (patch, facts) in enumerate(zip(patches, content["patches"], strict=True), start=1):
        if patch.case in experiment.plan.pool:
            score = facts.get("score")
            tasks.append(
                Task(
                    f"c{cycle:03d}_{number:03d}_{patch.case}",
                    cycle,
                    number,
                    patch,
                    str(facts.get("stratum", "")),
                    float(score) if score is not None else None,
                    str(facts.get("method") or content.get("method", "")),
                )
            )
    return tasks


def all_tasks(experiment: Experiment) -> list[Task]:
    return [task for cycle in range(experiment.last_loop + 1) for task in tasks_of(experiment, cycle)]


def find_task(experiment: Experiment, name: str) -> Task:
    """A task by its id, or by the beginning of it that no other has (``c001_003``)."""
    found = [task for task in all_tasks(experiment) if task.id == name or task.id.startswith(f"{name}_")]
    if len(found) != 1:
        raise NnActiveError(f"{experiment.name} has no task {name!r}. nnactive_status -d {experiment.number} lists them.")
    return found[0]
