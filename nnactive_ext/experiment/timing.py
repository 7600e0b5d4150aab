"""How long each step took, one line a time: each process writes a file of its own in the folder ``times``."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import TypedDict

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.schemas import Amount, of_text

STEPS = ("plan", "train", "load", "predict", "statistics", "score", "describe", "annotate", "preprocess", "evaluate")
"""``plan``: fingerprint, nnU-Net's planning, and preprocessing for the first time. Of a query: ``load``, waiting for an image;
``predict``, the networks; ``statistics``, from their logits to the means over members; ``score``, from these to candidates, and
the choice (of what a thread does beside the next prediction only the seconds for which the query waits); ``describe``, the
descriptors of methods that compare patches."""
TRAIN, QUERY = "train", ("load", "predict", "statistics", "score", "describe")
FOLDER = "times"
"""In the experiment's results: appends of several machines to one file would be lost on a network's file system."""
FILE = "times.jsonl"
"""The one file of earlier versions, beside that folder."""
PLANNING = "nnactive_times.jsonl"
"""The same of planning, in the preprocessed folder: the results folder is made by what comes after planning."""


class Stopwatch:
    """Adds up seconds per step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Time a block; only one that succeeds is counted."""
        start = perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + perf_counter() - start


class Timing:
    """Appends seconds per step to this process's file of the experiment, whose folder it makes."""

    def __init__(self, experiment: Experiment, cycle: int):
        self._folder, self._cycle = experiment.results / FOLDER, cycle

    @contextmanager
    def of(self, step: str) -> Iterator[None]:
        """Time a block; only one that succeeds is noted, when it ends."""
        watch = Stopwatch()
        with watch.of(step):
            yield
        self.note(watch.seconds)

    def note(self, seconds: Mapping[str, float], case: str | None = None, beside: Mapping[str, float] | None = None) -> None:
        """One line per step, all in one write.

        Args:
            seconds: on the clock.
            case: the one that they were spent on, if it was one.
            beside: steps of which a thread did all or a part beside others, and the seconds that it took.
        """
        facts = {"cycle": self._cycle, **({"case": case} if case else {})}
        lines: list[dict] = [{**facts, "step": step, "seconds": round(spent, 4)} for step, spent in seconds.items()]
        for line in lines:
            if beside and line["step"] in beside:
                line["thread"] = round(beside[line["step"]], 4)
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / _name(), "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))


class _Line(TypedDict):
    cycle: int
    step: str
    seconds: Amount


def note_planning(experiment: Experiment, seconds: Mapping[str, float]) -> None:
    """Write down how long planning took, instead of what an interrupted planning wrote."""
    lines = [{"cycle": 0, "step": step, "seconds": round(spent, 4)} for step, spent in seconds.items()]
    file = experiment.preprocessed.folder / PLANNING
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read_times(experiment: Experiment) -> list[dict]:
    """All lines; one cut short by a kill, or damaged, is passed over."""
    return [*_lines([experiment.preprocessed.folder / PLANNING]), *times_in(experiment.results)]


def times_in(results: Path) -> list[dict]:
    """Those of an experiment's results folder (``.../nnactive``), which is all but planning."""
    return _lines([results / FILE, *sorted((results / FOLDER).glob("*.jsonl"))])


def _lines(files: Iterable[Path]) -> list[dict]:
    lines = []
    for file in files:
        if not file.is_file():
            continue
        for text in file.read_bytes().splitlines():
            with suppress(ValueError):
                lines.append(of_text(_Line, text))
    return lines


def copy_times(start: Experiment, experiment: Experiment) -> None:
    """Let ``experiment``, whose results folder is there, begin with the times of the one that it continues."""
    if (start.results / FILE).is_file():
        shutil.copyfile(start.results / FILE, experiment.results / FILE)
    if (start.results / FOLDER).is_dir():
        shutil.copytree(start.results / FOLDER, experiment.results / FOLDER)


def seconds_per_step(experiment: Experiment, cycle: int | None = None) -> dict[str, float]:
    """Seconds spent in each step, in one cycle or in all."""
    total = dict.fromkeys(STEPS, 0.0)
    for line in read_times(experiment):
        if cycle is None or line["cycle"] == cycle:
            total[line["step"]] = total.get(line["step"], 0.0) + line["seconds"]
    return total


def _name() -> str:
    """Of this process's file, a forked one's too."""
    return f"{re.sub(r'[^A-Za-z0-9.-]', '-', socket.gethostname())}_{os.getpid()}.jsonl"
