"""Which task a returned file answers: by the task's id in its name, or by its case's name for a file of the whole image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.viewers import mitk
from nnactive_ext.images.label_files import ENDINGS
from nnactive_ext.images.names import longest_beginning
from nnactive_ext.labelling.tasks import Task

NO_ANSWERS = ("image_", mitk.START, ".")
"""How the names of exported files begin that are no answers: image crops, what MITK starts from."""


def candidates(path: Path) -> Iterator[Path]:
    """``path`` itself, or all label files below a folder, sorted; links to folders are not followed."""
    if not path.is_dir():
        if not path.exists():
            raise NnActiveError(f"{path}: no such file or folder.")
        yield path
        return
    found = [Path(folder) / name for folder, _, files in os.walk(path) for name in files]
    labels = [file for file in found if _stem(file.name) is not None and not _is_ours(file.name)]
    yield from sorted(labels)


def match(file: Path, tasks: Sequence[Task], cases: Iterable[str]) -> tuple[list[Task], bool]:
    """The tasks that ``file`` may answer, and whether it is by the case's name only; none: an empty list.

    The longest id or case that the file's name begins with counts (``c001_003_liver_1`` is not ``c001_003_liver_12``);
    ``cases`` are all there are, also those without tasks: ``liver_1_late`` is not ``liver_1`` either.
    """
    stem = _stem(file.name) or file.name
    ids = {name: task for task in tasks for name in task.names}
    named = longest_beginning(stem, ids)
    if named is not None:
        return [ids[named]], False
    longest = longest_beginning(stem, cases)
    found = [task for task in tasks if task.patch.case == longest]
    return found, bool(found)


def _is_ours(name: str) -> bool:
    # MITK saves half-done results of a task list under this name; what is done it saves without.
    return name.startswith(NO_ANSWERS) or ".interim." in name


def _stem(name: str) -> str | None:
    ending = max((e for e in ENDINGS if name.lower().endswith(e)), key=len, default=None)
    return None if ending is None else name[: -len(ending)]
