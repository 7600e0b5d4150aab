"""Which step of how many is under way, and about how long the rest will take."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.locks import check_held
from nnactive_ext.words import duration


class Progress:
    """Announces steps (training a fold, evaluating, querying) and estimates the time left from the steps done so far."""

    def __init__(self, experiment: Experiment, say: Callable[[str], None]):
        self._plan, self._say = experiment.plan, say
        self._durations: dict[str, list[float]] = {}
        self._current: tuple[str, float] | None = None

    def next(self, cycle: int, what: str) -> None:
        """The step ``what`` (its first word names its kind) of ``cycle`` begins; the one before has ended.

        A lock that was lost is an error before it begins.
        """
        check_held()
        now = perf_counter()
        if self._current:
            kind, start = self._current
            self._durations.setdefault(kind, []).append(now - start)
        kind = what.split()[0]
        self._current = (kind, now)
        left = self._estimate(cycle, kind, what)
        self._say(f"Cycle {cycle} of {self._plan.cycles - 1}: {what}" + (f"  (about {left} left)" if left else ""))

    def _estimate(self, cycle: int, kind: str, what: str) -> str:
        """Empty until a step of every kind has been timed."""
        if not {"training", "evaluating", "querying"} <= set(self._durations):
            return ""
        mean = {kind: sum(times) / len(times) for kind, times in self._durations.items()}
        later = self._plan.cycles - 1 - cycle
        fold = int(what.split()[-1]) if kind == "training" else self._plan.folds
        trainings = (self._plan.folds - fold) + later * self._plan.folds
        evaluations = later + (kind in ("training", "evaluating"))
        queries = later
        seconds = trainings * mean["training"] + evaluations * mean["evaluating"] + queries * mean["querying"]
        return duration(seconds)
