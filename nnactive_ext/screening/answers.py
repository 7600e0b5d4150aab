"""A second look at answers: annotated patches by how much members that were not trained on them disagree with the answer."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import ALL, Fold
from nnactive_ext.files import write_text
from nnactive_ext.labelling.answers import CountingAnswers, labels_of
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_tasks
from nnactive_ext.labelling.votes import Statement
from nnactive_ext.members.cross_validation import held_out_cases
from nnactive_ext.members.ensemble import Members
from nnactive_ext.members.out_of_fold import risk_of
from nnactive_ext.members.prediction import Predictor
from nnactive_ext.metrics.overlap import dice_per_case
from nnactive_ext.pages.terminal import table
from nnactive_ext.screening.files import screening_folder
from nnactive_ext.words import cells, count, text_of_cell

MOST = 10
"""Tasks in the queue for a second look."""
_SHOWN = ("task", "disagreement", "differing", "class", "by")


@dataclass(frozen=True)
class Compared:
    """An answer to a ``task`` beside the prediction of members that were not trained on it.

    ``disagreement``: 1 - mean Dice over the classes that the answer or the prediction has, 0 to 1. ``differing``: of the
    ``voxels`` that are annotated. ``worst``: the class with the lowest Dice, empty where none has one. ``folds``: those of the
    members. ``who``: the people whose answer counts; nobody in a simulation. ``event``: the number in the ledger of the last
    answer to the task or verdict on it, whether or not it counts; -1 in a simulation.
    """

    task: str
    case: str
    cycle: int
    disagreement: float
    worst: str
    differing: int
    voxels: int
    folds: str
    who: str
    event: int


@dataclass(frozen=True)
class Answers:
    """``compared``: the strangest first. ``left_out``: tasks with an answer that all members were trained on."""

    compared: tuple[Compared, ...]
    left_out: int


def compare_answers(
    experiment: Experiment,
    open_ensemble: Callable[[Sequence[Fold]], Members],
    folds: Sequence[Fold],
    progress: bool = True,
) -> Answers:
    """Compare each answer with what members predict that were not trained on it; nothing is changed.

    In cycles that members were trained on, these are the members in whose fold the case of the patch is not a training case;
    the labels in place count. Answers to the open cycle are younger than all members, so all of them predict these patches.
    In a simulation the labels in place are the simulated answers; no other reference label is read.

    Args:
        experiment: its members of the current cycle are trained.
        open_ensemble: gives the members of some folds.
        folds: the folds whose members are asked.
        progress: show a progress bar.

    Returns:
        All tasks that could be compared, by falling disagreement, then by differing voxels, then by name.

    Raises:
        NnActiveError: a member is missing, or logits are no numbers.
    """
    labels, dataset = experiment.dataset.labels, experiment.dataset
    answers = _Given(experiment)
    held_out = {} if ALL in folds else held_out_cases(experiment, [int(fold) for fold in folds])[0]
    asked: list[tuple[Sequence[Fold], list[Task]]] = [
        ([fold], [task for case in cases for task in answers.closed.get(case, ())]) for fold, cases in held_out.items()
    ]
    left_out = sum(map(len, answers.closed.values())) - sum(len(tasks) for _, tasks in asked)
    asked += [(folds, answers.open)] if answers.open else []
    found: list[Compared] = []
    with tqdm(desc="Comparing answers", total=sum(len(tasks) for _, tasks in asked), disable=not progress) as bar:
        for of, tasks in asked:
            predict = Predictor(experiment, partial(open_ensemble, of))
            in_place: tuple[str, np.ndarray] = ("", np.empty(0))
            for task in sorted(tasks, key=lambda one: one.patch):
                if task.cycle <= experiment.state["cycle"] and in_place[0] != task.patch.case:
                    in_place = (task.patch.case, dataset.label_map(task.patch.case))
                answer = answers.to(task) if task.cycle > experiment.state["cycle"] else in_place[1][task.patch.slices]
                if (answer != labels.ignore).any():
                    found.append(_compared(task, answer, predict(task.patch), labels.classes, labels.ignore, of, answers))
                bar.update()
    return Answers(tuple(sorted(found, key=lambda one: (-one.disagreement, -one.differing, one.task))), left_out)


class _Given:
    """The tasks that have an answer: ``closed`` ones by case, and those of the ``open`` cycle."""

    def __init__(self, experiment: Experiment):
        self._ledger, self._ignore = Ledger(experiment.annotation), experiment.dataset.labels.ignore
        self._counted = CountingAnswers.of(self._ledger)
        self.closed: dict[str, list[Task]] = {}
        self.open: list[Task] = []
        for task in all_tasks(experiment):
            if experiment.plan.human and not self._counted.counting(task.id):
                continue
            if task.cycle <= experiment.state["cycle"]:
                self.closed.setdefault(task.patch.case, []).append(task)
            elif experiment.plan.human:
                self.open.append(task)

    def to(self, task: Task) -> np.ndarray:
        """What counts for the patch of a task, (z, y, x)."""
        answer = labels_of(self._ledger, self._counted, task.id, self._ignore)
        assert answer is not None, f"{task.id} has an answer that counts"
        return answer

    def by(self, task: Task) -> tuple[str, int]:
        """Whose answer it is, and the number of the last event about the task."""
        people = ", ".join(answer.who for answer in self._counted.counting(task.id))
        return people, _last_said(self._counted, task.patch.case, task.id)


def _compared(
    task: Task,
    answer: np.ndarray,
    predicted: np.ndarray,
    classes: Mapping[str, Sequence[int]],
    ignore: int,
    folds: Sequence[Fold],
    answers: _Given,
) -> Compared:
    known = answer != ignore
    dice = dice_per_case(predicted, answer, classes, ignore)
    there = {name: value for name, value in dice.items() if not math.isnan(value)}
    who, event = answers.by(task)
    return Compared(
        task=task.id,
        case=task.patch.case,
        cycle=task.cycle,
        disagreement=risk_of(dice),
        worst=min(there, key=lambda name: there[name]) if there else "",
        differing=int((predicted != answer)[known].sum()),
        voxels=int(known.sum()),
        folds=" ".join(map(str, folds)),
        who=who,
        event=event,
    )


def answers_file(experiment: Experiment) -> Path:
    """The table of the answers as members of the current cycle see them."""
    return screening_folder(experiment) / f"answers_cycle_{experiment.state['cycle']:03d}.csv"


def write_answers(experiment: Experiment, found: Answers) -> Path:
    """Write all rows, in their order. The queues for a second look are made of them.

    Args:
        experiment: that of the answers.
        found: by :func:`compare_answers`.

    Returns:
        The file, a table (CSV).
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Compared))
    for one in found.compared:
        writer.writerow(cells(f"{value:.5f}" if isinstance(value, float) else value for value in vars(one).values()))
    file = answers_file(experiment)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, text.getvalue())
    return file


