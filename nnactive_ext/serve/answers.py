"""An answer that a page sends: limited in size, handed to the code of ``nnactive_annotate import``, with the time it took."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.receive import Received, receive
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import TEMPORARY
from nnactive_ext.labelling.answers import TIME, CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.repeats import status_asked
from nnactive_ext.labelling.tasks import Task

_HEADER = 1 << 14
"""Bytes that the header of a label map may have."""


class TooLarge(NnActiveError):
    """An upload that no label map of the crop can be."""


@dataclass(frozen=True)
class HandedIn:
    """What became of an answer: a ``text`` for the person and the ``status`` of the task now."""

    taken: bool
    text: str
    status: str


def largest(page: Mapping[str, Any]) -> tuple[int, int]:
    """The bytes that a label map of a crop has at most, packed and unpacked; ``page``: what the crop's page shows."""
    unpacked = math.prod(page["shape"]) + _HEADER
    return unpacked + unpacked // 1000 + 1024, unpacked


def check_size(content: bytes, page: Mapping[str, Any]) -> None:
    """Refuse what unpacks to more than a label map of the crop has; what cannot be unpacked is refused where it is read.

    Raises:
        TooLarge: it is larger.
    """
    packed, unpacked = largest(page)
    if len(content) > packed:
        raise TooLarge(f"{len(content)} bytes are more than a label map of the crop has ({packed} at most).")
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        found = unpacking.decompress(content, unpacked + 1)
    except zlib.error:
        return
    if len(found) > unpacked or unpacking.unused_data:  # readers go on to unpack what lies behind the end
        raise TooLarge(f"It unpacks to more than a label map of the crop has ({unpacked} bytes at most).")


def hand_in(
    experiment: Experiment, task: Task, who: str, content: bytes, label_version: int, seconds: float, folder: Path
) -> HandedIn:
    """Import an answer; the caller holds the experiment's lock.

    Args:
        experiment: a roll-out.
        task: the task that is answered.
        who: the name of the annotator.
        content: the label map, a ``.nii.gz`` on the grid of the crop.
        label_version: with which classes it was painted (:func:`nnactive_ext.exchange.receive.receive`).
        seconds: time that the annotator worked on it.
        folder: for the upload while it is imported.

    Returns:
        What became of it.

    Raises:
        NnActiveError: it is refused, in the words of the import.
    """
    incoming = folder / f"{TEMPORARY}incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    file = incoming / f"{task.id}.nii.gz"
    try:
        file.write_bytes(content)
        (result,) = receive(experiment, [file], who, only=task, label_version=label_version)
    finally:
        file.unlink(missing_ok=True)
    if result.refused:
        # People of the page do not know the server's folders.
        raise NnActiveError(f"{task.id}: {result.text.replace(str(file), file.name)}")
    ledger = Ledger(experiment.annotation)
    counted = CountingAnswers.of(ledger)
    if seconds > 0:
        mine = [answer.event for answer in counted.answers.get(task.id, []) if answer.who == who]
        spent = {"task": task.id, "seconds": round(seconds, 1), **({"answer": mine[-1]} if mine else {})}
        if result.taken or not _is_noted(ledger, who, spent):
            ledger.add(TIME, who, **spent)
    status = status_asked(ledger, counted, task, experiment.dataset.labels.ignore)
    return HandedIn(result.taken, _said(experiment, task, result), status)


def _is_noted(ledger: Ledger, who: str, spent: Mapping[str, Any]) -> bool:
    """Whether the last time of this annotator is this one: the page sends an answer again where it got no reply."""
    times = [event for event in ledger.events() if event["what"] == TIME and event["who"] == who]
    return bool(times) and all(times[-1].get(key) == value for key, value in spent.items())


def _said(experiment: Experiment, task: Task, result: Received) -> str:
    if result.taken and task.in_place(experiment.state["cycle"]):
        return f"{result.text}. The cycle is closed: its labels follow when the next command of the experiment runs."
    return result.text


def number_of_answers(experiment: Experiment, task: Task, who: str) -> int:
    """How many answers of ``who`` to ``task`` stand in the ledger, also those that others replace."""
    counted = CountingAnswers.of(Ledger(experiment.annotation))
    return sum(answer.who == who for answer in counted.kept.get(task.id, ()))
