"""Runs a roll-out cycle after cycle: waits until enough tasks are answered, trains, queries, and waits again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.locks import LockHeld
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.marks import STATE
from nnactive_ext.experiment.plan import PLAN_FILE
from nnactive_ext.labelling.closing import Share, share_done
from nnactive_ext.labelling.ledger import LEDGER
from nnactive_ext.loop.status import all_cycles_done, next_step
from nnactive_ext.words import count

PAUSE = 2.0
"""Seconds between two looks at whether anything has changed."""


def watch(
    find: Callable[[], Experiment],
    run: Callable[[], None],
    worth: Callable[[Experiment], str],
    say: Callable[[str], None] = print,
    pause: Callable[[], None] = lambda: sleep(PAUSE),
) -> None:
    """Run the cycles of an experiment, each as soon as the plan's share of the open tasks is done, until all are done.

    No lock is held while it waits, so that people hand in answers, mark points and change the experiment meanwhile. A cycle
    that another command runs is waited for.

    Args:
        find: gives the experiment as its files say now.
        run: carries out what can be done, as ``nnactive_run`` does. It is called with the lock of a run held.
        worth: says in a line whether another cycle seems worth it; it is asked after each cycle.
        say: gets what is waited for, once, and the line of ``worth`` after each cycle.
        pause: waits between two looks.
    """
    seen, told = None, ""
    while True:
        experiment = _found(find, pause)
        now, open_tasks = _stamp(experiment), share_done(experiment)
        if _ready(experiment, open_tasks, first=seen is None):
            cycle = experiment.state["cycle"]
            with experiment.running(wait=True):
                experiment = _found(find, pause)
                if _ready(experiment, share_done(experiment), first=seen is None):  # another command may have run it
                    run()
            experiment = _found(find, pause)
            if experiment.state["cycle"] > cycle:
                say(worth(experiment))
            if all_cycles_done(experiment):
                return
            now, open_tasks = _stamp(experiment), share_done(experiment)
        seen = now
        # Enough tasks may be done and training not possible yet: then the run has said why.
        if open_tasks and not open_tasks.enough and (text := _waiting(open_tasks)) != told:
            say(f"{text}\n{next_step(experiment)}")
            told = text
        while _stamp(experiment) == seen:
            pause()


def _found(find: Callable[[], Experiment], pause: Callable[[], None]) -> Experiment:
    """The experiment, once nobody is in the middle of changing it."""
    while True:
        try:
            return find()
        except LockHeld:
            pause()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does, so that locks are released and children end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ready(experiment: Experiment, open_tasks: Share | None, first: bool) -> bool:
    """Whether there is something to do. At first also where members of other classes were put away: those of today are
    trained while tasks are open."""
    retrained = first and experiment.plan.label_version > 0 and experiment.state["cycle"] >= 0
    return open_tasks is None or open_tasks.enough or retrained


def _waiting(open_tasks: Share) -> str:
    """What is waited for: the same text as long as it is the same cycle and number of tasks."""
    wanted = count(open_tasks.wanted, "task")
    return f"Waiting until {wanted} of the {open_tasks.tasks} of cycle {open_tasks.cycle} are done."


_Stamp = tuple[tuple[int, int, int] | None, ...]


def _stamp(experiment: Experiment) -> _Stamp:
    """What changes when answers come in, points are marked, or another command changes the experiment."""
    files = (
        experiment.annotation / LEDGER,
        experiment.raw / PLAN_FILE,
        loop_file(experiment.raw, experiment.last_loop),
        experiment.preprocessed.folder / STATE,
    )
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            told = os.stat(file)
            found.append((told.st_ino, told.st_size, told.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return (*found, (experiment.last_loop, 0, 0))