def read_answers(experiment: Experiment) -> list[Compared]:
    """The rows of the newest comparison.

    Args:
        experiment: whose ``nnactive_screen --answers`` wrote it.

    Returns:
        In their order; none where there is no comparison.

    Raises:
        NnActiveError: the file is damaged.
    """
    files = sorted(screening_folder(experiment).glob("answers_cycle_*.csv"))
    return list(_rows(files[-1])) if files else []


def _rows(file: Path) -> Iterator[Compared]:
    kinds: dict[str, Callable[[str], Any]] = {
        "cycle": int,
        "disagreement": float,
        "differing": int,
        "voxels": int,
        "event": int,
    }
    try:
        with open(file, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                yield Compared(
                    **{field.name: kinds.get(field.name, text_of_cell)(row[field.name]) for field in fields(Compared)}
                )
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise NnActiveError(f"{file}: damaged ({error!r}). Write it anew with nnactive_screen --answers.") from None


def second_looks(experiment: Experiment, most: int = MOST) -> dict[str, Compared]:
    """The tasks of the queue for a second look: those that differ from the prediction.

    A task leaves the queue when somebody answers it again, whatever the answer, or gives a verdict on it, and when its answer
    is taken back. A label map that was wrong is corrected by a person or not at all.

    Args:
        experiment: any; the queue of a simulation is empty.
        most: the length of the queue, at most.

    Returns:
        Task id -> what was compared, in the order of the queue.
    """
    if not experiment.plan.human:
        return {}
    counted = CountingAnswers.of(Ledger(experiment.annotation))
    known = {task.id for task in all_tasks(experiment)}
    left = [one for one in read_answers(experiment) if one.differing and one.task in known and _still_counts(counted, one)]
    return {one.task: one for one in left[:most]}


def _still_counts(counted: CountingAnswers, one: Compared) -> bool:
    return bool(counted.counting(one.task)) and _last_said(counted, one.case, one.task) == one.event


def _last_said(counted: CountingAnswers, case: str, task: str) -> int:
    """The number of the last event about a task, an answer or a verdict that was not taken back; -1 without any."""
    said: list[Statement] = [*counted.answers.get(task, ()), *counted.opinions.votes.get((case, task), ())]
    return max((one.event for one in said), default=-1)


def note_of(one: Compared) -> str:
    """Why a task is in the queue, in a sentence."""
    return (
        f"Second look: members that were not trained on this answer differ from it in {one.differing / one.voxels:.0%} of the "
        f"voxels (1 - mean Dice {one.disagreement:.2f}{f', most in {one.worst}' if one.worst else ''})."
    )


def answers_text(experiment: Experiment, found: Answers, file: Path) -> str:
    """What ``nnactive_screen --answers`` prints: the strangest answers, the file, and what to do with them."""
    lines = [f"{count(len(found.compared), 'answer')} compared with members that were not trained on them."]
    if found.left_out:
        lines.append(
            f"{count(found.left_out, 'answer')} could not be compared: all members were trained on them (docs/members.md says "
            "which members leave cases out)."
        )
    if shown := [one for one in found.compared if one.differing][:MOST]:
        rows = [
            (one.task, f"{one.disagreement:.2f}", f"{one.differing / one.voxels:.0%}", one.worst, one.who or "reference")
            for one in shown
        ]
        lines += [table([_SHOWN, *rows])]
    lines.append(f"All of them: {file}")
    if shown and experiment.plan.human:
        lines.append(f"To look at them again: {experiment.commands.serve}. Nothing is changed by itself.")
    return "\n".join(lines)
