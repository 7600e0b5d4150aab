"""Starts and stops the run of an experiment for people of the pages, and says how it stands; all that it knows is in files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.loop.outlook import GO_ON, TRAIN, outlook
from nnactive_ext.loop.stages import cycle_under_way
from nnactive_ext.serve.run_note import LOG, STOPPED, Note, end_of_log, moved_on, place
from nnactive_ext.serve.site import FOLDER, Site

STARTING, RUNNING, ELSEWHERE, ENDED, FAILED, KILLED = "starting", "running", "elsewhere", "stopped", "failed", "killed"
"""Of a run: begun a moment ago; started by a page; by another command; stopped by a page; ended with an error; ended without a
word. The last three are forgotten as soon as the experiment is moved on."""
REFUSALS = "run_refused.log"
COMMAND = (sys.executable, "-m", "nnactive_ext.serve.run_process")


class Busy(NnActiveError):
    """Somebody trains already, or the page that asked was outdated."""


@dataclass(frozen=True)
class Now:
    """``kind``: one of the constants above, empty where nothing runs and nothing went wrong. ``who`` runs it, ``began`` in
    seconds since 1970 where that is known, ``text``: the end of the log of a run that failed."""

    kind: str = ""
    who: str = ""
    began: float | None = None
    text: str = ""

    @property
    def at_work(self) -> bool:
        return self.kind in (STARTING, RUNNING, ELSEWHERE)


@dataclass
class Training:
    """The run of the experiment of ``site``."""

    site: Site
    _one: threading.Lock = field(default_factory=threading.Lock)
    _child: subprocess.Popen[str] | None = None
    _asked: str = ""

    def now(self, experiment: Experiment) -> Now:
        """How the run stands."""
        folder, child = self.site.folder, self._child
        ended = child is None or child.poll() is not None
        note, holder = Note.read(folder), experiment.under_way()
        own = note is not None and holder.startswith(f"process {note.owner.pid} on {note.owner.host} ")
        if note and own:
            return Now(RUNNING, note.who, note.began)
        if holder:
            return Now(ELSEWHERE, holder)
        if child and not ended:
            return Now(STARTING, self._asked)
        if child and ended and (note is None or note.owner.pid != child.pid):
            return Now(FAILED, self._asked, text=_text(folder / REFUSALS))
        if note is None or note.status == 0:
            return Now()
        if note.status is None:
            forgotten = note.alive or moved_on(experiment, folder)
            return Now() if forgotten else Now(KILLED, note.who, note.began, end_of_log(folder))
        if list(note.place) != place(experiment):
            return Now()
        return Now(ENDED if note.status == STOPPED else FAILED, note.who, note.began, end_of_log(folder))

    def start(self, who: str, cycle: int, anyway: bool) -> None:
        """Start a run, which outlives this server.

        Args:
            who: the person who asks.
            cycle: the cycle that their page offered to train.
            anyway: train on the tasks that are done, although they are fewer than the plan's share.

        Raises:
            Busy: a run is at work, or the cycle is another one by now.
            NnActiveError: there is nothing to train on.
        """
        with self._one:
            experiment = self.site.experiment
            now = self.now(experiment)
            if now.at_work:
                raise Busy(f"Training is under way already, started by {now.who}.")
            if cycle != cycle_under_way(experiment):
                raise Busy("This page was outdated: the cycle that it showed is trained. Look at it again.")
            found = outlook(experiment)
            if not (found.kind in (GO_ON, TRAIN) or (anyway and found.possible)):
                raise NnActiveError(found.hindrance or "Too few tasks are done. Annotate more of them first.")
            share = found.share.done / max(found.share.tasks, 1) if found.share and not found.share.enough else None
            asked = {"number": self.site.number, "folder": str(self.site.folder), "who": who, "share": share, **self.site.run}
            self.site.folder.mkdir(parents=True, exist_ok=True)
            with open(self.site.folder / REFUSALS, "w") as said:
                self._child, self._asked = _start(json.dumps(asked), said), who

    def stop(self) -> None:
        """Interrupt the run that a page started, as Ctrl-C does; it can be continued.

        Raises:
            NnActiveError: there is none, or this system has no such signal.
        """
        now, note = self.now(self.site.experiment), Note.read(self.site.folder)
        if now.kind != RUNNING or note is None:
            raise Busy("No training that this page may stop is at work.")
        if os.name == "nt" or not note.owner.is_near:
            raise NnActiveError(f"This server cannot stop {note.owner}. End it there; it can be continued.")
        os.kill(note.owner.pid, signal.SIGTERM)

    @property
    def log(self) -> str:
        """The file of the log, below the experiment's raw folder."""
        return f"annotation/{FOLDER}/{LOG}"


def _start(asked: str, said: IO[str]) -> subprocess.Popen[str]:
    """In a session of its own, so that it ends neither with the server nor with its terminal."""
    child = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True, start_new_session=os.name == "posix"
    )
    assert child.stdin is not None
    with child.stdin as given:
        given.write(asked)
    return child


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
