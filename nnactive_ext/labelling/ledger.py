"""The append-only record of everything that annotators handed in, took back or decided: nothing in it is ever lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import replacing, sha256
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.writing import write_image

LEDGER = "ledger.jsonl"


@dataclass(frozen=True)
class Ledger:
    """In ``folder``: ``ledger.jsonl`` with one event a line, ``received/`` with every file as it came, ``answers/`` with
    the patch of each answer. Only the holder of the experiment's lock adds to it."""

    folder: Path

    def events(self) -> Iterator[dict[str, Any]]:
        """All events in order; what a killed process left of a line (no line end) is none."""
        file = self.folder / LEDGER
        if not file.is_file():
            return
        whole = file.read_bytes().rpartition(b"\n")[0]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                event = json.loads(line)
                if not isinstance(event, dict) or not {"event", "what", "who", "when"} <= event.keys():
                    raise ValueError("not an event")
            except ValueError as error:
                raise NnActiveError(f"{file}, line {number}: damaged ({error}). Restore the file from a backup.") from None
            yield event

    def add(self, what: str, who: str, **facts: Any) -> dict[str, Any]:
        """Append an event; it is on the disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / LEDGER
        number = sum(1 for _ in self.events())
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        event = {"event": number, "what": what, "who": who, "when": when, **facts}
        with open(file, "ab") as handle:
            written = file.read_bytes()
            start = len(written) - len(written.rpartition(b"\n")[2])
            handle.truncate(start)  # what a killed process left of a line
            try:
                handle.write(json.dumps(event).encode() + b"\n")
                handle.flush()
                os.fsync(handle.fileno())
            except OSError as error:  # a full disk may have taken half of it
                handle.truncate(start)
                error.filename = str(file)
                raise
        return event

    def numbered(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """``event`` with the number that it will have once it is added."""
        return {**event, "event": sum(1 for _ in self.events())}

    def keep(self, file: Path) -> tuple[str, str]:
        """Keep a copy of ``file`` as it came; returns its place below the folder and its sha256."""
        digest = sha256(file)
        place = Path("received") / f"{digest[:16]}_{file.name}"
        target = self.folder / place
        if not target.is_file() or sha256(target) != digest:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                shutil.copyfile(file, temporary)
        return place.as_posix(), digest

    def write_answer(self, task: str, digest: str, labels: np.ndarray, space: Space) -> str:
        """Keep the labels (z, y, x) of a task's patch; returns their place below the folder."""
        place = Path("answers") / f"{task}_{digest[:16]}_{_mark(labels)}.nii.gz"
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(target, space.image(labels))
        return place.as_posix()

    def read_answer(self, place: str) -> np.ndarray:
        """The labels as they were handed in; :func:`nnactive_ext.labelling.answers.read_answer` knows what they mean today."""
        import SimpleITK as sitk

        file = self.folder / place
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
