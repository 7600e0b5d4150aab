"""What became of a file that was handed in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.labelling.tasks import Task


@dataclass(frozen=True)
class Received:
    """What became of one file: for each task it answers what to tell the user, whether that was taken, and the answer."""

    file: Path
    task: Task | None
    taken: bool
    text: str
    refused: bool = False
    untouched: bool = False
    """Whether the file was not saved after the export."""
    counts: bool = False
    """Whether it was handed in before, and is the answer already."""
    empty: bool = False
    """Whether it was left out because a file of a whole image says nothing there."""
    instead_of: tuple[str, ...] = ()
    """Ids of tasks whose untouched export must not be taken, because this file may hold what was drawn."""
    follow: tuple[str, ...] = ()
    """Cases whose labels, or whose place in the pool, must follow a verdict."""
    closes: str = ""
    """Id of the task of which no file found in a folder is taken, because this file, called like it, was not read."""
