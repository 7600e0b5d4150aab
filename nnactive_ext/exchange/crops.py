"""The crop of a task with what is labelled or predicted in it, as exports and the browser's pages show it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.starting import ABOVE, Start, starting
from nnactive_ext.exchange.view import View
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.spaces import space_and_properties
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import write_image
from nnactive_ext.labelling.annotators import HumanAnnotator
from nnactive_ext.labelling.answers import CountingAnswers, labels_of
from nnactive_ext.labelling.labels import blank
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_tasks, cropped
from nnactive_ext.members.ensemble import Ensemble, trained_folds
from nnactive_ext.members.prediction import Predictor


def check_margin(margin_mm: float | None) -> None:
    """A margin that is no length is an error."""
    if margin_mm is not None and not (math.isfinite(margin_mm) and margin_mm >= 0):
        raise NnActiveError(f"-margin {margin_mm:g}: give the context around a patch in mm, 0 or more.")


def margin(patch: Patch, space: Space, margin_mm: float | None) -> Triple:
    """The context around ``patch`` on each side, in voxels (z, y, x); None: as much as the patch."""
    if margin_mm is None:
        return patch.size
    return triple([round(margin_mm / mm) for mm in space.spacing_zyx])


def image_file(channel: str) -> str:
    """The name of the file with the crop of a channel."""
    return f"image_{''.join(c if c.isalnum() or c in '-.' else '_' for c in channel)}.nii.gz"


@dataclass
class Crops:
    """Makes the views of tasks of one experiment; the image and the known labels of the last case are kept.

    Give it tasks ordered by case, so that each image is read once. ``margin_mm``, ``open_ensemble`` and ``start_above`` are
    those of :func:`nnactive_ext.exchange.export.export`.
    """

    experiment: Experiment
    open_ensemble: Callable[[], Ensemble] | None = None
    margin_mm: float | None = None
    start_above: float = ABOVE
    start: Start | None = field(init=False)
    """Which classes are proposed; None where no member is asked."""
    counted: CountingAnswers = field(init=False)

    def __post_init__(self) -> None:
        check_margin(self.margin_mm)
        experiment = self.experiment
        self._ledger = Ledger(experiment.annotation)
        self.counted = CountingAnswers.of(self._ledger)
        self.start = starting(experiment, self.start_above) if self.open_ensemble else None
        asked = self.open_ensemble if self.start and self.start.proposed else None
        self._predict = Predictor(experiment, asked, self.blank_classes) if asked else None
        self._annotator = HumanAnnotator(experiment)
        self._patches = by_case([task.patch for task in all_tasks(experiment)])
        self._names = dict(sorted(experiment.dataset.labels.names.items(), key=lambda item: item[1]))
        self._channels = list(experiment.dataset.json["channel_names"].values())
        self._image: tuple[str, np.ndarray] = ("", np.empty(0))
        self._known: tuple[str, np.ndarray] = ("", np.empty(0))

    @property
    def blank_classes(self) -> tuple[str, ...]:
        """The classes that start blank although members predict."""
        return tuple(self.start.blank) if self.start else ()

    @property
    def names(self) -> dict[str, int]:
        """Label name -> value, in order of value."""
        return self._names

    def crop(self, task: Task) -> tuple[Patch, Patch]:
        """What is shown of the image of ``task``, and where the patch lies in it."""
        space, _ = space_and_properties(self.experiment, task.patch.case)
        return cropped(task.patch, space.shape, margin(task.patch, space, self.margin_mm))

    def view(self, task: Task, folder: Path) -> tuple[View, np.ndarray]:
        """The view of ``task`` for files in ``folder``, of which none is written, and its voxels (channel, z, y, x)."""
        experiment, case = self.experiment, task.patch.case
        ignore = experiment.dataset.labels.ignore
        if self._image[0] != case:
            self._image = (case, experiment.dataset.image(case)[0])
        space, _ = space_and_properties(experiment, case)
        crop, box = self.crop(task)
        answer = labels_of(self._ledger, self.counted, task.id, ignore)
        labels = blank(crop.size, ignore)
        labels[box.slices] = self._proposed(task, ignore) if answer is None else answer
        view = View(
            task=task,
            folder=folder,
            images=tuple(folder / image_file(name) for name in self._channels),
            label=folder / f"{task.id}.nii.gz",
            labels=labels,
            space=space.crop(crop),
            box=box,
            names=self._names,
            channels=self._channels,
            predicted=self._predict is not None and answer is None and not task.repeats,
            label_version=experiment.plan.label_version,
            blank=self.blank_classes if answer is None else (),
        )
        return view, self._image[1][(slice(None), *crop.slices)]

    def _proposed(self, task: Task, ignore: int) -> np.ndarray:
        """What a task without an answer starts with: labels that are known, else what members predict, else background.

        A repeated task starts blank: the labels, and what members learned of them, are the answer before."""
        if task.repeats:
            return np.zeros(task.patch.size, np.uint16)
        case = task.patch.case
        if self._known[0] != case:
            self._known = (case, self._annotator.annotate(case, self._patches[case])[0])
        if self.open_ensemble and self._predict is None and not trained_folds(self.experiment):
            self.open_ensemble()  # says how to train members, which a task that starts blank would not
        known = self._known[1][task.patch.slices]
        return np.where(known == ignore, self._predict(task.patch) if self._predict else 0, known)


def write_channels(files: Sequence[Path], voxels: np.ndarray, space: Space) -> None:
    """Write the channels of a crop, whole numbers as such."""
    for file, array in zip(files, voxels, strict=True):
        whole = array.dtype.kind == "f" and np.abs(array).max(initial=0) < 2**15 and (array == np.rint(array)).all()
        write_image(file, space.image(array.astype(np.int16) if whole else array))
