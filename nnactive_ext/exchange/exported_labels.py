"""With which classes a task was exported: files that come back mean what their names and values meant then."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.page_note import note_of
from nnactive_ext.exchange.viewers import facts
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.label_changes import names_at
from nnactive_ext.files import read_json_if_any, write_json
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.paths import is_link
from nnactive_ext.schemas import Count

FILE = "exported_labels.json"
"""Beside the ledger: by task, how many times the classes had been changed at each of its exports."""


def versions(experiment: Experiment, sent: Collection[str]) -> dict[str, list[int]]:
    """By task: how many times the classes had been changed when it was exported, each number once; ``sent``: all tasks that
    were exported. Tasks that the file does not name were exported before any change."""
    if not experiment.plan.label_version:
        return {}
    file = experiment.annotation / FILE
    return {**{task: [0] for task in sent}, **read_json_if_any(file, {}, dict[str, list[Count]])}


def note_labels(experiment: Experiment, tasks: Sequence[Task], sent: Collection[str]) -> None:
    """Write down that ``tasks`` are about to be exported with the classes of today."""
    now, before = experiment.plan.label_version, versions(experiment, sent)
    if now:
        after = {task.id: sorted({*before.get(task.id, ()), now}) for task in tasks}
        write_json(experiment.annotation / FILE, {**before, **after}, durable=True)


def exported_now(experiment: Experiment, tasks: Sequence[Task]) -> bool:
    """Whether all of ``tasks`` were exported since the last change of the classes, if there was any."""
    now = experiment.plan.label_version
    found = versions(experiment, ())
    return not now or all(now in found.get(task.id, ()) for task in tasks)


def check_folder(folder: Path, tasks: Sequence[Task], version: int) -> None:
    """A folder that holds tasks with other classes is an error: a file in it could no longer be understood."""
    for task in tasks:
        for name in task.names:
            told = _told(folder / name, task)
            if told is not None and told.get("label_version", 0) != version:
                raise NnActiveError(
                    f"{folder}: holds tasks that were exported before the classes were changed. Choose another folder with -o; "
                    "answers in this one can still be imported."
                )


class UnknownLabels(NnActiveError):
    """Nothing tells which classes a file was painted with."""


def version_of(experiment: Experiment, file: Path, task: Task, exports: Mapping[str, Sequence[int]]) -> int:
    """How many times the classes had been changed when ``file``, an answer to ``task``, was begun.

    A page from disk writes it into what it saves; else what lies beside the file in its task's folder tells; else the exports
    of the task, where all were with the same classes.

    Raises:
        UnknownLabels: none does, or the file or the folder is of other classes than the experiment ever had.
    """
    changes, now = experiment.plan.label_changes, experiment.dataset.labels.names
    if not changes:
        return 0
    if note := note_of(file):
        if note.label_version > len(changes):
            raise UnknownLabels(f"{file}: it was painted with classes that {experiment.name} never had")
        return note.label_version
    told = _told(file.parent, task)
    if told is not None:
        version = told.get("label_version", 0)
        if version not in range(len(changes) + 1) or told.get("labels") != names_at(version, changes, now):
            raise UnknownLabels(f"{file.parent / facts.NAME}: its labels were never those of {experiment.name}")
        return version
    found = exports.get(task.id, [])
    if len(found) == 1:
        return found[0]
    known = "; ".join(
        f"-label_version {version}: {', '.join(names_at(version, changes, now))}" for version in range(len(changes) + 1)
    )
    raise UnknownLabels(
        f"the classes were changed, and nothing tells which ones {file.name} was painted with. Put it back into the folder "
        f"of its task, or say it ({known})"
    )


def _told(folder: Path, task: Task) -> facts.TaskFacts | None:
    """What ``task.json`` in ``folder`` says; None if it is not there, not readable or of another task."""
    if is_link(folder / facts.NAME):
        return None
    try:
        content = facts.read_content(folder)
    except NnActiveError:
        return None
    return content if content["id"] in task.names else None
