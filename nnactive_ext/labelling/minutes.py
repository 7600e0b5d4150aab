"""How long people took for their answers, where that was measured: minutes per patch, and per class that patches hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.labelling.answers import Answer, CountingAnswers, read_answer
from nnactive_ext.labelling.ledger import Ledger


@dataclass(frozen=True)
class Minutes:
    """Of ``patches`` measured patches: the median and the quartiles of their minutes."""

    patches: int
    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Minutes:
        """From the seconds of one patch or more."""
        lower, median, upper = (float(value) / 60 for value in np.percentile(seconds, (25, 50, 75)))
        return cls(len(seconds), lower, median, upper)


@dataclass(frozen=True)
class Measured:
    """Of all measured patches, and of those whose answers hold each class."""

    patches: Minutes
    per_class: Mapping[str, Minutes]


def spent(counted: CountingAnswers) -> list[tuple[Answer, float]]:
    """The current answer of each annotator to each task, with the seconds that the annotator spent on the task.

    These are the sum over all answers of the annotator that were not withdrawn. Where one of them came without a time, as from
    a viewer, nobody knows the sum, and the task is left out. A patch that two people annotated is there twice.
    """
    by_person: dict[tuple[str, str], list[Answer]] = {}
    for answer in counted.handed_in:
        by_person.setdefault((answer.task, answer.who), []).append(answer)
    return [
        (answers[-1], sum(answer.seconds or 0.0 for answer in answers))
        for answers in by_person.values()
        if all(answer.seconds for answer in answers)
    ]


def median_minutes(experiment: Experiment) -> float | None:
    """Of all measured patches of a roll-out; None where nothing was measured. No answer is read."""
    found = spent(CountingAnswers.of(Ledger(experiment.annotation)))
    return Minutes.of([seconds for _, seconds in found]).median if found else None


def measured(experiment: Experiment, counted: CountingAnswers | None = None) -> Measured | None:
    """How long annotation took so far.

    Args:
        experiment: a roll-out.
        counted: its ledger, for whoever has read it already.

    Returns:
        Minutes of all patches and of those that hold each class, in the order of the classes; None where nothing was measured.
    """
    ledger = Ledger(experiment.annotation)
    counted = CountingAnswers.of(ledger) if counted is None else counted
    found = spent(counted)
    if not found:
        return None
    classes: dict[str, list[float]] = {name: [] for name in experiment.dataset.labels.classes}
    for answer, seconds in found:
        values = np.unique(read_answer(ledger, counted, answer))
        for name, of_class in experiment.dataset.labels.classes.items():
            if np.isin(of_class, values).any():
                classes[name].append(seconds)
    per_class = {name: Minutes.of(seconds) for name, seconds in classes.items() if seconds}
    return Measured(Minutes.of([seconds for _, seconds in found]), per_class)
