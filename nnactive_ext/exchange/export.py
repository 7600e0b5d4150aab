"""Tasks out: for each patch of a cycle a folder with a crop, a label map to edit, and what each viewer opens."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.blank_starts import note_blank
from nnactive_ext.exchange.exported_labels import check_folder, note_labels
from nnactive_ext.exchange.page import Card, card, write_page
from nnactive_ext.exchange.sent import note_crop, recorded
from nnactive_ext.exchange.starting import ABOVE, Start, starting
from nnactive_ext.exchange.view import View
from nnactive_ext.exchange.viewers.all import write_list, write_task
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.pseudonyms import give_pseudonyms
from nnactive_ext.experiment.spaces import space_and_properties
from nnactive_ext.files import read_json_if_any, remove_temporary, write_json
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import image_written, write_image
from nnactive_ext.labelling.annotators import HumanAnnotator
from nnactive_ext.labelling.answers import CountingAnswers, labels_of, status_of
from nnactive_ext.labelling.labels import blank
from nnactive_ext.labelling.ledger import Ledger, sha256
from nnactive_ext.labelling.tasks import Task, all_tasks, cropped, tasks_of
from nnactive_ext.members.ensemble import Ensemble, trained_folds
from nnactive_ext.members.prediction import Predictor

EXPORTED = "exported.json"
"""Beside the ledger: the label maps that were exported, so that files nobody has saved since are recognised."""
EXPORTS = "exports.json"
"""Beside the ledger: by cycle, the folder that its tasks were last exported to."""


@dataclass(frozen=True)
class Export:
    """What was exported: the folder, its tasks, and those whose edited label map was there and left alone; ``start``: the
    classes that were proposed and those that started blank, None where no member was asked."""

    folder: Path
    tasks: tuple[Task, ...]
    kept: tuple[Path, ...]
    start: Start | None = None


def tasks_folder(experiment: Experiment, cycle: int, private: bool = False) -> Path:
    """Where tasks go unless another folder is said; tasks with other classes never lie in one folder, nor do tasks with and
    without the names of cases (``private``)."""
    version = experiment.plan.label_version
    name = f"cycle_{cycle:03d}" + (f"_labels_{version}" if version else "") + ("_pseudonyms" if private else "")
    return experiment.raw / "tasks" / name


def export(
    experiment: Experiment,
    cycle: int,
    folder: Path,
    open_ensemble: Callable[[], Ensemble] | None,
    margin_mm: float | None = None,
    progress: bool = True,
    start_above: float = ABOVE,
    private: bool = False,
) -> Export:
    """Write the tasks of a cycle: for each patch a crop, a label map to edit, and what each viewer opens.

    The label map of a task holds ``ignore`` outside the patch; inside, the answer so far, else the labels of other patches and
    given label maps, else the prediction of the members, for classes that they find well enough. A label map that was edited
    since it was exported is left alone.

    Args:
        experiment: a roll-out.
        cycle: the cycle of the tasks.
        folder: where the folder of each task is made.
        open_ensemble: gives the members that predict; None: background instead of a prediction.
        margin_mm: context around each patch in mm (default: as much as the patch).
        progress: show a progress bar.
        start_above: Dice, 0 to 1, of a class from which its predictions are proposed; below, tasks start blank for it
            (:func:`nnactive_ext.exchange.starting.starting`).
        private: write pseudonyms instead of the names of cases, and no paths of this machine.

    Returns:
        What was written.

    Raises:
        NnActiveError: the folder holds tasks that were exported with other classes, or with the names of cases where these are
            to be private.
    """
    if margin_mm is not None and not (math.isfinite(margin_mm) and margin_mm >= 0):
        raise NnActiveError(f"-margin {margin_mm:g}: give the context around a patch in mm, 0 or more.")
    if private:
        give_pseudonyms(experiment.annotation, experiment.plan.pool)
    tasks = tasks_of(experiment, cycle)
    ledger = Ledger(experiment.annotation)
    counted, ignore = CountingAnswers.of(ledger), experiment.dataset.labels.ignore
    names = dict(sorted(experiment.dataset.labels.names.items(), key=lambda item: item[1]))
    channels = list(experiment.dataset.json["channel_names"].values())
    start = starting(experiment, start_above) if open_ensemble else None
    blank_classes = tuple(start.blank) if start else ()
    predict = Predictor(experiment, open_ensemble, blank_classes) if open_ensemble and start and start.proposed else None
    known_tasks = all_tasks(experiment)
    annotator, patches = HumanAnnotator(experiment), by_case([task.patch for task in known_tasks])
    record, crops = exported(experiment), recorded(experiment)
    version = experiment.plan.label_version
    check_folder(folder, tasks, version)
    _check_names(folder, known_tasks, private)
    experiment.annotation.mkdir(exist_ok=True)
    note_labels(experiment, tasks, record)
    note_blank(experiment, [task.id for task in tasks if not counted.counting(task.id)], blank_classes)
    _make(folder)
    views, kept = [], []
    cards: dict[int, Card] = {}
    image: tuple[str, np.ndarray] = ("", np.empty(0))
    known: tuple[str, np.ndarray] = ("", np.empty(0))
    # By case, so that each image is read once.
    for task in tqdm(sorted(tasks, key=lambda t: t.patch), desc="Exporting tasks", disable=not progress):
        case = task.patch.case
        if image[0] != case:
            image = (case, experiment.dataset.image(case)[0])
        space, _ = space_and_properties(experiment, case)
        crop, box = cropped(task.patch, space.shape, _margin(task.patch, space, margin_mm))
        voxels = image[1][(slice(None), *crop.slices)]
        answer = labels_of(ledger, counted, task.id, ignore)
        inside = answer
        if inside is None:
            if known[0] != case:
                known = (case, annotator.annotate(case, patches[case])[0])
            if open_ensemble and predict is None and not trained_folds(experiment):
                open_ensemble()  # says how to train members, which a task that starts blank would not
            said = known[1][task.patch.slices]
            inside = np.where(said == ignore, predict(task.patch) if predict else 0, said)
        labels = blank(crop.size, ignore)
        labels[box.slices] = inside
        target = folder / task.id
        view = View(
            task=task,
            folder=target,
            images=tuple(target / image_file(name) for name in channels),
            label=target / f"{task.id}.nii.gz",
            labels=labels,
            space=space.crop(crop),
            box=box,
            names=names,
            channels=channels,
            predicted=predict is not None and answer is None,
            label_version=version,
            blank=blank_classes if answer is None else (),
        )
        if private:
            view = view.disguised
        _make(view.folder)
        for file, channel in zip(view.images, voxels, strict=True):
            _write(file, channel, view.space)
        note_crop(experiment, crops, task, crop)
        before = record.get(task.id, [])
        if view.label.is_file() and sha256(view.label) not in before:
            kept.append(view.label)
        else:
            with image_written(view.label, view.space.image(labels)) as temporary:
                _pack_as_nobody_does(temporary)
                # All that ever went out: an untouched file may come back from any export. Recorded before it is there,
                # or a kill between the two would make a prediction look like somebody's answer.
                record[task.id] = sorted({*before, sha256(temporary)})
                write_json(experiment.annotation / EXPORTED, record)
        write_task(view)
        cards[task.number] = card(view, voxels, status_of(ledger, counted, task.id, ignore))
        views.append(replace(view, labels=np.empty((0, 0, 0), labels.dtype)))  # lists need no voxels, which add up
    _write_lists(experiment, cycle, folder, views, [made for _, made in sorted(cards.items())], names, start)
    write_json(experiment.annotation / EXPORTS, {**_exports(experiment), str(cycle): str(folder)})
    return Export(folder, tuple(tasks), tuple(kept), start)


def exported(experiment: Experiment) -> dict[str, list[str]]:
    """By task: the sha256 of each label map that was exported for it."""
    file = experiment.annotation / EXPORTED
    return read_json_if_any(file, {})


def last_export(experiment: Experiment, cycle: int) -> Path:
    """The folder that the tasks of ``cycle`` were last exported to, else where they go unless another is said."""
    return Path(_exports(experiment).get(str(cycle), tasks_folder(experiment, cycle)))


def _exports(experiment: Experiment) -> dict[str, str]:
    file = experiment.annotation / EXPORTS
    return read_json_if_any(file, {})


def image_file(channel: str) -> str:
    """The name of the file with the crop of a channel."""
    return f"image_{''.join(c if c.isalnum() or c in '-.' else '_' for c in channel)}.nii.gz"


def _margin(patch: Patch, space: Space, margin_mm: float | None) -> Triple:
    if margin_mm is None:
        return patch.size
    return triple([round(margin_mm / mm) for mm in space.spacing_zyx])


def _check_names(folder: Path, tasks: Sequence[Task], private: bool) -> None:
    """A folder that is sent out without the names of cases must not hold older tasks with them, nor the other way round."""
    for task in tasks:
        others = [task.id] if private else task.names[1:]
        if any((folder / name).exists() for name in others):
            which = "with the names of cases" if private else "with pseudonyms"
            raise NnActiveError(f"{folder}: holds tasks that were exported {which}. Choose another folder with -o.")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise NnActiveError(f"{folder}: a file has the name of this folder. Choose another folder with -o.") from None
    remove_temporary(folder)  # of a killed export


def _write(file: Path, array: np.ndarray, space: Space) -> None:
    whole = array.dtype.kind == "f" and np.abs(array).max(initial=0) < 2**15 and (array == np.rint(array)).all()
    write_image(file, space.image(array.astype(np.int16) if whole else array))


def _pack_as_nobody_does(file: Path) -> None:
    """Viewers that write with ITK, too, would save an unchanged label map byte for byte as it is: nobody could tell that
    somebody looked at it and agrees. The time in gzip's header, a second after 1970, tells."""
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), mtime=1))


def _write_lists(
    experiment: Experiment,
    cycle: int,
    folder: Path,
    views: Sequence[View],
    cards: Sequence[Card],
    names: dict[str, int],
    start: Start | None,
) -> None:
    number = experiment.number
    views = sorted(views, key=lambda view: view.task.number)
    write_list(views, folder, names, number, f"{experiment.name}_cycle_{cycle:03d}")
    methods = sorted({view.task.method for view in views})
    facts = [("experiment", experiment.name), ("cycle", str(cycle)), ("query method", ", ".join(methods))]
    blank = start.words if start else ""
    write_page(folder / "index.html", cards, f"{experiment.name}, cycle {cycle}", facts, names, number, blank)
