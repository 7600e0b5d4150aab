"""What the server of one experiment knows: its folders, who asks, and the one lock under which it writes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import BROWSER, Experiment
from nnactive_ext.experiment.locks import LockHeld
from nnactive_ext.experiment.pseudonyms import give_pseudonyms, pseudonyms
from nnactive_ext.labelling.opening import open_experiment
from nnactive_ext.labelling.tasks import Task, asked_in
from nnactive_ext.serve.disguise import WITHHELD, disguised

if TYPE_CHECKING:
    from nnactive_ext.serve.interactive import Interactive

FOLDER = BROWSER
"""Beside the ledger: crops, drafts and uploads of the server."""
PATIENCE = 20.0
"""Seconds that an answer waits for another command."""
_ADDED = "Cases that were added after the server was started have no pseudonyms yet. Start nnactive_annotate serve again."


class NotFound(NnActiveError):
    """There is no such task or case."""


@dataclass
class Site:
    """``who``: the name of people who have not given another; ``options``: those of the crops, as the child process takes
    them; ``patience``: seconds to wait for another command that holds the experiment; ``private``: browsers get pseudonyms
    instead of the names of cases; ``interactive``: answers prompts; ``editor``: light or slicer, that of people who have not
    used one yet."""

    number: int
    who: str
    options: dict = field(default_factory=dict)
    run: dict = field(default_factory=lambda: {"device": "", "precision": "single"})
    patience: float = PATIENCE
    private: bool = False
    interactive: Interactive | None = None
    editor: str = "light"

    def __post_init__(self) -> None:
        self._writing = threading.Lock()
        self.drafting = threading.Lock()

    @property
    def experiment(self) -> Experiment:
        """As its files say now."""
        return Experiment.find(self.number)

    @cached_property
    def folder(self) -> Path:
        """Of crops, drafts and uploads; found once, because a queue of 500 tasks asks for it a thousand times."""
        return self.experiment.annotation / FOLDER

    def tasks(self, experiment: Experiment) -> Sequence[Task]:
        """The tasks of the open cycle, or of the last one while none is open, with the names of their cases."""
        return asked_in(experiment, experiment.last_loop)

    def task(self, experiment: Experiment, name: str) -> Task:
        """A task of this experiment by the whole id that browsers know it by.

        Raises:
            NotFound: there is none.
        """
        for cycle in range(experiment.last_loop, -1, -1):  # a page may show a task of a cycle that was trained meanwhile
            for task in asked_in(experiment, cycle):
                if self.shown(task).id == name:
                    return task
        # The name is not repeated where it may be one that must stay here.
        which = "such task" if self.private else f"task {name!r}"
        raise NotFound(f"{experiment.name} has no {which}. The queue lists the tasks.")

    def shown(self, task: Task) -> Task:
        """``task`` as browsers get it: its id and its case are pseudonyms on a private server.

        Raises:
            NnActiveError: its case was added after the server was started.
        """
        if not self.private:
            return task
        if not task.pseudonym:
            raise NnActiveError(_ADDED)
        return task.disguised

    def cases(self, experiment: Experiment) -> dict[str, str]:
        """The cases of the pool by the names that browsers know them by."""
        if not self.private:
            return {case: case for case in experiment.plan.pool}
        names = pseudonyms(experiment.annotation)
        if not names.keys() >= set(experiment.plan.pool):
            raise NnActiveError(_ADDED)
        return {names[case]: case for case in experiment.plan.pool}

    def case(self, experiment: Experiment, name: str) -> str:
        """A case of the pool by the name that browsers know it by.

        Raises:
            NotFound: there is none.
        """
        found = self.cases(experiment).get(name)
        if found is None:
            which = "such case" if self.private else f"case {name!r}"
            raise NotFound(f"{experiment.name} has no {which} in its pool.")
        return found

    def give_pseudonyms(self) -> None:
        """Give each case of the pool a pseudonym, those that exports use too, before anything is sent out."""
        if self.private and not pseudonyms(self.experiment.annotation).keys() >= set(self.experiment.plan.pool):
            with self.writing() as experiment:
                give_pseudonyms(experiment.annotation, experiment.plan.pool)

    def told(self, text: str) -> str:
        """A message as browsers get it; what a private server keeps back is written to its terminal."""
        if not self.private:
            return text
        shown = disguised(text, self.experiment)
        if shown == WITHHELD:
            print(text, file=sys.stderr, flush=True)
        return shown

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
