"""Crops and overviews as files, made when somebody first asks for them, by one child process at a time."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json_if_any
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_tasks
from nnactive_ext.schemas import JsonObject
from nnactive_ext.serve.make_crop import AHEAD, LONGEST, MADE_FROM, PAGE
from nnactive_ext.serve.site import NotFound, Site


def in_child(asked: Mapping[str, Any]) -> None:
    """:func:`nnactive_ext.serve.make_crop.make` in a process of its own, whose memory is free afterwards.

    Raises:
        NnActiveError: what the child could not do.
    """
    _let_make(_started(), asked)


class Children:
    """:func:`in_child` without waiting for the imports of the child: the next one is started ``pause`` seconds after the one
    before has ended, when a browser has drawn what that one made. The children end with this process."""

    def __init__(self, pause: float = 2.0) -> None:
        self._next: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._pause, self._later = pause, threading.Timer(0, lambda: None)
        self._closed = False

    def __call__(self, asked: Mapping[str, Any]) -> None:
        if asked.get(AHEAD):
            _let_make(_started(AHEAD), asked)
            return
        with self._lock:
            child, self._next = self._next, None
        if child is None or child.poll() is not None:
            child = _started()
        try:
            _let_make(child, asked)
        finally:
            self._later.cancel()
            self._later = threading.Timer(self._pause, self.prepare)
            self._later.daemon = True
            self._later.start()

    def prepare(self) -> None:
        """Start the next child."""
        with self._lock:
            if not self._closed and (self._next is None or self._next.poll() is not None):
                self._next = _started()

    def close(self) -> None:
        """End the child that waits, and start none."""
        self._later.cancel()
        with self._lock:
            self._closed = True
            if self._next is not None:
                self._next.communicate()  # it reads the end of its input
                self._next = None


def _started(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "nnactive_ext.serve.make_crop", *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _let_make(child: subprocess.Popen[str], asked: Mapping[str, Any]) -> None:
    try:
        said, _ = child.communicate(json.dumps(asked), timeout=LONGEST)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise NnActiveError(f"{asked['target']}: making it took more than {LONGEST // 60} minutes. Use -margin.") from None
    last = said.strip().rpartition("\n")[2]
    error = json.loads(last).get("error") if last.startswith("{") else None
    if error:
        raise NnActiveError(error)


class Cache:
    """The folders of crops (one per task) and of overviews (one per case); ``make`` makes one."""

    def __init__(self, site: Site, make: Callable[[Mapping[str, Any]], None] = in_child):
        self._site, self._make, self._one = site, make, threading.Lock()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="crops")
        self._coming: set[str] = set()
        self._asking = 0
        self._nobody_asks = threading.Condition()

    def task(self, experiment: Experiment, task: Task) -> tuple[Path, Mapping[str, Any]]:
        """The folder of the crop of ``task`` and what its page shows; a child makes it where it is not there or outdated."""
        with self._asks():
            return self._crop(experiment, task)

    def _crop(self, experiment: Experiment, task: Task, ahead: bool = False) -> tuple[Path, Mapping[str, Any]]:
        target = self._site.folder / "crops" / task.id
        made_from = self._made_from(experiment, task)
        facts = {"task": task.id, "options": self._site.options, MADE_FROM: made_from, **({AHEAD: True} if ahead else {})}
        return target, self._made(target, facts, lambda page: page.get(MADE_FROM) == made_from)

    @contextmanager
    def _asks(self) -> Iterator[None]:
        """While somebody waits for a crop, none is made ahead but the one that was begun."""
        with self._nobody_asks:
            self._asking += 1
        try:
            yield
        finally:
            with self._nobody_asks:
                self._asking -= 1
                self._nobody_asks.notify_all()

    def overview(self, experiment: Experiment, case: str) -> tuple[Path, Mapping[str, Any]]:
        """The same of the whole image of a case of the pool."""
        if case not in experiment.plan.pool:  # whatever it is called, it becomes a folder's name
            raise NotFound(f"{experiment.name} has no such case in its pool.")
        target = self._site.folder / "overviews" / case
        return target, self._made(target, {"case": case}, lambda page: True)

    def ahead(self, experiment: Experiment, tasks: Sequence[Task]) -> None:
        """Make the crops of ``tasks`` in the background; what goes wrong is told to whoever asks for them."""

        def make(task: Task) -> None:
            with self._nobody_asks:
                self._nobody_asks.wait_for(lambda: not self._asking)
            try:
                with suppress(NnActiveError):
                    self._crop(experiment, task, ahead=True)
            finally:
                self._coming.discard(task.id)

        for task in tasks:
            if task.id not in self._coming:
                self._coming.add(task.id)
                self._ahead.submit(make, task)

    def close(self) -> None:
        """Begin nothing more."""
        self._ahead.shutdown(wait=True, cancel_futures=True)

    def has(self, task: Task) -> bool:
        """Whether the crop of ``task`` was made, so that its pictures are there."""
        return (self._site.folder / "crops" / task.id / PAGE).is_file()

    def _made(self, target: Path, facts: Mapping[str, Any], current: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any]:
        page = _there(target, current)  # without waiting for a child that makes another one
        if page is None:
            with self._one:
                page = _there(target, current)
                if page is None:
                    self._make({**facts, "number": self._site.number, "target": str(target)})
                    page = read_json_if_any(target / PAGE, None, JsonObject, f"Delete {target}, and reload the page.")
        if page is None:
            raise NnActiveError(f"{target}: the crop could not be made. The terminal of the server says why.")
        return page

    def _made_from(self, experiment: Experiment, task: Task) -> str:
        """Of all that decides what a task starts with: the classes, the members, the answers in patches that overlap."""
        counted = CountingAnswers.of(Ledger(experiment.annotation))
        near = [other.id for other in all_tasks(experiment) if other.id != task.id and other.patch.overlaps(task.patch)]
        answers = [[answer.place for answer in counted.counting(name)] for name in near]
        asked_by = min(experiment.state["cycle"], task.cycle - 1)  # a correction goes on from what was shown before
        facts = [experiment.plan.label_version, asked_by, task.patch.start, task.patch.size, answers]
        return hashlib.sha256(json.dumps([facts, self._site.options]).encode()).hexdigest()[:16]


def _there(target: Path, current: Callable[[Mapping[str, Any]], bool]) -> Mapping[str, Any] | None:
    """What a page shows of a folder that was made, if it is not outdated."""
    page = read_json_if_any(target / PAGE, None, JsonObject, f"Delete {target}, and reload the page.")
    return page if page is not None and current(page) else None
