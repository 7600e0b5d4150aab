"""Answers in: returned files are read, checked against their tasks' patches, and kept with what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.boxed import Boxed, cut, describe
from nnactive_ext.exchange.class_files import ClassFileSorter, Parts
from nnactive_ext.exchange.crops import image_file
from nnactive_ext.exchange.export import as_exported, exported, last_export
from nnactive_ext.exchange.exported_labels import version_of, versions
from nnactive_ext.exchange.matching import EXPORTED, Matching, candidates, saved_at
from nnactive_ext.exchange.page_note import note_of
from nnactive_ext.exchange.passed_over import passed_over
from nnactive_ext.exchange.received import Received
from nnactive_ext.exchange.sent import CROPS, sent_crops
from nnactive_ext.exchange.unplaced import by_voxels, is_unplaced
from nnactive_ext.exchange.verdict_files import receive_verdicts
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.label_changes import IGNORE, mapped, names_at
from nnactive_ext.experiment.spaces import space_and_properties
from nnactive_ext.geometry.label_values import voxels_per_value
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import LabelFile, read_label_file
from nnactive_ext.images.placeless import has_no_place
from nnactive_ext.images.sizes import Grid
from nnactive_ext.images.slicer_tables import tables_of
from nnactive_ext.images.two_files import TWO_FILES, voxels_of
from nnactive_ext.labelling.answers import TIME, Answer, CountingAnswers, read_answer
from nnactive_ext.labelling.closing import note
from nnactive_ext.labelling.ledger import Ledger, sha256
from nnactive_ext.labelling.tasks import Task, all_asked
from nnactive_ext.paths import is_own_file
from nnactive_ext.refusals import refusing

_LAYERS = 64
"""Numbers of a voxel that are always read, so that who reads them says what is wrong with them."""


@dataclass(frozen=True)
class Offer:
    """What one file would answer to one task. ``by_case``: it is of a whole image, and its name has no task in it;
    ``in_folder``: it was found in a folder, nobody named it; ``untouched``: nobody saved it since it was exported."""

    file: Path
    task: Task
    boxed: Boxed
    checksum: str
    space: Space
    by_name: bool
    whole: bool
    by_case: bool
    in_folder: bool
    untouched: bool
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Chosen:
    """The offer that is taken for a task; ``current``: the answer of the same annotator so far, and whether the offer
    ``is_known``, because it says the same."""

    offer: Offer
    current: Answer | None
    is_known: bool


@dataclass(frozen=True)
class _ImportContext:
    """What is asked of every file: the ledger, its events and answers, and all exports, as they were when receiving began
    (a task's offers are decided together, so nothing that is taken meanwhile matters to another)."""

    experiment: Experiment
    ledger: Ledger
    counted: CountingAnswers
    tasks: Sequence[Task]
    sent: Mapping[str, Sequence[str]]
    exports: Mapping[str, Sequence[int]]
    who: str
    unchanged: bool
    outside: bool
    label_version: int | None
    crops: Mapping[str, Sequence[Any]]
    parts: dict[Path, Parts] = field(default_factory=dict)
    """Files that stand for a mask of each class."""

    @cached_property
    def matching(self) -> Matching:
        return Matching(self.tasks, (*self.experiment.plan.pool, *self.experiment.plan.dropped))

    def grid_of(self, case: str) -> Grid | None:
        """What label maps of a case must lie on; None where the image cannot be read, which is said of the file then."""
        try:
            space = space_and_properties(self.experiment, case)[0]
            # A layer for each class, as where 3D Slicer's segments overlap, and one for what is open.
            layers = len(self.experiment.dataset.labels.names) + 1
            return Grid(space, not is_unplaced(self.experiment, case), max(layers, _LAYERS))
        except NnActiveError:
            return None

    @cached_property
    def cycle(self) -> int:
        """That of the labels in place, while the lock is held."""
        return int(self.experiment.state["cycle"])

    @property
    def ignore(self) -> int:
        return self.experiment.dataset.labels.ignore


def receive(
    experiment: Experiment,
    paths: Sequence[Path],
    who: str,
    only: Task | None = None,
    unchanged: bool = False,
    label_version: int | None = None,
    outside: bool = False,
) -> list[Received]:
    """Import answers: files, or all label files below folders; each is accepted, skipped or refused by itself.

    Args:
        experiment: a roll-out.
        paths: files and folders.
        who: the name of the annotator.
        only: the task that the files answer, whatever their names.
        unchanged: accept files that were not saved after the export, and patches without any label in files of whole
            images: the prediction is right, or there is nothing in them.
        label_version: with which classes the files were painted: those after so many changes (default: what the files' folders
            and the exports tell).
        outside: accept files with many labelled voxels outside the patch, which are skipped.

    Returns:
        What became of each file, with a text for the user.
    """
    changes = len(experiment.plan.label_changes)
    if label_version is not None and not 0 <= label_version <= changes:
        raise NnActiveError(f"-label_version {label_version}: the classes were changed {changes} times; give 0 to {changes}.")
    ledger = Ledger(experiment.annotation)
    tasks, sent = all_asked(experiment), exported(experiment, needed=True)
    counted, exports = CountingAnswers.of(ledger), versions(experiment, sent)
    crops = CROPS.of(experiment)
    context = _ImportContext(experiment, ledger, counted, tasks, sent, exports, who, unchanged, outside, label_version, crops)
    channels = experiment.dataset.json["channel_names"].values()
    ours = {*EXPORTED, *map(image_file, channels)}
    results: list[Received] = []
    offers: dict[str, list[Offer]] = {}
    # All of them first: a path that does not exist changes nothing.
    listed = [(path, candidates(path, ours)) for path in paths]
    for path, found in listed:
        if path.is_dir() and not found.files and not found.verdicts:
            results.append(Received(path, None, False, "no label file is in this folder", refused=True))
        results += passed_over(found.unread, context.matching, only)
    for file, in_folder in _sorted(context, [(path, found.files) for path, found in listed], only, results):
        for item in _read(context, file, only, in_folder):
            if isinstance(item, Received):
                results.append(item)
            else:
                offers.setdefault(item.task.id, []).append(item)
    closed = {result.closes for result in results if result.closes}
    instead = {task: result.file for result in results for task in result.instead_of}
    decided: list[Received | _Chosen] = []
    for task_id, offered in offers.items():
        open_ones = [offer for offer in offered if not (offer.in_folder and task_id in closed)]
        if open_ones:
            decided += _decide(context, open_ones, instead.get(task_id))
    new = [one.offer.task for one in decided if isinstance(one, _Chosen) and not one.is_known]
    note(experiment, [task.patch.case for task in new if task.in_place(context.cycle)])
    results += [_take(context, one) if isinstance(one, _Chosen) else one for one in decided]
    # Last, so that whoever calls a patch irrelevant need not remove a label map of it.
    return results + receive_verdicts(experiment, [file for _, found in listed for file in found.verdicts], who)


def _sorted(
    context: _ImportContext, found: Sequence[tuple[Path, Sequence[Path]]], only: Task | None, results: list[Received]
) -> Iterator[tuple[Path, bool]]:
    """The files to read, and whether each was found in a folder; files of one class are one file of ``context.parts``."""
    plan, now = context.experiment.plan, context.experiment.dataset.labels.names
    names = dict(now)
    for version in range(len(plan.label_changes)):
        names = {**names_at(version, plan.label_changes, now), **names}
    sorter = ClassFileSorter(context.matching, names, only, context.grid_of)
    for in_folder in (False, True):
        files = dict.fromkeys(file for path, inside in found for file in inside if path.is_dir() == in_folder)
        made = sorter.sort(files, not in_folder, context.unchanged)
        context.parts.update(made.parts)
        for file, (tasks, text) in made.refused.items():
            results.append(Received(file, tasks[0], False, text, refused=True, instead_of=tuple(task.id for task in tasks)))
        yield from ((file, in_folder) for file in made.files)


def _read(context: _ImportContext, file: Path, only: Task | None, in_folder: bool) -> list[Received | Offer]:
    """What a file offers to the tasks that it may answer, or why it offers nothing; the other files go on."""
    try:
        with refusing(file):
            return list(_offered(context, file, only, in_folder))
    except NnActiveError as error:
        return [Received(file, None, False, str(error).removeprefix(f"{file}: "), refused=True)]


def _offered(context: _ImportContext, file: Path, only: Task | None, in_folder: bool) -> Iterator[Received | Offer]:
    experiment = context.experiment
    parts = context.parts.get(file)
    matched, by_case = ([only], False) if only else context.matching.match(file)
    if parts:
        matched, by_case = list(parts.tasks), parts.by_case
    if by_case:
        matched = [task for task in matched if _may_answer(context, file, task)]
    if not matched:
        text = "no task is called like it, nor a case that has open tasks; "
        text += f"{_examples(context.tasks)}Name it so, or say which with -task."
        near = context.matching.beside(file) if in_folder else None
        yield Received(file, None, False, text, refused=not in_folder, instead_of=(near.id,) if near else ())
        return
    ids = tuple(task.id for task in matched)
    try:
        with refusing(file):
            if file.name.lower().endswith(TWO_FILES):
                raise NnActiveError(f"{file}: its voxels are in another file. Save it as one file: .mha, .nrrd or .nii.gz.")
            space, _ = space_and_properties(experiment, matched[0].patch.case)
            checksum = parts.files.checksum if parts else _checksum(_voxels(file))
            marked = not parts and as_exported(file)
            sent = marked or any(checksum in context.sent.get(task.id, []) for task in matched)
            returned, boxes = _boxes(context, file, space, matched, by_case, sent)
    except NnActiveError as error:
        text = str(error).removeprefix(f"{file}: ")
        yield Received(file, matched[0], False, text, refused=True, instead_of=ids)
        return
    if not boxes:
        where = f"of the {len(matched)} open patches of {matched[0].patch.case}" if by_case else "of the task's patch"
        yield Received(file, matched[0], False, f"it holds no voxel {where}", refused=True, instead_of=ids)
    for task in matched:
        if task.id in boxes:
            untouched = marked or checksum in context.sent.get(task.id, [])
            facts = (checksum, space, returned.by_name, returned.whole, by_case, in_folder, untouched, returned.told)
            yield Offer(file, task, boxes[task.id], *facts)


def _files(context: _ImportContext, file: Path) -> tuple[Path, ...]:
    """``file``, or the masks of each class that it stands for."""
    parts = context.parts.get(file)
    return tuple(part for _, part in parts.files.files) if parts else (file,)


def _voxels(file: Path) -> Path:
    """The file itself, or of a pair the one that changes when somebody paints."""
    return voxels_of(file) if file.suffix.lower() == ".hdr" else file


def _sent(context: _ImportContext, file: Path, space: Space, task: Task) -> list[tuple[str, Patch]]:
    """What was sent for ``task``, and where it lies in its image; the patch itself comes last."""
    folders = (file.parent, *(last_export(context.experiment, task.cycle) / name for name in task.names))
    crops = sent_crops(context.crops, task, folders, space.shape)
    return [*(("the exported label map", crop) for crop in crops), ("the patch", task.patch)]


def _checksum(file: Path) -> str:
    """Of its bytes.

    Raises:
        NnActiveError: it cannot be opened.
    """
    try:
        return sha256(file)
    except OSError as error:
        raise NnActiveError(f"{file}: no such file, or it cannot be opened ({error.strerror}).") from None


def _boxes(
    context: _ImportContext, file: Path, space: Space, tasks: Sequence[Task], by_case: bool, untouched: bool
) -> tuple[LabelFile, dict[str, Boxed]]:
    """What ``file`` says about the patches of ``tasks``, in the values of today: it was painted with those of its export.
    ``untouched``: it is as it was exported, so that a colour table beside it is another label map's."""
    experiment, given = context.experiment, context.label_version
    changes, now = experiment.plan.label_changes, experiment.dataset.labels.names
    by_version: dict[int, list[Task]] = {}
    for task in tasks:
        version = version_of(experiment, file, task, context.exports) if given is None else given
        by_version.setdefault(version, []).append(task)
    sent = [] if by_case else _sent(context, file, space, tasks[0])
    places, grid = [space.crop(box) for _, box in sent], context.grid_of(tasks[0].patch.case)
    image = ("the image", Patch(tasks[0].patch.case, (0, 0, 0), space.shape))
    found: dict[str, Boxed] = {}
    for version, same in by_version.items():
        names = names_at(version, changes, now)
        parts = context.parts.get(file)
        read = (
            parts.files.read(names, places, grid)
            if parts
            else read_label_file(file, names, places, beside=not untouched, grid=grid)
        )
        returned = by_voxels(experiment, tasks[0].patch.case, file, read, by_case)
        sizes = sent if returned.whole else sent[:-1]  # of a file that is cut to its paint the patch's size means nothing
        # One mask without a place among others is enough for its axes to be doubtful.
        doubtful = next(filter(has_no_place, _files(context, file)), file)
        for name, boxed in cut(doubtful, returned, space, same, names[IGNORE], [*sizes, image], by_case).items():
            found[name] = replace(boxed, labels=mapped(boxed.labels, changes[version:]))
    return returned, found


def _may_answer(context: _ImportContext, file: Path, task: Task) -> bool:
    """Whether a file of a whole image may: what somebody answered in another file it may hold by accident only."""
    answers = context.counted.answers.get(task.id, [])
    mine = [answer for answer in answers if answer.who == context.who]
    if mine:
        return Path(mine[-1].file).name == file.name
    return not answers or task.cycle > context.cycle


def _decide(context: _ImportContext, offers: Sequence[Offer], instead: Path | None) -> Iterator[Received | _Chosen]:
    """What becomes of all files that are offered for one task. Which of them was saved last is not asked: copying a folder
    may change that. ``instead``: a file that was not taken, and may hold what was drawn for the task."""
    task = offers[0].task
    last = max(saved_at(offer.file) for offer in offers)
    for offer in offers:
        if "" < saved_at(offer.file) < last:
            yield Received(offer.file, task, False, "its page saved the task again later, in another of these files")
    offers = [offer for offer in offers if saved_at(offer.file) in ("", last)]
    current = next((a for a in context.counted.answers.get(task.id, []) if a.who == context.who), None)
    lost = current is not None and _is_lost(context.ledger, current)
    good: list[Offer] = []
    for offer in offers:
        text = _objection(context, offer)
        if text:
            refused = (not offer.in_folder and not offer.by_case) or bool(_in_doubt(context, offer))
            yield Received(offer.file, task, False, text, refused=refused, empty=text == _EMPTY)
            instead = instead if offer.untouched else offer.file
        else:
            good.append(offer)
    touched = [offer for offer in good if not offer.untouched]
    untouched = [offer for offer in good if offer.untouched]
    if untouched and not touched and instead:
        for offer in untouched:
            text = (
                f"the file was not saved after the export, and {instead.name}, which may hold the answer, was not taken. "
                "Correct or remove that file, or import this one alone"
            )
            yield Received(offer.file, task, False, text, refused=not offer.in_folder)
        return
    # Unsaved files count where nothing else was handed in, now or before, unless somebody names one.
    fallback = [o for o in untouched if not o.in_folder or (not touched and (current is None or lost))]
    chosen = touched or fallback
    for offer in untouched:
        if offer not in chosen:
            yield Received(
                offer.file, task, False, f"the file was not saved after the export; {context.who} answered in another file"
            )
    if not chosen:
        return
    handed_in, taken_back = _before(context, task)
    named = [offer for offer in chosen if not offer.in_folder]
    if named:
        chosen = named[-1:]
    else:
        back = [offer for offer in chosen if offer.checksum in taken_back and not lost]
        for offer in back:
            text = "was withdrawn. To hand it in again, import the file by its name"
            yield Received(offer.file, task, False, text)
        chosen = [offer for offer in chosen if offer not in back]
        new = [offer for offer in chosen if offer.checksum not in handed_in]
        chosen = new or chosen
        if current is not None and not lost and not new and len(chosen) > 1:
            chosen = [offer for offer in chosen if offer.checksum == current.sha256] or chosen
    if not chosen:
        return
    if any(not np.array_equal(chosen[0].boxed.labels, other.boxed.labels) for other in chosen[1:]):
        files = ", ".join(offer.file.name for offer in chosen)
        text = f"{files} answer it differently. Import the right one by its name, or name them TASK_CLASS if they are masks"
        yield Received(chosen[0].file.parent, task, False, text, refused=True)
        return
    offer, current = chosen[-1], None if lost else current
    known = current is not None and np.array_equal(read_answer(context.ledger, context.counted, current), offer.boxed.labels)
    yield _Chosen(offer, current, known)


_EMPTY = "empty, which a file of the whole image may be where nobody looked. If it is right: --accept_unchanged"


def _in_doubt(context: _ImportContext, offer: Offer) -> str:
    """Why too much lies outside the patch; empty if it does not, or if the user says that it is right, now or before."""
    if not offer.boxed.doubt or context.outside or offer.by_case or offer.untouched:
        return ""
    handed_in, taken_back = _before(context, offer.task)
    return "" if offer.checksum in handed_in - taken_back else offer.boxed.doubt


def _objection(context: _ImportContext, offer: Offer) -> str:
    """Why an offer is none; empty if it is one."""
    ignore = context.ignore
    if (offer.boxed.labels == ignore).all():
        return "the whole patch is ignore: nothing is annotated yet, or nothing that is known since the classes were changed"
    if doubt := _in_doubt(context, offer):
        return (
            f"{doubt}, and these would be skipped: was the label map moved, or is it the answer to another task? If it is "
            "right: --accept_outside"
        )
    if context.unchanged:
        return ""
    if offer.untouched:
        return (
            "the file was not saved after the export. If nothing needs a change, save it, or import it with --accept_unchanged"
        )
    if not offer.boxed.labelled(ignore):
        if offer.by_case:
            return _EMPTY
        if not offer.whole and offer.boxed.outside:
            return (
                f"nothing is labelled in the patch, but {offer.boxed.outside} voxels elsewhere are: is it the answer to "
                "another task? If it is right: --accept_unchanged"
            )
    return ""


def _take(context: _ImportContext, chosen: _Chosen) -> Received:
    offer, current = chosen.offer, chosen.current
    if current is not None and chosen.is_known:
        _note_time(context, offer, current.event)
        return Received(offer.file, offer.task, False, f"handed in by {context.who} before", counts=True)
    _note_time(context, offer, _keep(context, offer))
    labels = context.experiment.dataset.labels
    unplaced = any(map(has_no_place, _files(context, offer.file)))
    instead = "; read in the order z, y, x, as napari shows the crop" if unplaced else ""
    instead += f" (replaces the answer of {current.when})" if current else ""
    return Received(
        offer.file,
        offer.task,
        True,
        "; ".join([describe(offer.boxed, labels.ignore, labels.foreground), *offer.told]) + instead,
        untouched=offer.untouched,
    )


def _is_lost(ledger: Ledger, answer: Answer) -> bool:
    """Whether the patch that was kept cannot be read any more; its file may then be handed in anew."""
    try:
        ledger.read_answer(answer.place)
    except NnActiveError:
        return True
    return False


class _ByTask:
    """The events of the ledger by the task that they are about."""

    def __init__(self) -> None:
        self.events: dict[str, tuple[Mapping[str, Any], ...]] = {}

    def follow(self, event: Mapping[str, Any]) -> None:
        if task := event.get("task"):
            self.events[task] = (*self.events.get(task, ()), event)


def _before(context: _ImportContext, task: Task) -> tuple[set[str], set[str]]:
    """The sha256 of the files that the annotator handed in for ``task``, and of those whose last answer was taken back."""
    answers: dict[int, str] = {}
    handed_in: set[str] = set()
    taken_back: set[str] = set()
    for event in context.ledger.followed(_ByTask, lambda found: found.events.get(task.id, ())):
        if event["who"] == context.who:
            if event["what"] == "answer":
                answers[event["event"]] = event["sha256"]
                handed_in.add(event["sha256"])
                taken_back.discard(event["sha256"])
            elif event["what"] == "withdraw":
                taken_back.add(answers.get(event["withdrawn"], ""))
    return handed_in, taken_back


def _note_time(context: _ImportContext, offer: Offer, answer: int) -> None:
    """Add the time that a page from disk wrote into the file to the event ``answer``; of several saves, each second once."""
    if (note := note_of(offer.file)) is None:
        return
    facts = {"task": offer.task.id, "page": note.page}
    about = context.ledger.followed(_ByTask, lambda found: found.events.get(offer.task.id, ()))
    mine = [event for event in about if event["what"] == TIME and event["who"] == context.who]
    before = max((event["total"] for event in mine if facts.items() <= event.items()), default=0)
    if note.seconds > before:
        seconds = float(note.seconds - before)
        context.ledger.add(TIME, context.who, seconds=seconds, answer=answer, total=note.seconds, **facts)


def _keep(context: _ImportContext, offer: Offer) -> int:
    """The file and the patch first, the ledger's line last: a kill before it leaves files that nothing refers to. Returns the
    number of the line."""
    ledger = context.ledger
    file, task, boxed = offer.file, offer.task, offer.boxed
    parts = context.parts.get(file)
    files = parts.files.files if parts else (("", file),)
    kept = [(name, part, *ledger.keep(_voxels(part))) for name, part in files]
    for _, part in files:
        for other in (part, *tables_of(part)):
            if other != _voxels(part) and (other == part or is_own_file(other)):
                ledger.keep(other)
    received, checksum = kept[0][2], parts.files.checksum if parts else kept[0][3]
    place = ledger.write_answer(task.id, checksum, boxed.labels, offer.space.crop(task.patch))
    if checksum != offer.checksum or any(sha256(ledger.folder / copy) != digest for _, _, copy, digest in kept):
        raise NnActiveError(f"{file}: the file changed during the import. Import it again.")
    classes = [{"class": n, "file": str(f.resolve()), "received": r, "sha256": d} for n, f, r, d in kept]
    event = ledger.add(
        "answer",
        context.who,
        task=task.id,
        file=str(file.resolve()),
        received=received,
        sha256=checksum,
        place=place,
        voxels=int(boxed.labels.size),
        unsure=int(np.count_nonzero(boxed.labels == context.ignore)),
        missing=boxed.missing,
        outside=boxed.outside,
        by_name=offer.by_name,
        counts=voxels_per_value(boxed.labels),
        **({"class_files": classes} if parts else {}),
    )
    return int(event["event"])


def _examples(tasks: Sequence[Task]) -> str:
    return f"tasks are called like {tasks[0].id}. " if tasks else "there are no tasks. "
