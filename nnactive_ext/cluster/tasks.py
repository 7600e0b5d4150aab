"""What a runner asks of whatever it carries out, and of the place that this belongs to: an experiment, or a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

GPU, CPU = "gpu", "cpu"


class Place(Protocol):
    """Of an experiment or a benchmark, on the file system that all workers see."""

    @property
    def results(self) -> Path:
        """The folder of its results."""
        ...

    @property
    def logs(self) -> Path:
        """The folder in which processes write what they do."""
        ...


class Task(Protocol):
    """A step of an experiment, or an experiment of a benchmark: what one process carries out."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> str:
        """:data:`GPU` or :data:`CPU`."""
        ...

    def log(self, place: Any, /) -> Path:
        """The file that gets the output of its process."""
        ...

    def is_done(self, place: Any, /) -> bool:
        """Whether its files are there."""
        ...
