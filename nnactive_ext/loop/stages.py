"""How far the current cycle is, as a list of stages read from the experiment's files, whoever runs it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.cluster.steps import is_evaluated
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import is_trained
from nnactive_ext.experiment.result import result_file
from nnactive_ext.files import changed_at
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.planning.hours import epochs_of
from nnactive_ext.querying.query import CANDIDATES

_EPOCH = re.compile(rb"Epoch (\d+)\s*$", re.MULTILINE)
_TAIL = 1 << 16
"""Bytes of the end of a training's log in which its last epoch is looked for."""
_TRAINING, _QUERY = "training", "query of the next patches"


@dataclass(frozen=True)
class Stage:
    """``detail`` says how far the stage is that comes next; empty where nothing is known."""

    name: str
    done: bool
    detail: str = ""


def cycle_under_way(experiment: Experiment) -> int:
    """The cycle that is trained now, or next: the open one, else the one whose labels are in place."""
    cycle = experiment.state["cycle"]
    return cycle + 1 if experiment.last_loop > cycle else cycle


def stages(experiment: Experiment) -> list[Stage]:
    """The stages of :func:`cycle_under_way`, in their order; the first that is not done is under way, or comes next."""
    plan, cycle, closed = experiment.plan, cycle_under_way(experiment), experiment.state["cycle"]
    in_place = cycle == closed
    folds = experiment.folds() if in_place else list(range(plan.folds))
    found = [("labels", in_place)]
    for number, fold in enumerate(folds):
        trained = in_place and is_trained(fold_folder(experiment, fold), plan.experiment, cycle, plan.label_version)
        found.append((f"{_TRAINING} {number + 1} of {len(folds)}", trained))
    evaluated = in_place and is_evaluated(experiment)
    found.append(("evaluation", evaluated))
    if cycle < plan.cycles - 1:
        found.append((_QUERY, False))  # once it is done, the next cycle is open
    made, now = [], True
    for name, done in found:
        detail = _detail(experiment, cycle, name, folds) if now and not done else ""
        made.append(Stage(name, done, detail))
        now = now and done
    return made


def _detail(experiment: Experiment, cycle: int, name: str, folds: list[int]) -> str:
    folder = experiment.results / f"cycle_{cycle:03d}"
    if name.startswith(_TRAINING):
        return _epoch(folder / f"train_fold_{folds[int(name.split()[1]) - 1]}.log", epochs_of(experiment.plan.trainer))
    if name == _QUERY:
        since, pool = changed_at(result_file(experiment.results, cycle)), experiment.plan.pool
        scored = sum(0 < since <= changed_at(folder / CANDIDATES / f"{case}.json") for case in pool)
        return f"{scored} of {len(pool)} images scored" if scored else ""
    return ""


def _epoch(log: Path, total: int | None) -> str:
    """The last epoch that nnU-Net's log of a training names."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            found = _EPOCH.findall(file.read())
    except OSError:
        return ""
    return f"epoch {int(found[-1]) + 1}" + (f" of {total}" if total else "") if found else ""
