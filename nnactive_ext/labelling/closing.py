"""Closing a cycle's annotation: what people handed in becomes the labels that are trained on next; later corrections too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import hand_in
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import RAW, NewFile
from nnactive_ext.files import read_json_if_any, write_json
from nnactive_ext.labelling.answers import Answer, CountingAnswers, status_of
from nnactive_ext.labelling.dropping import annotated_cases, follow_verdicts
from nnactive_ext.labelling.given import given_cases
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.prepare import prepare
from nnactive_ext.labelling.relabel import annotate_cycle, relabel, write_labels
from nnactive_ext.labelling.tasks import Task, tasks_of


class TasksOpen(NnActiveError):
    """Too few tasks of the cycle are done to train on them."""


def close_cycle(experiment: Experiment, cycle: int, share: float | None = None, progress: bool = True) -> tuple[str, ...]:
    """End the annotation of a cycle: answers become partial labels, and training can begin.

    When the first cycle is closed, nnU-Net also plans and preprocesses: only then there are labelled voxels to measure.

    Args:
        experiment: a roll-out.
        cycle: the cycle to close.
        share: the share (0 to 1) of its tasks that must be done (default: the plan's).
        progress: show progress bars.

    Returns:
        Warnings.

    Raises:
        TasksOpen: fewer tasks are done, or fewer than two cases have annotated voxels; nothing is changed then.
    """
    _check_share(experiment, cycle, experiment.plan.share if share is None else share)
    if cycle > 0:
        apply_corrections(experiment, [], progress)
        return annotate_cycle(experiment.anew(), cycle, progress)  # cases may have left the pool
    tasks = tasks_of(experiment, 0)
    _check_annotated(experiment, _answered(experiment, tasks), tasks)
    # All others are blank since the experiment was made.
    cases = sorted({task.patch.case for task in tasks} | set(given_cases(experiment)))
    counts = write_labels(experiment, 0, cases, progress)
    # Answers that contradict each other may leave nothing of what was annotated.
    _check_annotated(experiment, {case for case, voxels in counts.items() if voxels}, tasks)
    _, warnings = prepare(experiment, counts, progress)
    seen = {label for voxels in counts.values() for label in voxels}
    absent = [name for label, name in experiment.dataset.labels.foreground.items() if label not in seen]
    if absent:
        warnings = (
            *warnings,
            f"Nothing is annotated as {', '.join(absent)}: the models cannot find it yet. Mark points of it.",
        )
    return warnings


@dataclass(frozen=True)
class Share:
    """How far the ``tasks`` of a cycle are: ``done`` and ``partial`` of them; training waits for ``wanted``."""

    cycle: int
    tasks: int
    done: int
    partial: int
    wanted: int

    @property
    def enough(self) -> bool:
        return self.done >= self.wanted


def share_done(experiment: Experiment) -> Share | None:
    """How far the tasks of the first open cycle of a roll-out are, by the plan's share; None where no cycle is open."""
    cycle = experiment.state["cycle"] + 1
    if not experiment.plan.human or experiment.last_loop < cycle:
        return None
    return _share(experiment, cycle, experiment.plan.share)


def too_few_cases(experiment: Experiment, cycle: int) -> str:
    """Why the answers to a cycle's tasks cannot be trained on, whatever their share; empty if they can."""
    if cycle > 0:
        return ""
    tasks = tasks_of(experiment, 0)
    try:
        _check_annotated(experiment, _answered(experiment, tasks), tasks)
    except TasksOpen as error:
        return str(error)
    return ""


def _share(experiment: Experiment, cycle: int, share: float) -> Share:
    tasks, ledger, ignore = tasks_of(experiment, cycle), Ledger(experiment.annotation), experiment.dataset.labels.ignore
    counted = CountingAnswers.of(ledger)
    status = [status_of(ledger, counted, task.id, ignore) for task in tasks]
    wanted = math.ceil(share * len(tasks) - 1e-9)
    return Share(cycle, len(tasks), status.count("done"), status.count("partial"), wanted)


def _check_share(experiment: Experiment, cycle: int, share: float) -> None:
    found = _share(experiment, cycle, share)
    if not found.enough:
        possible = f"{math.floor(100 * found.done / found.tasks) / 100:g}"
        commands = experiment.commands
        raise TasksOpen(
            f"Cycle {cycle} of {experiment.name}: {found.done} of {found.tasks} tasks are done, {found.partial} partly; "
            f"training waits for {found.wanted}.\nTo go on, annotate in the browser: {commands.serve}\n"
            f"With another viewer: {commands.export(cycle > 0)}, annotate, then {hand_in(commands.number)}\n"
            f"Or train on what there is: {commands.annotate('close', '-share', possible)}"
        )


def _answered(experiment: Experiment, tasks: Sequence[Task]) -> set[str]:
    """Cases with a label map from the start, or an answer that says more than ``ignore``."""
    counted = CountingAnswers.of(Ledger(experiment.annotation))
    said = {task.patch.case for task in tasks if any(a.unsure < a.voxels for a in counted.counting(task.id))}
    return said | set(given_cases(experiment))


def _check_annotated(experiment: Experiment, cases: set[str], tasks: Sequence[Task]) -> None:
    if len(cases) < 2:
        raise TasksOpen(
            f"{len(cases)} case(s) of {experiment.name} have annotated voxels; training needs 2 or more. "
            + ("Annotate tasks in other cases first." if tasks else "Give label maps, or a starting budget.")
        )


def check_withdrawal(experiment: Experiment, answer: Answer) -> None:
    """Taking an answer of a closed cycle back must leave enough to train on."""
    event = {"what": "withdraw", "task": answer.task, "withdrawn": answer.event}
    left = annotated_cases(experiment, CountingAnswers.of(Ledger(experiment.annotation), [event]))
    if len(left) < 2:
        raise NnActiveError(
            f"{answer.task}: without the answer of {answer.who} {len(left)} case(s) have annotated voxels; training needs 2. "
            "Hand in another answer instead."
        )


def apply_corrections(experiment: Experiment, cases: list[str], progress: bool = True) -> tuple[str, ...]:
    """Labels, and places in the pool, of cases whose answers or verdicts changed after their cycle was closed, and of those
    noted before; returns warnings."""
    concerned = list(dict.fromkeys([*cases, *noted(experiment)]))
    if not concerned:
        return ()
    warnings = follow_verdicts(experiment, progress)
    experiment = experiment.anew()
    cycle, cases = experiment.state["cycle"], [case for case in concerned if case in experiment.plan.pool]
    warnings += relabel(experiment, cycle, cases, progress) if cases and cycle >= 0 else ()
    strike(experiment)
    return warnings


def follow_noted(experiment: Experiment, progress: bool = True) -> tuple[str, ...]:
    """Let verdicts that a killed command, or one during a run, left behind decide who is in the pool; returns warnings.

    A change of the pool counts on it: another case that leaves could leave too little to train on. Labels follow with
    :func:`apply_corrections`.
    """
    return follow_verdicts(experiment, progress) if experiment.plan.human and noted(experiment) else ()


def _file(experiment: Experiment) -> Path:
    return experiment.annotation / "corrections.json"


def noted(experiment: Experiment) -> list[str]:
    """Cases whose labels are to be written anew: a process was killed, or failed, between an answer and its labels."""
    return read_json_if_any(_file(experiment), [], list[str])


def note(experiment: Experiment, cases: Iterable[str]) -> None:
    """Before a ledger event on a task of a closed cycle; a note without such an event costs time only."""
    for file in noting(experiment, cases):
        write_json(_file(experiment), file.content)


def noting(experiment: Experiment, cases: Iterable[str]) -> tuple[NewFile, ...]:
    """:func:`note` as a file of a journal; none where the cases are noted already."""
    cases, before = set(cases), set(noted(experiment))
    if cases <= before:
        return ()
    experiment.annotation.mkdir(exist_ok=True)
    return (NewFile(RAW, _file(experiment).relative_to(experiment.raw).as_posix(), sorted(cases | before)),)


def strike(experiment: Experiment) -> None:
    """All labels follow the answers now."""
    _file(experiment).unlink(missing_ok=True)
