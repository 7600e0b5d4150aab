"""Which files of a folder are looked at as answers, and which task a file answers, by the task's id or its case's name."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.verdict_files import is_verdicts
from nnactive_ext.exchange.viewers import facts, itksnap, mitk, slicer
from nnactive_ext.images.label_images import READABLE
from nnactive_ext.images.names import Beginnings
from nnactive_ext.images.slicer_tables import tables_of
from nnactive_ext.images.two_files import TWO_FILES, holds_voxels_of
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.paths import is_link, is_own_file, is_special

EXPORTED = frozenset(
    (
        *(facts.NAME, itksnap.WORKSPACE, slicer.BOX_FILE, slicer.SCRIPT, mitk.START, mitk.LABELS),
        *("labels.txt", "labels.ctbl", "README.txt", "index.html", "annotate.html", "niivue.js"),
    )
)
"""Names of exported files that are no answers."""
_MITK_LIST = re.compile(r".+_cycle_\d{3,}_mitk\.json")
_INTERIM = ".interim."
"""In the names of half-done results of MITK's task lists; what is done is saved without."""
_SAVED = re.compile(r"_(\d{8}T\d{6}Z)(?:[ -]?\(\d+\)|-\d+)?$")
"""What ``annotate.html`` puts behind a task's name, and browsers behind that: the time, in UTC."""
_SYSTEM = frozenset(("thumbs.db", "desktop.ini", "__macosx", "@eadir"))


@dataclass(frozen=True)
class Candidates:
    """``files``: what is read; ``unread``: everything else that neither the export nor the operating system wrote, without the
    tables that name the labels of ``files``; ``verdicts``: files with verdicts."""

    files: tuple[Path, ...]
    unread: tuple[Path, ...] = ()
    verdicts: tuple[Path, ...] = ()


def candidates(path: Path, exported: Collection[str] = EXPORTED) -> Candidates:
    """``path`` itself, or all files below a folder, sorted; links in it are not followed, pipes and devices not opened.

    Args:
        path: a file or a folder.
        exported: names of exported files that are no answers.

    Raises:
        NnActiveError: there is no such file or folder.
    """
    if not path.is_dir():
        if not path.exists():
            raise NnActiveError(f"{path}: no such file or folder.")
        if is_verdicts(path):
            return Candidates((), (), (path,))
        return Candidates((holds_voxels_of(path) or path,))
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not _is_the_systems(name)]
        found += [Path(folder) / name for name in names if not _is_the_systems(name)]
    found = [file for file in sorted(found) if not _is_ours(file.name, exported) and not holds_voxels_of(file)]
    files = tuple(file for file in found if _stem(file.name) is not None and not is_half_done(file))
    verdicts = tuple(file for file in found if is_verdicts(file))
    linked = {file for file in found if not is_own_file(file)}
    files, verdicts = (tuple(file for file in those if file not in linked) for those in (files, verdicts))
    known = {*files, *verdicts, *(table for file in files for table in tables_of(file))}
    return Candidates(files, tuple(file for file in found if file not in known or file in linked), verdicts)


def named_candidates(folder: Path) -> list[Path]:
    """The label files directly in ``folder``, sorted."""
    named = (file for file in folder.iterdir() if _stem(file.name) is not None and not _is_ours(file.name, EXPORTED))
    return sorted(filter(is_own_file, named))


def saved_at(file: Path) -> str:
    """When the browser's page from disk saved ``file``, by its name, which copying leaves alone; "" of all other files. Times
    sort as texts."""
    found = _SAVED.search(_without_ending(file.name) or "")
    return found[1] if found else ""


def stem_of(file: Path) -> str:
    """A file's name without the ending of a label map."""
    return _stem(file.name) or file.name


class Matching:
    """Finds the tasks that files may answer, by their names, however many tasks there are.

    ``cases`` are all there are, also those without tasks.
    """

    def __init__(self, tasks: Sequence[Task], cases: Collection[str]) -> None:
        self._all, self._known = tasks, cases

    @cached_property
    def _tasks(self) -> dict[str, Task]:
        return {name: task for task in self._all for name in task.names}

    @cached_property
    def _of_case(self) -> dict[str, list[Task]]:
        found: dict[str, list[Task]] = {}
        for task in self._all:
            found.setdefault(task.patch.case, []).append(task)
        return found

    @cached_property
    def _ids(self) -> Beginnings:
        return Beginnings(self._tasks)

    @cached_property
    def _cases(self) -> Beginnings:
        return Beginnings(dict.fromkeys(self._known))

    def match(self, file: Path) -> tuple[list[Task], bool]:
        """The tasks that ``file`` may answer, and whether it is by the case's name only; none: an empty list.

        The longest id or case that the file's name begins with counts (``c001_003_liver_1`` is not ``c001_003_liver_12``;
        ``liver_1_late``, a case, is not ``liver_1`` either).
        """
        stem = stem_of(file)
        if named := self._ids.one(stem):
            return [self._tasks[named]], False
        longest = self._cases.one(stem)
        found = self._of_case.get(longest, []) if longest else []
        return list(found), bool(found)

    def beside(self, file: Path) -> Task | None:
        """The task in whose folder ``file`` lies."""
        named = (self._ids.one(folder.name) for folder in file.absolute().parents)
        return next((self._tasks[name] for name in named if name is not None), None)


def match(file: Path, tasks: Sequence[Task], cases: Collection[str]) -> tuple[list[Task], bool]:
    """:meth:`Matching.match`, for one file."""
    return Matching(tasks, cases).match(file)


def is_half_done(file: Path) -> bool:
    """Whether MITK saved it for a task that is not done."""
    return _INTERIM in file.name


def why_unread(file: Path) -> str:
    """Why a file is not read as an answer, and what to do."""
    if is_link(file) and not os.path.exists(file):
        return "no such file: it is a link that leads nowhere. Put the file itself there"
    if is_link(file):
        return "a link, and links in returned folders are not followed. Put the file itself there"
    if is_special(file):
        return "a pipe, a device or a socket, not a file. Remove it"
    if is_half_done(file):
        return "a half-done result of MITK, which is not read. Accept it in MITK's task list, or delete the file"
    kind = f"files in the format {file.suffix!r}" if file.suffix else "files without an ending"
    known = ", ".join(ending for ending in READABLE if ending not in TWO_FILES)
    return f"{kind} are not read as answers. Save the labels as one of {known}; if it is no answer, move the file elsewhere"


def _is_the_systems(name: str) -> bool:
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM


def _is_ours(name: str, exported: Collection[str]) -> bool:
    return name in exported or bool(_MITK_LIST.fullmatch(name))


def _stem(name: str) -> str | None:
    """A label map's name without its ending and without the time at which a page saved it; None: no label map."""
    stem = _without_ending(name)
    return None if stem is None else _SAVED.sub("", stem)


def _without_ending(name: str) -> str | None:
    ending = max((e for e in READABLE if name.lower().endswith(e)), key=len, default=None)
    return None if ending is None else name[: -len(ending)]
