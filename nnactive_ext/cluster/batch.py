"""Steps that are carried out side by side: given out as workers become free, and again where a worker was at fault."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nnactive_ext.cluster.children import Order, Outcome
from nnactive_ext.cluster.crew import Crew
from nnactive_ext.cluster.tasks import Task
from nnactive_ext.cluster.under_way import running
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.words import count, listed

if TYPE_CHECKING:
    from distributed import Future

_PAUSE = 0.2
"""Seconds between two looks."""


class Batch:
    """Steps that do not depend on each other.

    Args:
        experiment: they belong to its current cycle.
        steps: all are open.
        begins: called when one begins.
        crew: the workers.
        order: what a worker gets for a step.
        is_visible: whether the files of a finished step can be seen from here.
    """

    def __init__(
        self,
        experiment: Experiment,
        steps: Sequence[Task],
        begins: Callable[[Any], None],
        crew: Crew,
        order: Callable[[Task], Order],
        is_visible: Callable[[Any, Any], bool],
    ):
        self._experiment, self._begins, self._crew, self._order, self._is_visible = experiment, begins, crew, order, is_visible
        self._waiting = deque(steps)
        self._given: dict[Future, Task] = {}
        self._unseen: dict[Task, tuple[Outcome, float]] = {}
        self._killed, self._seen = Counter[str](), set[str]()
        self._failed: dict[str, str] = {}

    def run(self) -> None:
        """Return when all steps are done.

        Raises:
            NnActiveError: some failed; the others have ended.
        """
        blame = self._crew.blame
        blame.begin()
        self._say_who_is_waited_for()
        try:
            while self._waiting or self._given or self._unseen:
                self._give()
                if not self._take():
                    if self._crew.all_paused and not self._given:
                        break
                    time.sleep(_PAUSE)
                self._look_for_files()
                self._waiting.extend(blame.again())
        except BaseException:
            self._crew.cancel(list(self._given))
            raise
        self._failed |= blame.end()
        left = [step.name for step in self._waiting]
        if self._failed or left:
            raise NnActiveError("\n".join([*self._failed.values(), *self._verdict(left)]))

    def _verdict(self, left: Sequence[str]) -> Iterator[str]:
        """What all failures come to."""
        remedy = "Remove the cause and run the same command again; finished steps are not repeated."
        if left:
            where = listed([f"{name} ({place})" for name, place in self._crew.blame.paused.items()])
            yield f"{listed(list(left))} did not begin, because two steps in a row failed at once on each worker: {where}."
        yield f"{listed(list(self._failed))} failed. {remedy}" if self._failed else remedy

    def _give(self) -> None:
        """As many steps as there are workers for: what nobody carries out yet can still go to another one."""
        free = self._crew.free(self._experiment) - len(self._given)
        for _ in range(min(free, len(self._waiting))):
            step = self._waiting.popleft()
            self._given[self._crew.submit(self._order(step), step.needs)] = step

    def _take(self) -> bool:
        """Whether steps have ended since the last look."""
        ended = [future for future in self._given if future.done()]
        short = {self._given[future].name for future in ended}  # they may have begun and ended since the last look
        for step in _begun(self._experiment, self._given.values(), self._seen, short):
            self._begins(step)
        for future in ended:
            self._settle(self._given.pop(future), future)
        return bool(ended)

    def _settle(self, step: Task, future: Future) -> None:
        log, blame = step.log(self._experiment), self._crew.blame
        if future.status != "finished":
            error = future.exception() if future.status == "error" else future.status
            self._failed[step.name] = _dead(step, log, f"its worker died {self._times}", error)
            return
        outcome: Outcome = future.result()
        if outcome.killed:
            self._killed[step.name] += 1
            if self._killed[step.name] <= self._crew.failures:
                self._waiting.append(step)
            else:
                self._failed[step.name] = _dead(step, log, f"its process was killed {self._times}", outcome.where)
        elif outcome.status:
            text = f"{step.name} failed with status {outcome.status} on {outcome.where}. The end of {log}:\n{outcome.end}"
            blame.fails(step, outcome, text, self._crew.size)
        else:
            self._unseen[step] = outcome, time.monotonic()

    @property
    def _times(self) -> str:
        return count(self._crew.failures + 1, "time")

    def _look_for_files(self) -> None:
        """A network file system may show what another machine has just written some seconds late."""
        for step, (outcome, since) in list(self._unseen.items()):
            if self._is_visible(step, self._experiment):
                self._crew.blame.succeeded(step, outcome.worker)
            elif time.monotonic() - since < self._crew.limits.visible:
                continue
            else:
                self._failed[step.name] = (
                    f"{step.name} ended on {outcome.where} without an error, but its files cannot be seen here after "
                    f"{self._crew.limits.visible:g} seconds. Both machines need the folder {self._experiment.results.parent} "
                    f"under the same path. Its log: {step.log(self._experiment)}"
                )
            del self._unseen[step]

    def _say_who_is_waited_for(self) -> None:
        """A run that was killed may have left steps behind that are still carried out: they are not begun a second time."""
        names = {step.name for step in self._waiting}
        for one in running(self._experiment):
            if one.step in names:
                self._crew.say(f"{one.step} is still carried out by {one}; it is waited for. Its log: {one.log}")


def _dead(step: Task, log: object, what: str, more: object) -> str:
    return (
        f"{step.name}: {what} while it was carried out ({more}). The usual cause is too little memory: run fewer steps at once "
        f"(-np, -gpus), or start workers with more memory. The log of the step: {log}"
    )


def _begun(experiment: Experiment, steps: Iterable[Task], seen: set[str], ended: set[str]) -> Iterator[Task]:
    """Steps that have begun since the last look, those that have ``ended`` among them."""
    names = ({one.step for one in running(experiment)} | ended) - seen
    for step in steps:
        if step.name in names:
            seen.add(step.name)
            yield step
