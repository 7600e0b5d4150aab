"""Carries out one step of a cycle in this process, and the runner that does so with one step after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from nnactive_ext.cluster.steps import EVALUATE, FINISH, TRAIN, Step
from nnactive_ext.cluster.under_way import noted, others_end
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.timing import Timing
from nnactive_ext.members.evaluation import evaluate
from nnactive_ext.members.tools import Tools
from nnactive_ext.nnunet.trainers import check_trainer
from nnactive_ext.querying.query import query_cycle


class Runner(Protocol):
    """Carries out steps that are independent of each other, in whatever order and wherever it likes."""

    @property
    def parts(self) -> int:
        """In how many parts evaluation and scoring are shared; 1: they are not, and the caller carries them out."""
        ...

    def run(self, experiment: Experiment, steps: Sequence[Step], begins: Callable[[Step], None]) -> None:
        """Return when all ``steps`` are done. ``begins`` is called when one begins.

        Raises:
            NnActiveError: a step failed; the others have ended.
        """
        ...


@dataclass(frozen=True)
class OneByOne:
    """This process carries out one step after another: the default, with which all other runners are compared."""

    tools: Tools
    parts: int = 1
    accumulators: str = "single"

    def run(self, experiment: Experiment, steps: Sequence[Step], begins: Callable[[Step], None]) -> None:
        for step in steps:
            begins(step)
            carry_out(experiment, step, self.tools, self.accumulators)


def carry_out(experiment: Experiment, step: Step, tools: Tools, accumulators: str = "single", progress: bool = False) -> None:
    """Carry out a step that others have been waiting for; what is done already is not repeated, and another process that
    carries it out is waited for.

    Args:
        experiment: the steps before this one are done.
        step: anything but the last step of a cycle.
        tools: what trains members and opens them for prediction.
        accumulators: see :class:`nnactive_ext.members.statistics.RunningStatistics`.
        progress: show progress bars.

    Raises:
        NnActiveError: the step failed, or a step before it is not done.
    """
    if step.kind == FINISH:
        raise ValueError("the last step of a cycle belongs to the loop")
    if step.is_done(experiment):
        return
    if step.kind == TRAIN:
        check_trainer(experiment.plan.trainer)  # before anything is written
    others_end(experiment, step)
    if step.is_done(experiment):
        return
    with noted(experiment, step):
        _carry_out(experiment, step, tools, accumulators, progress)


def _carry_out(experiment: Experiment, step: Step, tools: Tools, accumulators: str, progress: bool) -> None:
    folds, cycle, parts = experiment.folds(), experiment.state["cycle"], (step.index, step.parts)
    if step.kind == TRAIN:
        if step.index not in folds:
            raise NnActiveError(f"{step.name}: {experiment.name} has the folds {folds[0]} to {folds[-1]}.")
        with Timing(experiment, cycle).of("train"):
            tools.train(experiment, step.index)
    elif step.kind == EVALUATE:
        with Timing(experiment, cycle).of("evaluate"):
            evaluate(experiment, partial(tools.open_ensemble, experiment), folds, progress, parts)
    else:
        query_cycle(experiment, tools.open_ensemble, folds, parts=parts, progress=progress, accumulators=accumulators)
