"""What the server of one experiment knows: its folders, who asks, and the one lock under which it writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.locks import LockHeld
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.labelling.tasks import Task, tasks_of

FOLDER = "browser"
"""Beside the ledger: crops, drafts and uploads of the server."""
PATIENCE = 20.0
"""Seconds that an answer waits for another command."""


class NotFound(NnActiveError):
    """There is no such task or case."""


@dataclass
class Site:
    """``who``: the name of people who have not given another; ``options``: those of the crops, as the child process takes
    them; ``patience``: seconds to wait for another command that holds the experiment."""

    number: int
    who: str
    options: dict = field(default_factory=dict)
    patience: float = PATIENCE
    editor: str = "light"

    def __post_init__(self) -> None:
        self._writing = threading.Lock()
        self.drafting = threading.Lock()

    @property
    def experiment(self) -> Experiment:
        """As its files say now."""
        return Experiment.find(self.number)

    @property
    def folder(self) -> Path:
        return self.experiment.annotation / FOLDER

    def tasks(self, experiment: Experiment) -> Sequence[Task]:
        """The tasks of the open cycle, or of the last one while none is open."""
        return tasks_of(experiment, experiment.last_loop)

    def task(self, experiment: Experiment, name: str) -> Task:
        """A task of this experiment by its whole id.

        Raises:
            NotFound: there is none.
        """
        for task in self.tasks(experiment):
            if task.id == name:
                return task
        raise NotFound(f"{experiment.name} has no task {name!r} in its last cycle. The queue lists the tasks.")

    @contextmanager
    def writing(self) -> Iterator[Experiment]:
        """Hold the experiment, alone among the people of this server; other commands are waited for, but not forever."""
        with self._writing:
            end = time.monotonic() + self.patience
            while True:
                lock = self.experiment.lock()
                try:
                    lock.__enter__()
                    break
                except LockHeld:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.2)
            try:
                yield open_experiment(self.number, locked=True)
            finally:
                lock.__exit__(None, None, None)
