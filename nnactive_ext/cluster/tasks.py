"""What a runner asks of whatever it carries out: a step of an experiment, a share of a volume, an experiment of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol


class Task(Protocol):
    """What one process carries out. It belongs to a place: an experiment, or a benchmark."""

    @property
    def name(self) -> str: ...

    @property
    def words(self) -> str:
        """As messages name it."""
        ...

    @property
    def needs(self) -> str:
        """:data:`nnactive_ext.cluster.steps.GPU` or :data:`nnactive_ext.cluster.steps.CPU`."""
        ...

    def log(self, place: Any, /) -> Path:
        """The file that gets the output of its process."""
        ...

    def is_done(self, place: Any, /) -> bool:
        """Whether its files are there."""
        ...

    def is_visible(self, place: Any, /) -> bool:
        """Whether the files that it leaves can be seen from here."""
        ...
