"""Which is to blame when steps fail within seconds: the step, or the worker on which every step fails (a broken GPU)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nnactive_ext.cluster.children import Outcome
from nnactive_ext.cluster.tasks import Task

QUICK = 60.0
"""A step that fails after fewer seconds may have failed because of its worker."""
IN_A_ROW = 2
"""Such failures on one worker, one after the other, after which it gets no more steps."""


@dataclass(frozen=True)
class Failure:
    """A step that failed, where, and what to say about it."""

    step: Task
    where: str
    text: str


class Blame:
    """Counts outcomes by worker.

    A worker on which two steps in a row failed within a minute is paused while there are others. Its failures stay open until
    another worker succeeds: then its steps go there. A step that fails there too is to blame itself; if all of them do, the
    worker gets steps again.

    Args:
        pause: ``pause(worker, True)`` lets a worker get no more steps, ``pause(worker, False)`` lets it get them again.
        say: gets what is done and why.
        quick: seconds, see :data:`QUICK`.
    """

    def __init__(self, pause: Callable[[str, bool], None], say: Callable[[str], None], quick: float = QUICK):
        self._pause, self._say, self._quick = pause, say, quick
        self.paused: dict[str, str] = {}
        """Worker -> where it is."""
        self._open: dict[str, list[Failure]] = {}
        self._tried: dict[str, str] = {}
        """Task -> the paused worker on which it failed before."""
        self._good: set[str] = set()
        self._convicted: set[str] = set()
        self.failed: dict[str, str] = {}
        """Task -> why it failed, once that is settled."""

    def begin(self) -> None:
        """New steps: what succeeded before is no evidence about them."""
        self._open, self._tried, self._good, self.failed = {}, {}, set(), {}

    def succeeded(self, step: Task, worker: str) -> None:
        """A step is done: failures on the same worker just before were the steps' own."""
        if (before := self._tried.pop(step.name, None)) is not None:
            self._convicted.add(before)
        self._settle(worker)
        if worker not in self.paused:
            self._good.add(worker)

    def fails(self, step: Task, outcome: Outcome, text: str, workers: int) -> None:
        """A step has failed, where there are so many workers in all."""
        before, worker = self._tried.pop(step.name, None), outcome.worker
        if before is not None:
            self.failed[step.name] = text
            if before not in (*self._tried.values(), *self._convicted):
                self._resume(before)
            return
        if outcome.seconds >= self._quick:
            self._settle(worker)
            self.failed[step.name] = text
            return
        row = self._open.setdefault(worker, [])
        row.append(Failure(step, outcome.where, text))
        if len(row) >= IN_A_ROW and workers > 1 and worker not in self.paused:
            self.paused[worker] = outcome.where
            self._good.discard(worker)
            self._pause(worker, True)
            self._say(
                f"Worker {worker} ({outcome.where}) gets no more steps: {row[-2].step.words} and {step.words} failed there "
                f"within {self._quick:g} seconds each. They begin again on another worker once a step has succeeded there. "
                f"The last failure:\n{text}"
            )

    def again(self) -> list[Task]:
        """Steps that failed on a paused worker while others succeed: they are to be carried out once more."""
        if not self._good:
            return []
        steps = []
        for worker in self.paused:
            for failure in self._open.pop(worker, ()):
                self._tried[failure.step.name] = worker
                steps.append(failure.step)
        return steps

    def end(self) -> Mapping[str, str]:
        """All steps that failed, when no more are carried out."""
        for worker in list(self._open):
            self._settle(worker)
        return self.failed

    def _settle(self, worker: str) -> None:
        self.failed |= {failure.step.name: failure.text for failure in self._open.pop(worker, ())}

    def _resume(self, worker: str) -> None:
        where = self.paused.pop(worker, None)
        if where is not None:
            self._pause(worker, False)
            self._say(f"Worker {worker} ({where}) gets steps again: those that failed there fail elsewhere, too.")
