"""Who answers a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.spaces import space_and_properties
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.answers import CountingAnswers, labels_of
from nnactive_ext.labelling.given import given_labels
from nnactive_ext.labelling.labels import blank, check_values, fill
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import all_tasks
from nnactive_ext.nnunet.dataset import Dataset, read_labels


class Annotator(Protocol):
    def annotate(self, case: str, patches: Iterable[Patch]) -> tuple[np.ndarray, dict[str, Any]]:
        """The partial label map (z, y, x) of ``case`` with ``patches`` annotated, and its image's properties."""
        ...


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Copies the reference labels into the patches; outside them nothing of the reference is passed on.

    ``inputs``: what the label files must be; None where nothing is frozen.
    """

    reference: Dataset
    inputs: Inputs | None = None

    def annotate(self, case: str, patches: Iterable[Patch]) -> tuple[np.ndarray, dict[str, Any]]:
        file, labels, patches = self.reference.cases[case].label, self.reference.labels, list(patches)
        if self.inputs:
            self.inputs.verify(case, file)
        answers, properties = read_labels(self.reference.reader_writer, file)
        known = {*labels.values, *([labels.ignore] if "ignore" in labels.names else [])}
        for patch in patches:
            check_values(answers[0][patch.slices], known, case, file)
        partial = blank(answers.shape[1:], labels.ignore)
        return fill(partial, patches, answers[0]), properties


@dataclass(frozen=True)
class HumanAnnotator:
    """Puts together what people handed in: label maps that were there from the start, and the answers that count.

    ``following``: events as if they were in the ledger already.
    """

    experiment: Experiment
    following: Sequence[Mapping[str, Any]] = ()

    @cached_property
    def _answers(self) -> tuple[Ledger, CountingAnswers, dict[Patch, str]]:
        ledger = Ledger(self.experiment.annotation)
        tasks = {task.patch: task.id for task in all_tasks(self.experiment)}
        return ledger, CountingAnswers.of(ledger, self.following), tasks

    def annotate(self, case: str, patches: Iterable[Patch]) -> tuple[np.ndarray, dict[str, Any]]:
        ledger, counted, tasks = self._answers
        ignore = self.experiment.dataset.labels.ignore
        space, properties = space_and_properties(self.experiment, case)
        known, folder = {*self.experiment.dataset.labels.values, ignore}, self.experiment.annotation
        partial = given_labels(self.experiment, case, counted)
        if partial is None:
            partial = blank(space.shape, ignore)
        else:
            check_values(partial, known, case, folder / "given" / f"{case}.nii.gz")
        for patch in patches:
            answer = labels_of(ledger, counted, tasks[patch], ignore)
            if answer is not None:
                check_values(answer, known, case, folder / "answers" / tasks[patch])
                box = partial[patch.slices]
                # What an answer leaves open keeps what is known of it.
                box[...] = np.where(answer == ignore, box, answer)
        return partial, properties
