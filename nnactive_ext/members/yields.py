"""What the patches of a query held, stratum by stratum, as they were annotated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import StratumYield
from nnactive_ext.geometry.label_values import voxels_per_value
from nnactive_ext.geometry.near import Near
from nnactive_ext.geometry.patch import shared
from nnactive_ext.labelling.answers import CountingAnswers, Held, held_in
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, tasks_of
from nnactive_ext.members.reasons import reason_of
from nnactive_ext.nnunet.dataset import Labels

Yields = Mapping[str, StratumYield]
"""Stratum, as the loop file calls it -> what its patches held."""


class Tally:
    """Adds up what patches held; each patch is given once, with what is annotated in it."""

    def __init__(self, labels: Labels):
        self._labels = labels
        # Patches are chosen for labels, too, where classes are regions: those of the starting budget.
        self._classes = {**{name: (value,) for value, name in labels.foreground.items()}, **labels.classes}
        self._found: dict[str, StratumYield] = {}
        self._seen: dict[tuple[str, str], Near[None]] = {}

    def add(self, task: Task, said: np.ndarray | Held | None) -> None:
        """``said``: the labels (z, y, x) of the patch, ``ignore`` where nothing is annotated; None: nothing is.

        Voxels that an earlier patch of the stratum covers are not counted again.
        """
        before = self._found.get(task.stratum) or StratumYield(patches=0, chosen_for=self._about(task))
        held = Held.of(said) if isinstance(said, np.ndarray) else said
        known = held is not None and any(n for value, n in held.counts.items() if value != self._labels.ignore)
        holds, voxels = dict(before.patches_per_class), dict(before.voxels_per_class)
        foreground, of_any = [value for value in self._labels.values if value], False
        new = 0
        if known and held is not None:
            fresh = self._fresh(task, held)
            of_any, new = _number(held.counts, foreground) > 0, _number(fresh, foreground)
            for name, values in self._classes.items():
                if _number(held.counts, values):
                    holds[name] = holds.get(name, 0) + 1
                    voxels[name] = voxels.get(name, 0) + _number(fresh, values)
        self._found[task.stratum] = StratumYield(
            patches=before.patches + 1,
            annotated=before.annotated + known,
            chosen_for=before.chosen_for,
            patches_with_any=before.patches_with_any + of_any,
            voxels_of_any=before.voxels_of_any + new,
            patches_per_class=holds,
            voxels_per_class=voxels,
        )

    def _fresh(self, task: Task, held: Held) -> Mapping[int, int]:
        """Voxels of each label value, without those that an earlier patch of the stratum covers."""
        earlier = self._seen.setdefault((task.stratum, task.patch.case), Near(task.patch.size))
        covering = earlier.overlapping(task.patch)
        earlier.add(task.patch, None)
        if not covering:
            return held.counts
        fresh = held.read().copy()
        for patch, _ in covering:
            fresh[shared(task.patch, patch)[0]] = self._labels.ignore
        return voxels_per_value(fresh)

    def _about(self, task: Task) -> str:
        """The class that a patch was chosen for; empty for one of the rest, whatever its stratum is called."""
        about = reason_of(task)[1]
        return about if about in self._classes else ""

    def found(self) -> Yields:
        """Strata of classes in the order of the classes, then the others by name."""
        order = list(self._classes)

        def place(stratum: str) -> tuple[int, str]:
            about = self._found[stratum].chosen_for
            return (order.index(about) if about else len(order)), stratum

        return {stratum: self._found[stratum] for stratum in sorted(self._found, key=place)}


def yields_of(experiment: Experiment, cycle: int) -> Yields:
    """What the patches of a cycle held, from what is annotated now: answers in a roll-out, else partial labels.

    Reference labels are not read. Patches in cases that were dropped count nowhere.
    """
    tasks = tasks_of(experiment, cycle)
    if experiment.plan.human:
        return of_answers(experiment, tasks)
    tally = Tally(experiment.dataset.labels)
    for case, asked in per_case(tasks):
        partial = experiment.dataset.label_map(case)
        for task in asked:
            tally.add(task, partial[task.patch.slices])
    return tally.found()


def per_case(tasks: Iterable[Task]) -> Iterator[tuple[str, Iterator[Task]]]:
    """Tasks grouped by case, so that each label map is read once."""
    return groupby(sorted(tasks, key=lambda task: task.patch), key=lambda task: task.patch.case)


def of_answers(experiment: Experiment, tasks: Sequence[Task]) -> Yields:
    """What the answers that count say of ``tasks``; open ones are not annotated."""
    ledger, labels = Ledger(experiment.annotation), experiment.dataset.labels
    counted = CountingAnswers.of(ledger)
    return of_labels(((task, held_in(ledger, counted, task.id, labels.ignore)) for task in tasks), labels)


def of_labels(found: Iterable[tuple[Task, np.ndarray | Held | None]], labels: Labels) -> Yields:
    """From tasks and what is annotated in their patches."""
    tally = Tally(labels)
    for task, said in found:
        tally.add(task, said)
    return tally.found()


def _number(counts: Mapping[int, int], values: Iterable[int]) -> int:
    """The voxels of some label values."""
    return sum(counts.get(value, 0) for value in values)
