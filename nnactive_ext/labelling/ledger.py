"""The append-only record of everything that annotators handed in, took back or decided: nothing in it is ever lost."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import replacing, sha256, sync_folder
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.own_labels import read_own
from nnactive_ext.images.writing import write_image
from nnactive_ext.labelling import seen
from nnactive_ext.labelling.chain import PREVIOUS, End, digest, line_of
from nnactive_ext.labelling.followed import F, R, added, followed, forget, known
from nnactive_ext.paths import check_regular, name_problem, shortened

LEDGER = "ledger.jsonl"
_TOLD: set[Path] = set()
"""Ledgers of which this process was told that they are copies."""


@dataclass(frozen=True)
class Ledger:
    """In ``folder``: ``ledger.jsonl`` with one event a line, chained (:mod:`nnactive_ext.labelling.chain`), ``received/`` with
    every file as it came, ``answers/`` with the patch of each answer. Only the holder of the experiment's lock adds to it."""

    folder: Path

    def events(self) -> Iterator[dict[str, Any]]:
        """All events in order; what a killed process left of a line (no line end) is none.

        Raises:
            NnActiveError: a line is damaged, or was changed, moved, inserted or deleted; lines at the end are missing, or all.
        """
        if self._is_there():
            yield from tuple(known(self.folder / LEDGER).events)

    def followed(self, kind: Callable[[], F], then: Callable[[F], R]) -> R:
        """What ``then`` returns of a ``kind()`` that has followed all events, those before only once in this process."""
        return followed(self.folder / LEDGER, kind, then) if self._is_there() else then(kind())

    def _is_there(self) -> bool:
        """Whether there is a ledger; one that is lost is an NnActiveError."""
        file = self.folder / LEDGER
        if not file.is_file():
            seen.check_missing(file)
            return False
        return True

    def restored(self) -> str:
        """What to tell where the ledger is a copy, as in an experiment that was restored from a backup; empty if it is the file
        that was written. A process is told once, until the next event is added."""
        file = self.folder / LEDGER
        if file in _TOLD or not file.is_file() or not seen.is_copy(file):
            return ""
        _TOLD.add(file)
        return (
            f"{file}: the experiment was copied, or restored from a backup. The ledger has {seen.told(known(file).events)}. "
            "What was handed in after that is not in it: import it again."
        )

    def add(self, what: str, who: str, **facts: Any) -> dict[str, Any]:
        """Append an event; it is on the disk when this returns.

        Raises:
            NnActiveError: as :meth:`events`; nothing is added then.
        """
        self._begin()
        file = self.folder / LEDGER
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with open(file, "ab") as handle:
            before = known(file, handle.fileno())
            end = before.end
            event = {"event": end.events, "what": what, "who": who, "when": when, **facts}
            line = line_of(event, end)
            self._keep_unfinished(end)
            try:
                handle.truncate(end.size)
                handle.write(line)
                handle.flush()
                os.fsync(handle.fileno())
            except OSError as error:  # a full disk may have taken half of it
                forget(file)
                with suppress(OSError):
                    handle.truncate(end.size)
                error.filename = str(file)
                raise
            after = End(end.events + 1, end.size + len(line), digest(line))
            added(file, handle.fileno(), before, line, after)
            seen.note(file, after, os.fstat(handle.fileno()).st_ino)
            _TOLD.discard(file)
        return {**event, PREVIOUS: end.previous}

    def _begin(self) -> None:
        """The ledger is there before the first file that only its lines explain."""
        if not self._is_there():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / LEDGER).touch()
            sync_folder(self.folder)

    def _keep_unfinished(self, end: End) -> None:
        """What a killed process left of a line, beside the ledger."""
        with open(self.folder / LEDGER, "rb") as handle:
            handle.seek(end.size)
            rest = handle.read()
        if rest:
            with replacing(self.folder / f"ledger_unfinished_{end.events:06d}_{digest(rest)[:8]}.txt") as temporary:
                temporary.write_bytes(rest)

    def _room(self, name: str) -> Path:
        """A folder for files that lines will name."""
        self._begin()
        folder = self.folder / name
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(self.folder)
        return folder

    def numbered(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """``event`` with the number that it will have once it is added."""
        file = self.folder / LEDGER
        return {**event, "event": known(file).end.events if self._is_there() else 0}

    def keep(self, file: Path) -> tuple[str, str]:
        """Keep a copy of ``file`` as it came; returns its place below the folder and its sha256."""
        checksum = sha256(file)
        place = Path("received") / f"{checksum[:16]}_{shortened(file.name)}"
        target = self.folder / place
        if not target.is_file() or sha256(target) != checksum:
            self._room("received")
            with replacing(target) as temporary:
                shutil.copyfile(file, temporary)
        return place.as_posix(), checksum

    def write_answer(self, task: str, digest: str, labels: np.ndarray, space: Space) -> str:
        """Keep the labels (z, y, x) of a task's patch; returns their place below the folder."""
        place = Path("answers") / f"{task}_{digest[:16]}_{_mark(labels)}.nii.gz"
        target = self.folder / place
        self._room("answers")
        write_image(target, space.image(labels))
        return place.as_posix()

    def read_answer(self, place: str) -> np.ndarray:
        """The labels as they were handed in; :func:`nnactive_ext.labelling.answers.read_answer` knows what they mean today."""
        folder, _, name = place.partition("/")
        if folder != "answers" or name_problem(name):
            raise NnActiveError(f"{self.folder / LEDGER}: the place of an answer is {place!r}. Restore the file from a backup.")
        file = self.folder / place
        check_regular(file)
        labels = read_own(file)
        if labels is not None and file.name.endswith(f"_{_mark(labels)}.nii.gz"):
            return labels
        import SimpleITK as sitk

        try:
            labels = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        except RuntimeError:
            labels = None
        # ITK takes what a damaged file lacks for zeros.
        if labels is None or not file.name.endswith(f"_{_mark(labels)}.nii.gz"):
            raise NnActiveError(f"{file}: missing or damaged, though the ledger lists it. Import its file anew.")
        return labels


def _mark(labels: np.ndarray) -> str:
    return hashlib.sha256(labels.tobytes()).hexdigest()[:8]
