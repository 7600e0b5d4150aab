"""What an export writes down about each task before it is there: one line a task, so that no file is written anew for each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import EXPORTING
from nnactive_ext.files import read_json_if_any, sync_folder, write_json
from nnactive_ext.kept import Kept
from nnactive_ext.refusals import RESTORE
from nnactive_ext.schemas import of_text, typed

_Note = TypedDict("_Note", {"in": str, "task": str, "entry": Any})
_RECORDS: Kept[dict[str, list[Any]]] = Kept(8)


class Record:
    """By task what was written down in one of the files beside the ledger, and what an export that was killed added to it."""

    def __init__(self, name: str, kind: Any) -> None:
        """``kind``: what the file holds, by task (:func:`nnactive_ext.schemas.typed`)."""
        self.name, self.kind = name, kind

    def of(self, experiment: Experiment) -> Mapping[str, Sequence[Any]]:
        """Task id -> entries, in the order in which they were noted.

        Raises:
            NnActiveError: the file, or the lines of an export, are damaged.
        """
        file = experiment.annotation / self.name
        before = _RECORDS.of(file, lambda: read_json_if_any(file, {}, self.kind))
        added = _added(experiment.annotation / EXPORTING, self)
        return _with(before, added) if added else before


def _with(before: Mapping[str, Sequence[Any]], added: Sequence[tuple[str, Any]]) -> dict[str, Sequence[Any]]:
    found = dict(before)
    for task, entry in added:
        if entry not in (known := found.get(task, ())):
            found[task] = [*known, entry]
    return found


class Noting:
    """Notes entries of records while an export is under way, in the block of a ``with``; at its end they are put into the
    records' files. The file of the notes is there until then, so that the next command knows of an export that was killed."""

    def __init__(self, experiment: Experiment, records: Sequence[Record]) -> None:
        self._folder, self._file = experiment.annotation, experiment.annotation / EXPORTING
        self._found = {record.name: dict(record.of(experiment)) for record in records}
        _end_line(self._file)
        self._lines: BinaryIO = open(self._file, "ab")
        sync_folder(self._folder)

    def __enter__(self) -> Noting:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lines.close()
        if kind is None or not self._file.stat().st_size:
            self._finish()

    def of(self, record: Record, task: str) -> Sequence[Any]:
        """The entries of a task so far."""
        return self._found[record.name].get(task, ())

    def note(self, record: Record, task: str, entry: Any) -> None:
        """Add an entry, unless it is there; it is on the disk when this returns."""
        if entry in self.of(record, task):
            return
        self._lines.write(json.dumps({"in": record.name, "task": task, "entry": entry}).encode() + b"\n")
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._found[record.name][task] = [*self.of(record, task), entry]

    def _finish(self) -> None:
        """Write what was noted, now or by an export that was killed, into the records' files."""
        if self._file.stat().st_size:
            for name, found in self._found.items():
                write_json(self._folder / name, found, durable=True)
            sync_folder(self._folder)
        self._file.unlink()


def _end_line(file: Path) -> None:
    """Cut off what a killed process left of a line."""
    if file.is_file():
        content = file.read_bytes()
        os.truncate(file, content.rfind(b"\n") + 1)


def _added(file: Path, record: Record) -> list[tuple[str, Any]]:
    """The tasks and entries of a record in the whole lines of an export."""
    if not file.is_file():
        return []
    found = []
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], start=1):
        try:
            note = of_text(_Note, line)
            if note["in"] == record.name:
                found += [(task, entry) for task, (entry,) in typed(record.kind, {note["task"]: [note["entry"]]}).items()]
        except ValueError as error:
            raise NnActiveError(f"{file}, line {number}: damaged ({error}). {RESTORE}") from None
    return found
