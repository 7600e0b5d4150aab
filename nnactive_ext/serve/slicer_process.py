"""The server's side of one person's process with 3D Slicer's editor: starts it, asks it one thing at a time, ends it."""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.serve.slicer_app import READY

COMMAND = (sys.executable, "-m", "nnactive_ext.serve.slicer_app")
EXTRA = 'pip install "nnactive-ext[slicer]"'
STARTS = 180.0
"""Seconds that the process may take to start; some 12 on a machine that does nothing else."""
ANSWERS = 120.0
"""Seconds that it may take for an answer."""
ENDS = 20.0


def installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(name) is not None for name in ("trame_slicer", "httpx", "websockets"))


def check_installed() -> None:
    """Refuse where the extra is not there.

    Raises:
        NnActiveError: it is not.
    """
    if not installed():
        raise NnActiveError(f"3D Slicer's editor is not installed. Install it (1 GB) with: {EXTRA}")


class SlicerProcess:
    """``log``: file for what it prints; ``command`` starts it; ``clock``: seconds, for tests."""

    def __init__(self, log: Path | None = None, command: Sequence[str] = COMMAND, clock: Callable[[], float] = time.monotonic):
        self._clock, self._one = clock, threading.Lock()
        self.secret = secrets.token_urlsafe(32)
        self.port = 0
        self.shown: Any = None
        """What it shows (:class:`nnactive_ext.serve.slicer_pages.Shown`)."""
        self.opening = threading.Lock()
        self.used()
        # Its input ends with this process, also when this one is killed: then it keeps its work and ends, too.
        with open(log or os.devnull, "a") as said:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, bufsize=1
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._say(self.secret)

    def used(self) -> None:
        """Somebody works with it."""
        self._last = self._clock()

    @property
    def idle(self) -> float:
        """Seconds since somebody worked with it."""
        return self._clock() - self._last

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def id(self) -> int:
        """Of the process, on this machine."""
        return self._process.pid

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Have it do something (:mod:`nnactive_ext.serve.slicer_app`), once it has started.

        Raises:
            NnActiveError: it cannot, in words for the person; or it has ended.
        """
        with self._one:
            self.used()
            if not self.port:
                self.port = self._heard(STARTS)[READY]
            self._say(json.dumps(asked))
            said = self._heard(ANSWERS)
            self.used()
        if "error" in said:
            raise NnActiveError(said["error"])
        return said

    def end(self) -> None:
        """End it; it keeps work that nobody asked for as a draft."""
        if self._process.stdin:
            with suppress(OSError):  # it has ended already
                self._process.stdin.close()
        try:
            self._process.wait(ENDS)
        except subprocess.TimeoutExpired:
            self.kill()
        if self.shown is not None:
            self.shown.folder.cleanup()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _say(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._gone() from None

    def _heard(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.kill()  # its answer may come later, to another question
            raise NnActiveError(
                f"3D Slicer's editor did not answer within {seconds:.0f} seconds and was ended. Reload the page; it goes on "
                "from the last draft."
            ) from None
        if not line:
            self._lines.put("")
            self.kill()  # it closed its output
            raise self._gone()
        return json.loads(line)

    @staticmethod
    def _gone() -> NnActiveError:
        return NnActiveError("3D Slicer's editor has ended. Reload the page; it goes on from the last draft.")
