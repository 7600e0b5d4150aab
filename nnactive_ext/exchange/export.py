"""Tasks out: for each patch of a cycle a folder with a crop, a label map to edit, and what each viewer opens."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.annotate_page import PageWriter
from nnactive_ext.exchange.blank_starts import note_blank
from nnactive_ext.exchange.crops import Crops, check_margin, write_channels
from nnactive_ext.exchange.exported_labels import check_folder, note_labels
from nnactive_ext.exchange.exporting import Noting, Record
from nnactive_ext.exchange.page import Card, card, write_page
from nnactive_ext.exchange.sent import CROPS, note_crop
from nnactive_ext.exchange.starting import ABOVE, Start
from nnactive_ext.exchange.view import View
from nnactive_ext.exchange.viewers.all import write_list, write_task
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.pseudonyms import give_pseudonyms
from nnactive_ext.files import read_json_if_any, remove_temporary, write_json
from nnactive_ext.images.writing import image_written
from nnactive_ext.labelling.ledger import Ledger, sha256
from nnactive_ext.labelling.repeats import status_asked, verdict_on
from nnactive_ext.labelling.tasks import Task, all_asked, asked_in
from nnactive_ext.members.ensemble import Ensemble
from nnactive_ext.paths import check_no_link
from nnactive_ext.screening.answers import note_of, second_looks

EXPORTED = Record("exported.json", dict[str, list[str]])
"""The sha256 of the label maps that were exported, so that files nobody has saved since are recognised."""
EXPORTS = "exports.json"
"""Beside the ledger: by cycle, the folder that its tasks were last exported to."""

_MARK = 1
"""The time in the header of exported label maps, in s after 1970."""


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
    single: bool = False,
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
        single: put the viewer into each ``annotate.html``, so that the page of one task can be sent alone.

    Returns:
        What was written.

    Raises:
        NnActiveError: the folder holds tasks that were exported with other classes, or with the names of cases where these are
            to be private.
    """
    check_margin(margin_mm)
    if private:
        give_pseudonyms(experiment.annotation, experiment.plan.pool)
    tasks = asked_in(experiment, cycle)
    ledger, ignore = Ledger(experiment.annotation), experiment.dataset.labels.ignore
    crops = Crops(experiment, open_ensemble, margin_mm, start_above)
    counted = crops.counted
    looks, places = second_looks(experiment), _exports(experiment)
    check_folder(folder, tasks, experiment.plan.label_version)
    _check_names(folder, all_asked(experiment), private)
    experiment.annotation.mkdir(exist_ok=True)
    note_labels(experiment, tasks, exported(experiment))
    note_blank(experiment, [task.id for task in tasks if not counted.counting(task.id)], crops.blank_classes)
    _make(folder)
    pages = PageWriter(
        [(task.disguised if private else task).id for task in tasks],
        experiment.number,
        crops.start.words if crops.start else "",
        single,
    )
    views, kept = [], []
    cards: dict[int, Card] = {}
    with Noting(experiment, (EXPORTED, CROPS)) as noting:
        # By case, so that each image is read once.
        for task in tqdm(sorted(tasks, key=lambda t: t.patch), desc="Exporting tasks", disable=not progress):
            target = folder / task.id
            view, voxels = crops.view(task, target)
            if private:
                view = view.disguised
            check_no_link(view.folder)
            _make(view.folder)
            write_channels(view.images, voxels, view.space)
            note_crop(noting, task, crops.crop(task)[0])
            exported_for = noting.of(EXPORTED, task.id)
            if view.label.is_file() and sha256(view.label) not in exported_for and not as_exported(view.label):
                kept.append(view.label)
            else:
                with image_written(view.label, view.space.image(view.labels)) as temporary:
                    _pack_as_nobody_does(temporary)
                    # All that ever went out: an untouched file may come back from any export. Recorded before it is there,
                    # or a kill between the two would make a prediction look like somebody's answer.
                    noting.note(EXPORTED, task.id, sha256(temporary))
            write_task(view)
            notes = [note_of(looks[task.id])] if task.id in looks else []
            against = verdict_on(counted, task)
            note = " ".join([*notes, against.words if against else ""]).strip()
            made = card(view, voxels, status_asked(ledger, counted, task, ignore), note)
            cards[task.number] = replace(made, annotate=pages.write(view, voxels, made))
            views.append(replace(view, labels=np.empty((0, 0, 0), view.labels.dtype)))  # lists need no voxels, which add up
    pages.finish(folder)
    _write_lists(experiment, cycle, folder, views, [made for _, made in sorted(cards.items())], crops.names, crops.start)
    write_json(experiment.annotation / EXPORTS, {**places, str(cycle): str(folder)}, durable=True)
    return Export(folder, tuple(tasks), tuple(kept), crops.start)


def exported(experiment: Experiment, needed: bool = False) -> Mapping[str, Sequence[str]]:
    """By task: the sha256 of each label map that was exported for it.

    Raises:
        NnActiveError: the list is ``needed`` and gone: nobody could tell exported label maps from answers.
    """
    file = experiment.annotation / EXPORTED.name
    if needed and not file.is_file() and _exports(experiment):
        raise NnActiveError(
            f"{file}: no such file, though tasks were exported: without it, label maps that nobody edited would be taken for "
            f"answers. Restore it from a backup, or export the tasks again: {experiment.commands.export(False)}"
        )
    return EXPORTED.of(experiment)


def as_exported(file: Path) -> bool:
    """Whether a label map carries the mark of an export, which no viewer writes: nobody has saved it since."""
    if not file.name.lower().endswith(".gz"):
        return False
    with open(file, "rb") as handle:
        head = handle.read(8)
    return head[:2] == b"\x1f\x8b" and head[4:] == _MARK.to_bytes(4, "little")


def last_export(experiment: Experiment, cycle: int) -> Path:
    """The folder that the tasks of ``cycle`` were last exported to, else where they go unless another is said."""
    return Path(_exports(experiment).get(str(cycle), tasks_folder(experiment, cycle)))


def _exports(experiment: Experiment) -> dict[str, str]:
    file = experiment.annotation / EXPORTS
    return read_json_if_any(file, {}, dict[str, str])


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


def _pack_as_nobody_does(file: Path) -> None:
    """Viewers that write with ITK, too, would save an unchanged label map byte for byte as it is: nobody could tell that
    somebody looked at it and agrees. The time in gzip's header, a second after 1970, tells."""
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), mtime=_MARK))


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
    pages = any(card.annotate for card in cards)
    write_list(views, folder, names, number, f"{experiment.name}_cycle_{cycle:03d}", pages)
    methods = sorted({view.task.method for view in views})
    facts = [("experiment", experiment.name), ("cycle", str(cycle)), ("query method", ", ".join(methods))]
    blank = start.words if start else ""
    write_page(folder / "index.html", cards, f"{experiment.name}, cycle {cycle}", facts, names, number, blank)
