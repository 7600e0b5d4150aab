"""Answers in: a returned file is read, checked against its tasks' boxes, and kept with what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.annotation import corrections
from nnactive_ext.annotation.answers import Answer, Book
from nnactive_ext.annotation.export import exported
from nnactive_ext.annotation.label_files import LabelFile, read_label_file
from nnactive_ext.annotation.ledger import Ledger, sha256
from nnactive_ext.annotation.matching import candidates, match
from nnactive_ext.annotation.places import place_of
from nnactive_ext.annotation.queue import all_tasks
from nnactive_ext.annotation.tasks import Task
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import Experiment
from nnactive_ext.space import Space, align


@dataclass(frozen=True)
class Boxed:
    """What a file says about one box: ``labels`` (z, y, x), voxels of it that the file does not reach (they are
    ``ignore`` now), and labelled voxels outside of all boxes that the file might answer (they are not taken)."""

    labels: np.ndarray
    missing: int
    outside: int


@dataclass(frozen=True)
class Received:
    """What became of one file: for each task it answers what to tell the user, whether that was taken, and the answer."""

    file: Path
    task: Task | None
    taken: bool
    text: str
    refused: bool = False


def receive(
    experiment: Experiment, paths: Sequence[Path], who: str, only: Task | None = None, unchanged: bool = False
) -> list[Received]:
    """Take in files, or all label files below folders; each is taken or refused by itself.

    ``only``: the task that they answer, whatever their names. ``unchanged``: take files that nobody has saved since they
    were exported, and boxes without any label in files of whole images: the prediction is right, there is nothing in them.
    """
    tasks = all_tasks(experiment)
    results = []
    # All of them first: a path that does not exist changes nothing.
    for path, found in [(path, list(candidates(path))) for path in paths]:
        if not found:
            results.append(Received(path, None, False, "no label file is in this folder", refused=True))
        for file in found:
            results += _receive_file(experiment, file, tasks, who, only, unchanged, in_folder=path.is_dir())
    return results


def _receive_file(
    experiment: Experiment, file: Path, tasks: Sequence[Task], who: str, only: Task | None, unchanged: bool, in_folder: bool
) -> list[Received]:
    matched, by_case = ([only], False) if only else match(file, tasks)
    if not matched:
        text = f"no task and no case is called like it; {_examples(tasks)}Name it so, or say which with -task."
        return [Received(file, None, False, text, refused=not in_folder)]
    labels, case = experiment.dataset.labels, matched[0].patch.case
    try:
        names = dict(labels.names)
        returned = read_label_file(file, names)
        space, _ = place_of(experiment, case)
        boxes = cut(file, returned, space, matched, labels.ignore)
    except NnActiveError as error:
        message = str(error)
        return [Received(file, matched[0], False, message.removeprefix(f"{file}: "), refused=True)]
    ledger, checksum = Ledger(experiment.annotation), sha256(file)
    before = [] if unchanged else exported(experiment).get(matched[0].id, [])
    book, known = Book.of(ledger), _known(ledger, who)
    results = []
    for task in matched:
        boxed = boxes.get(task.id)
        if boxed is None:
            if not by_case:
                results.append(Received(file, task, False, "it holds no voxel of the task's box", refused=True))
            continue
        current = [answer for answer in book.answers.get(task.id, []) if answer.who == who]
        lost = bool(current) and _is_lost(ledger, current[-1])
        same = bool(current) and not lost and np.array_equal(ledger.read_answer(current[-1].place), boxed.labels)
        if (boxed.labels == labels.ignore).all():
            text = "the whole box is ignore: nothing is annotated yet"
            results.append(Received(file, task, False, text, refused=not in_folder and not by_case))
        elif checksum in before:
            text = (
                "not saved since it was exported. If there is nothing to change, save it, or import it with --accept_unchanged"
            )
            results.append(Received(file, task, False, text, refused=not in_folder))
        elif same or (in_folder and (task.id, checksum) in known and not lost):
            results.append(Received(file, task, False, f"handed in by {who} before"))
        elif by_case and not unchanged and not ((boxed.labels != 0) & (boxed.labels != labels.ignore)).any():
            text = "empty, which a file of the whole image may be where nobody looked. If it is right: --accept_unchanged"
            results.append(Received(file, task, False, text))
        else:
            _keep(experiment, ledger, file, task, who, boxed, returned, space)
            instead = f" (instead of the answer of {current[-1].when})" if current else ""
            results.append(Received(file, task, True, describe(boxed, labels.ignore, labels.foreground) + instead))
    if not results:
        results.append(Received(file, None, False, f"it holds no box of {case}", refused=True))
    return results


def cut(file: Path, returned: LabelFile, space: Space, tasks: Sequence[Task], ignore: int) -> dict[str, Boxed]:
    """The box of each of ``tasks`` (all of one case, whose array has ``space``) that the file reaches, by task id.

    A file whose voxels are not those of the image is an error: labels are never resampled.
    """
    try:
        placed = align(space, returned.space)
    except ValueError as error:
        raise NnActiveError(
            f"{file}: {error}. Its voxels are not those of the image. Save the label map on the grid of the exported one "
            "(in Slicer: Segmentations > Export > reference volume; elsewhere: resample with nearest neighbour)."
        ) from None
    array = placed.turned(returned.labels)
    found, outside = {}, array.copy()
    for task in tasks:
        start = [a - p for a, p in zip(task.patch.start, placed.start, strict=True)]
        low = [max(0, a) for a in start]
        high = [min(n, a + s) for n, a, s in zip(array.shape, start, task.patch.size, strict=True)]
        reached = all(a < b for a, b in zip(low, high, strict=True))
        if not reached and returned.whole:
            continue
        # A .seg.nrrd is cut to what its segments cover; beyond, it says background.
        labels = np.full(task.patch.size, ignore if returned.whole else 0, array.dtype)
        if reached:
            source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
            labels[target] = array[source]
            outside[source] = 0
        missing = labels.size - int(np.prod([b - a for a, b in zip(low, high, strict=True)])) if returned.whole else 0
        found[task.id] = Boxed(labels, missing, 0)
    stray = int(np.count_nonzero((outside != 0) & (outside != ignore)))
    return {name: Boxed(boxed.labels, boxed.missing, stray) for name, boxed in found.items()}


def _is_lost(ledger: Ledger, answer: Answer) -> bool:
    """Whether the box that was kept cannot be read any more; its file may then be handed in anew."""
    try:
        ledger.read_answer(answer.place)
    except NnActiveError:
        return True
    return False


def _known(ledger: Ledger, who: str) -> set[tuple[str, str]]:
    """Task and sha256 of every file that ``who`` ever handed in: an older file in a folder does not replace a newer one."""
    return {(event["task"], event["sha256"]) for event in ledger.events() if event["what"] == "answer" and event["who"] == who}


def _keep(
    experiment: Experiment,
    ledger: Ledger,
    file: Path,
    task: Task,
    who: str,
    boxed: Boxed,
    returned: LabelFile,
    space: Space,
) -> None:
    """The file and the box first, the ledger's line last: a kill before it leaves files that nothing refers to."""
    received, checksum = ledger.keep(file)
    place = ledger.write_answer(task.id, checksum, boxed.labels, space.crop(task.patch))
    if sha256(ledger.folder / received) != checksum:
        raise NnActiveError(f"{file}: changed while it was imported. Import it again.")
    if task.cycle <= experiment.state["cycle"]:
        corrections.note(experiment, [task.patch.case])
    ledger.add(
        "answer",
        who,
        task=task.id,
        file=str(file.resolve()),
        received=received,
        sha256=checksum,
        place=place,
        voxels=int(boxed.labels.size),
        unsure=int(np.count_nonzero(boxed.labels == experiment.dataset.labels.ignore)),
        missing=boxed.missing,
        outside=boxed.outside,
        by_name=returned.by_name,
    )


def describe(boxed: Boxed, ignore: int, foreground: Mapping[int, str]) -> str:
    """For people: the classes found, what is left open, what was not taken."""
    size = boxed.labels.size
    parts = [
        f"{name} {100 * np.count_nonzero(boxed.labels == value) / size:.3g} %"
        for value, name in foreground.items()
        if (boxed.labels == value).any()
    ]
    text = "done" if not (boxed.labels == ignore).any() else "partly done"
    text += ": " + (", ".join(parts) or "background only")
    unsure = int(np.count_nonzero(boxed.labels == ignore))
    if unsure:
        text += f"; {100 * unsure / size:.3g} % left as ignore"
    if boxed.missing:
        text += f"; {boxed.missing} voxels of the box are not in the file"
    if boxed.outside:
        text += f"; {boxed.outside} labelled voxels outside the box were not taken"
    return text


def _examples(tasks: Sequence[Task]) -> str:
    return f"tasks are called like {tasks[0].id}. " if tasks else "there are no tasks. "
