"""How long each step took, one line a time in ``times.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from nnactive_ext.experiment import Experiment

STEPS = ("train", "predict", "score", "annotate", "preprocess", "evaluate")
FILE = "times.jsonl"


class Timing:
    """Adds up seconds per step and appends them to the experiment's file when :meth:`of` blocks end."""

    def __init__(self, experiment: Experiment, cycle: int):
        self._file, self._cycle = experiment.results / FILE, cycle

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Time a block; only one that succeeds is noted."""
        start = perf_counter()
        yield
        self._file.parent.mkdir(parents=True, exist_ok=True)
        line = {"cycle": self._cycle, "step": step, "seconds": round(perf_counter() - start, 4)}
        with open(self._file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_times(experiment: Experiment) -> list[dict]:
    """All lines; one cut short by a kill is passed over."""
    file, lines = experiment.results / FILE, []
    if file.is_file():
        for text in file.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines


def seconds_per_step(experiment: Experiment, cycle: int | None = None) -> dict[str, float]:
    """Seconds spent in each step, in one cycle or in all."""
    total = dict.fromkeys(STEPS, 0.0)
    for line in read_times(experiment):
        if cycle is None or line["cycle"] == cycle:
            total[line["step"]] = total.get(line["step"], 0.0) + line["seconds"]
    return total
