"""Files of a folder that are not read: each is named, and an export that nobody saved is no answer beside one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nnactive_ext.exchange.matching import Matching, is_half_done, why_unread
from nnactive_ext.exchange.received import Received
from nnactive_ext.labelling.tasks import Task

_DOCUMENTS = (".txt", ".md", ".pdf", ".doc", ".docx", ".csv", ".xlsx", ".html", ".log", ".png", ".jpg", ".jpeg", ".py")
"""Endings of files that hold nobody's label map, unless they are called like a task."""


def passed_over(files: Sequence[Path], matching: Matching, only: Task | None) -> Iterator[Received]:
    """What becomes of files that are not read.

    A file called like a task refuses the task, but for half-done results of MITK. One in the folder of a task, or called like a
    case, may hold what was drawn, too, so that the untouched exports of these tasks are not taken.

    Args:
        files: those in an imported folder that are not read, none of them written by an export.
        matching: knows all tasks and cases.
        only: the task that all files of the folder answer, whatever their names.
    """
    for file in files:
        text = why_unread(file)
        matched, by_case = matching.match(file)
        if matched and not by_case and not (only and only not in matched):
            (task,) = matched
            if is_half_done(file):
                yield Received(file, None, False, text, instead_of=(task.id,))
            else:
                more = f". Nothing is taken for {task.id}, unless its label map is imported by its own name"
                yield Received(file, task, False, text + more, refused=True, closes=task.id)
            continue
        near = matching.beside(file)
        meant = matched or ([near] if near else [])
        ids = () if file.name.lower().endswith(_DOCUMENTS) else tuple(task.id for task in meant)
        yield Received(file, None, False, text, instead_of=ids)
