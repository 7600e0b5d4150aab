"""The steps of a cycle as data: which are open, what each needs, and which file says that it is done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.evaluating import has_scores, inferences, patches_lacking
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.marks import is_trained
from nnactive_ext.experiment.result import CycleResult, result_file
from nnactive_ext.members.case_scores import CROSS_VALIDATION, cases_folder
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import RankedMethod
from nnactive_ext.querying.query import CANDIDATES

TRAIN, EVALUATE, SCORE, FINISH = KINDS = ("train", "evaluate", "score", "finish")
"""Train a member; evaluate a share of the test cases; score a share of the pool; merge, choose and annotate."""
GPU, CPU = "gpu", "cpu"


def log_of(experiment: Experiment, name: str) -> Path:
    """A log among those of the current cycle."""
    return experiment.results / f"cycle_{experiment.state['cycle']:03d}" / name


@dataclass(frozen=True)
class Step:
    """``index``: a fold, or the part of ``parts`` that a step works on. Steps of one kind are independent of each other."""

    kind: str
    index: int = 0
    parts: int = 1

    @property
    def name(self) -> str:
        """As ``nnactive_run -step`` takes it."""
        if self.kind == FINISH:
            return FINISH
        return f"{self.kind}_{self.index}" + (f"_of_{self.parts}" if self.kind != TRAIN else "")

    @property
    def needs(self) -> str:
        """What a process needs to carry it out, where networks run on a GPU."""
        return CPU if self.kind == FINISH else GPU

    @property
    def after(self) -> tuple[str, ...]:
        """The kinds of steps that come first."""
        return {TRAIN: (), EVALUATE: (TRAIN,), SCORE: (TRAIN,), FINISH: (TRAIN, EVALUATE, SCORE)}[self.kind]

    @property
    def words(self) -> str:
        """As messages name it."""
        of = f"part {self.index} of {self.parts}"
        return {
            TRAIN: f"training fold {self.index}",
            EVALUATE: f"evaluating, {of}",
            SCORE: f"scoring the pool, {of}",
            FINISH: "choosing the next patches",
        }[self.kind]

    def log(self, experiment: Experiment) -> Path:
        """The file that gets the output of the process that carries it out, and of the training itself."""
        name = f"train_fold_{self.index}.log" if self.kind == TRAIN else f"{self.name}.log"
        return log_of(experiment, name)

    def is_done(self, experiment: Experiment) -> bool:
        """Whether its file is there. Of shares of the cases nobody says so: each case's file is looked at when it is needed."""
        plan, cycle = experiment.plan, experiment.state["cycle"]
        if self.kind == TRAIN:
            return is_trained(fold_folder(experiment, self.index), plan.experiment, cycle, plan.label_version)
        if self.kind == EVALUATE:
            return is_evaluated(experiment)
        return experiment.last_loop > cycle

    def is_visible(self, experiment: Experiment) -> bool:
        """Whether the files that it leaves can be seen from here, which on a network file system may take seconds. They may be
        those of other members: whoever merges the shares looks into them."""
        plan, folder = experiment.plan, self.log(experiment).parent
        if self.kind not in (EVALUATE, SCORE):
            return self.is_done(experiment)
        if self.kind == EVALUATE and is_evaluated(experiment):
            return True
        if self.kind == EVALUATE and not plan.test:
            return self.index > 0 or (folder / CROSS_VALIDATION).is_file()
        cases, folders = list(plan.pool), [CANDIDATES]
        if self.kind == EVALUATE:
            cases, folders = list(plan.test), list(map(cases_folder, inferences(experiment)))
        wanted = [f"{case}.json" for case in cases[self.index :: self.parts]]
        return all((folder / files / name).is_file() for files in folders for name in wanted)

    def is_over(self, experiment: Experiment, cycle: int | None) -> bool:
        """Whether it was a step of a ``cycle`` before the current one.

        Raises:
            NnActiveError: the cycle has not begun.
        """
        now = experiment.state["cycle"]
        if cycle is not None and cycle > now:
            raise NnActiveError(f"-cycle {cycle}: {experiment.name} is in cycle {now}.")
        return cycle is not None and cycle < now

    @classmethod
    def named(cls, name: str) -> Step:
        """The step of a :attr:`name`.

        Raises:
            NnActiveError: no step is called like that.
        """
        match = re.fullmatch(r"(finish)|(train)_(\d+)|(evaluate|score)_(\d+)_of_(\d+)", name)
        if match is None or (match[6] and int(match[5]) >= int(match[6])):
            raise NnActiveError(
                f"-step {name}: there is no such step. Give train_FOLD, evaluate_PART_of_PARTS, score_PART_of_PARTS (parts are "
                "counted from 0) or finish; --steps lists the open ones."
            )
        if match[1]:
            return cls(FINISH)
        return cls(TRAIN, int(match[3])) if match[2] else cls(match[4], int(match[5]), int(match[6]))


def is_evaluated(experiment: Experiment) -> bool:
    """Whether there is a result of the cycle, for the classes of today: members for others were put away since. One without
    scores, or without those of nnU-Net's inference, is none where the plan of today asks for them."""
    file = result_file(experiment.results, experiment.state["cycle"])
    if not file.is_file():
        return False
    found = CycleResult.read(file)
    return found.label_version == experiment.plan.label_version and has_scores(experiment, found)


def trainings(experiment: Experiment) -> list[Step]:
    """The open trainings of the current cycle."""
    steps = [Step(TRAIN, fold) for fold in experiment.folds()]
    return [step for step in steps if not step.is_done(experiment)]


def shares(experiment: Experiment, parts: int) -> list[Step]:
    """The open evaluation and scoring of the current cycle, in so many parts each; none where nothing can be shared.

    Args:
        experiment: its members of the current cycle will be trained by then.
        parts: number of parts; 1 and less: the steps are not shared.
    """
    plan, cycle, found = experiment.plan, experiment.state["cycle"], []
    if parts > 1 and not is_evaluated(experiment) and (inferences(experiment) or not plan.test):
        # A cross-validation opens one member after another for the cases that it has not seen: it is one step.
        found += _parts(EVALUATE, min(parts, len(plan.test)) if plan.test else 1)
    queried = cycle >= plan.cycles - 1 or patches_lacking(experiment) or loop_file(experiment.raw, cycle + 1).is_file()
    return (
        found if queried else [*found, *scorings(experiment, parts, methods.get_confirmed(plan.method, **plan.method_options))]
    )


def scorings(experiment: Experiment, parts: int, method: methods.Method) -> list[Step]:
    """The scoring of the pool for a query by a method, in so many parts; none where nothing is scored or shared."""
    ranked = parts > 1 and isinstance(method, RankedMethod)
    return _parts(SCORE, min(parts, len(experiment.plan.pool))) if ranked else []


def _parts(kind: str, number: int) -> list[Step]:
    """A single share is one of two: only with several parts is nothing merged."""
    return [Step(kind, part, max(2, number)) for part in range(number)]


def open_steps(experiment: Experiment, parts: int) -> Sequence[Step]:
    """List the open steps of the current cycle, in an order in which they can be carried out one after another.

    Args:
        experiment: a planned experiment.
        parts: number of parts into which evaluation and scoring are split; 1: the last step does them.

    Returns:
        The steps. Those of one kind do not depend on each other.
    """
    return [*trainings(experiment), *shares(experiment, parts), Step(FINISH)]
