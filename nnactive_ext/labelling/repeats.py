"""Tasks that are asked again (``-repeat``), to see how far people agree with themselves and with each other.

The answer to a repeated task changes no label. Nothing in a repeated task says that it is one, and it starts blank. A verdict
on it is one on its patch: the first task and the repeated one are done then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.labelling.agreement import agreement
from nnactive_ext.labelling.answers import CountingAnswers, read_answer, status_of
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_tasks, repeats_of
from nnactive_ext.labelling.votes import Vote
from nnactive_ext.randomness import generator
from nnactive_ext.words import count

REPEAT = "repeat"
"""In the settings of a plan: repeated tasks, as a share of the patches of a query."""


def draw_repeats(experiment: Experiment, patches: int) -> list[str]:
    """Choose earlier tasks to ask again beside a query.

    Args:
        experiment: a roll-out, before the loop file of the query is written.
        patches: the patches of the query; the plan's share of them, rounded up, is drawn.

    Returns:
        Ids of tasks of closed cycles that are done and were not repeated before, drawn evenly, sorted. None where the plan says
        nothing of repeats.
    """
    share, cycle = float(experiment.plan.settings.get(REPEAT, 0.0)), experiment.state["cycle"]
    if not (experiment.plan.human and share > 0):
        return []
    before = {task.repeats for one in range(experiment.last_loop + 1) for task in repeats_of(experiment, one)}
    ledger, ignore = Ledger(experiment.annotation), experiment.dataset.labels.ignore
    counted = CountingAnswers.of(ledger)
    done = [
        task.id
        for task in all_tasks(experiment)
        if task.cycle <= cycle
        and task.id not in before
        and counted.counting(task.id)
        and status_of(ledger, counted, task.id, ignore) == "done"
    ]
    number = min(len(done), math.ceil(share * patches - 1e-9))
    return sorted(generator(experiment.plan.seed, cycle, REPEAT).choice(sorted(done), number, replace=False).tolist())


def verdict_on(counted: CountingAnswers, task: Task) -> Vote | None:
    """The verdict by which the patch of a task, also of a repeated one, or all of its case, counts as irrelevant."""
    return counted.opinions.against(task.repeats or task.id)


def status_asked(ledger: Ledger, counted: CountingAnswers, task: Task, ignore: int) -> str:
    """:func:`nnactive_ext.labelling.answers.status_of`; a repeated task is done, too, once its patch is irrelevant."""
    return "done" if verdict_on(counted, task) else status_of(ledger, counted, task.id, ignore)


@dataclass
class Rated:
    """Dice per class between two answers to one patch; NaN where neither has the class. ``pairs``: of answers."""

    pairs: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, dice: Mapping[str, float]) -> None:
        self.pairs += 1
        for name, value in dice.items():
            self.values.setdefault(name, []).extend([] if math.isnan(value) else [value])

    @property
    def dice(self) -> dict[str, float | None]:
        """The mean over pairs; None for a class that no pair has."""
        return {name: float(np.mean(found)) if found else None for name, found in self.values.items()}


@dataclass(frozen=True)
class Raters:
    """``repeated`` tasks of which ``answered`` were; ``intra``: one person's answers to a task and to its repeat; ``inter``:
    the answers of different people to one patch, whether it was repeated or not."""

    repeated: int
    answered: int
    intra: Rated
    inter: Rated

    @property
    def facts(self) -> dict[str, Any]:
        """As ``nnactive_status --json`` prints them; empty where nothing was repeated and nothing answered twice."""
        if not (self.repeated or self.inter.pairs):
            return {}
        both = {"intra": self.intra, "inter": self.inter}
        return {
            "repeated": self.repeated,
            "answered": self.answered,
            **{name: {"pairs": one.pairs, "dice": one.dice} for name, one in both.items()},
        }


def raters(experiment: Experiment) -> Raters:
    """How far people agree with themselves and with each other, on voxels that both of two answers annotate.

    Each person's last answer to a task counts.
    """
    ledger, labels = Ledger(experiment.annotation), experiment.dataset.labels
    counted = CountingAnswers.of(ledger)
    repeats = [task for cycle in range(experiment.last_loop + 1) for task in repeats_of(experiment, cycle)]
    again = {task.repeats: task.id for task in repeats}
    intra, inter = Rated(), Rated()
    for task in all_tasks(experiment):
        answers = [*counted.answers.get(task.id, ()), *counted.answers.get(again.get(task.id, ""), ())]
        if len(answers) < 2:
            continue
        said = [read_answer(ledger, counted, answer) for answer in answers]
        for i, j in combinations(range(len(answers)), 2):
            of = intra if answers[i].who == answers[j].who else inter
            of.add(agreement((said[i], said[j]), labels.classes, labels.ignore))
    return Raters(len(repeats), sum(bool(counted.answers.get(task.id)) for task in repeats), intra, inter)


def rater_lines(facts: Mapping[str, Any]) -> list[str]:
    """What :attr:`Raters.facts` say, in sentences."""
    if not facts:
        return []
    lines = [f"Repeated tasks: {facts['answered']} of {facts['repeated']} answered"] if facts["repeated"] else []
    for kind, words in (("intra", "The same person again"), ("inter", "Different people")):
        if pairs := facts[kind]["pairs"]:
            dice = facts[kind]["dice"].items()
            shown = ", ".join(f"{name} {'-' if value is None else format(value, '.2f')}" for name, value in dice)
            lines.append(f"{words}: {kind}-rater Dice of {count(pairs, 'pair')} of answers: {shown}")
    return lines
