"""Who has a process with 3D Slicer's editor: one a person, started when it is needed, ended when nobody uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from nnactive_ext.serve.slicer_process import SlicerProcess

IDLE = 900.0
"""Seconds without a mouse, a key or a question after which a process ends; it keeps its work as a draft."""


@dataclass
class People:
    """``start`` makes a process; ``idle``: seconds."""

    start: Callable[[], SlicerProcess] = SlicerProcess
    idle: float = IDLE
    _processes: dict[str, SlicerProcess] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _watching: threading.Thread | None = None

    def has(self, who: str) -> SlicerProcess | None:
        """The process of ``who`` that runs."""
        with self._lock:
            found = self._processes.get(who)
        return found if found and found.alive else None

    def process(self, who: str) -> SlicerProcess:
        """The same; one is started where there is none."""
        with self._lock:
            found = self._processes.get(who)
            if found is None or not found.alive:
                found = self._processes[who] = self.start()
            if self._watching is None:
                self._watching = threading.Thread(target=self._watch, daemon=True)
                self._watching.start()
        return found

    def end_idle(self) -> None:
        """End the processes that nobody uses."""
        with self._lock:
            idle = {who for who, process in self._processes.items() if process.idle > self.idle or not process.alive}
            ended = [self._processes.pop(who) for who in idle]
        for process in ended:
            process.end()

    def close(self) -> None:
        """End all of them; each keeps its work."""
        self._ended.set()
        with self._lock:
            ended = list(self._processes.values())
            self._processes.clear()
        for process in ended:
            process.end()

    def _watch(self) -> None:
        while not self._ended.wait(min(30.0, self.idle)):
            self.end_idle()
