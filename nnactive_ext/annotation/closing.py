"""Closing a cycle's annotation: what people handed in becomes the labels that are trained on next."""

from __future__ import annotations

import math

from nnactive_ext.annotate import annotate_cycle, relabel, write_labels
from nnactive_ext.annotation.answers import Book
from nnactive_ext.annotation.given import given_cases
from nnactive_ext.annotation.ledger import Ledger
from nnactive_ext.annotation.queue import tasks_of
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import Experiment
from nnactive_ext.prepare import prepare


class TasksOpen(NnActiveError):
    """Too few tasks of the cycle are done to train on them."""


def close_cycle(experiment: Experiment, cycle: int, share: float | None = None, progress: bool = True) -> tuple[str, ...]:
    """Put the labels of ``cycle`` in place; returns warnings. Fewer done tasks than ``share`` (default: the plan's)
    raise :class:`TasksOpen`, as does a pool with fewer than two annotated cases, before anything is changed.

    The first cycle is also when nnU-Net plans and preprocesses: only now there are labelled voxels to measure.
    """
    _check_share(experiment, cycle, experiment.plan.share if share is None else share)
    if cycle > 0:
        return annotate_cycle(experiment, cycle, progress)
    tasks = tasks_of(experiment, 0)
    # All others are blank since the experiment was made.
    cases = sorted({task.patch.case for task in tasks} | set(given_cases(experiment)))
    counts = write_labels(experiment, 0, cases, progress)
    annotated = [case for case, voxels in counts.items() if voxels]
    if len(annotated) < 2:
        raise TasksOpen(
            f"{len(annotated)} case(s) of {experiment.name} have annotated voxels; training needs 2 or more. "
            + ("Annotate tasks in other cases first." if tasks else "Give label maps, or a starting budget.")
        )
    plan, warnings = prepare(experiment, counts, progress)
    if plan != experiment.plan:
        plan.write(experiment.raw)
    seen = {label for voxels in counts.values() for label in voxels}
    absent = [name for label, name in experiment.dataset.labels.foreground.items() if label not in seen]
    if absent:
        warnings = (
            *warnings,
            f"Nothing is annotated as {', '.join(absent)}: the models cannot find it yet. Mark points of it.",
        )
    return warnings


def _check_share(experiment: Experiment, cycle: int, share: float) -> None:
    tasks, book = tasks_of(experiment, cycle), Book.of(Ledger(experiment.annotation))
    status = [book.status(task.id) for task in tasks]
    done, wanted = status.count("done"), math.ceil(share * len(tasks) - 1e-9)
    if done < wanted:
        number = int(experiment.name[7:10])
        raise TasksOpen(
            f"Cycle {cycle} of {experiment.name}: {done} of {len(tasks)} tasks are done, {status.count('partial')} partly; "
            f"training waits for {wanted}.\nNext: nnactive_annotate export -d {number}, annotate, then nnactive_annotate "
            f"import -d {number} FOLDER; or train on what there is: nnactive_annotate close -d {number} -share "
            f"{math.floor(100 * done / len(tasks)) / 100:g}"
        )


def apply_corrections(experiment: Experiment, cases: list[str], progress: bool = True) -> tuple[str, ...]:
    """Labels of cases whose answers changed after their cycle was closed; returns warnings."""
    cycle = experiment.state["cycle"]
    cases = [case for case in dict.fromkeys(cases) if case in experiment.plan.pool]
    return relabel(experiment, cycle, cases, progress) if cases and cycle >= 0 else ()
