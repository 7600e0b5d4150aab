"""A change of several files as one file, the journal: what is begun is finished by whatever command comes next."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import status_of
from nnactive_ext.experiment.locks import holder, step_file
from nnactive_ext.files import read_json, read_json_if_any, sync_folder, write_json
from nnactive_ext.nnunet.dataset import number_and_name
from nnactive_ext.paths import name_problem
from nnactive_ext.refusals import RESTORE
from nnactive_ext.schemas import JsonObject, one_of, typed

JOURNAL = "nnactive_journal.json"
"""In an experiment's raw folder while a change is carried out."""
FINISHED = "nnactive_finished.json"
"""Beside it, until the command is typed again."""
RAW, PREPROCESSED = "raw", "preprocessed"
"""Which folder of the experiment the name of a file in a journal is relative to."""


def _inside(name: str) -> None:
    if any(map(name_problem, name.split("/"))) or not name.endswith(".json"):
        raise ValueError(f"{name!r} is no JSON file of an experiment")


class _Event(TypedDict):
    """Of the ledger, with more facts."""

    what: str
    who: str


def _event(event: Mapping[str, Any]) -> None:
    typed(_Event, dict(event))


@dataclass(frozen=True)
class NewFile:
    """A JSON file of the experiment and what will be in it; ``folder`` is :data:`RAW` or :data:`PREPROCESSED`."""

    folder: Annotated[str, one_of(RAW, PREPROCESSED)]
    name: Annotated[str, _inside]
    content: Any


@dataclass(frozen=True)
class Journal:
    """All that a change still has to do, once nothing can go wrong with it. Each step may be repeated.

    In this order: the ``files`` are written; the ``events`` (``what``, ``who`` and facts) that are not yet in the ledger are
    added to it; with ``put_away``, trained members are put where those of earlier cycles are; the labels of the cases
    ``relabel`` are written and preprocessed anew; the files ``last`` are written.

    ``what`` names the change for people, and ``id`` is in each event. ``command`` is what was typed, where that would do more
    if it were done again; empty for changes that follow from others.
    """

    what: str
    files: tuple[NewFile, ...] = ()
    events: tuple[Annotated[Mapping[str, Any], _event], ...] = ()
    put_away: bool = False
    relabel: tuple[str, ...] = ()
    last: tuple[NewFile, ...] = ()
    command: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def write(self, raw: Path) -> None:
        """From now on the change will be carried out, whatever happens."""
        write_json(raw / JOURNAL, asdict(self))
        sync_folder(raw)

    @classmethod
    def read(cls, raw: Path) -> Journal | None:
        """The journal in an experiment's raw folder, None if there is none; a damaged one is an NnActiveError."""
        file = raw / JOURNAL
        if not file.is_file():
            return None
        content = read_json(file, JsonObject)
        try:
            return typed(cls, content)
        except ValueError as error:
            raise NnActiveError(f"{file}: damaged ({error}). {RESTORE}") from None


def remove(raw: Path) -> None:
    """The change is complete."""
    (raw / JOURNAL).unlink(missing_ok=True)
    sync_folder(raw)


once: ContextVar[str] = ContextVar("once", default="")
"""The command that was typed, where it does more if it is done again, as a withdrawal does."""


class Finished(TypedDict):
    """A change that was finished, and whose command may not have said so: it was killed, or failed."""

    command: str
    what: str


def note_finished(raw: Path, change: Journal) -> None:
    """Remember that a change is finished, for whoever types its command again."""
    if change.command:
        write_json(raw / FINISHED, Finished(command=change.command, what=change.what))


def was_finished(raw: Path) -> str:
    """The change that the command :data:`once` began before, and that was finished without its saying so; empty otherwise."""
    found = read_json_if_any(raw / FINISHED, {}, Finished, "Delete it.")
    return str(found["what"]) if once.get() and found.get("command") == once.get() else ""


def said(raw: Path) -> None:
    """The command :data:`once` has said what it did: typed again, it does more."""
    if was_finished(raw):
        (raw / FINISHED).unlink()


def refuse_unfinished(raw: Path) -> None:
    """A change that was begun and not finished is an NnActiveError that says how to finish it; one that another process is
    making is waited for."""
    file, began, told = raw / JOURNAL, time.monotonic(), 0
    while file.is_file() and (who := holder(step_file(number_and_name(raw.name)[0]))):
        if (minutes := int((time.monotonic() - began) // 60)) >= told:
            print(f"Waiting: {who} is changing the experiment.", file=sys.stderr, flush=True)
            told = minutes + 1
        time.sleep(0.2)
    if file.is_file():
        raise NnActiveError(
            f"{raw / JOURNAL}: a change of this experiment was interrupted. Finish it first: {status_of(raw.name)}"
        )


def refuse_unfinished_of(dataset: str) -> None:
    """The same for whom only nnU-Net tells the name of the dataset, as its trainers; nothing without ``nnUNet_raw``."""
    if folder := os.environ.get("nnUNet_raw"):
        refuse_unfinished(Path(folder) / dataset)
