"""Who has which task open now; kept in memory, because it means nothing once the server has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

GONE = 90.0
"""Seconds after which a page that has not been heard of counts as closed."""


@dataclass
class Presence:
    """``clock``: seconds, for tests."""

    clock: Callable[[], float] = time.monotonic
    _seen: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def here(self, task: str, who: str, tab: str) -> None:
        """A page of ``who`` shows ``task``; ``tab`` tells their pages apart."""
        with self._lock:
            self._seen[task, who, tab] = self.clock()

    def left(self, task: str, who: str, tab: str) -> None:
        """This page was closed."""
        with self._lock:
            self._seen.pop((task, who, tab), None)

    def others(self, task: str, who: str, tab: str = "") -> list[str]:
        """Names of the people who have ``task`` open in another page; one's own other tabs too where ``tab`` is given."""
        return sorted({w for t, w, other in self._now() if t == task and (w != who or (tab and other != tab))})

    def open(self) -> dict[str, list[str]]:
        """By task: who has it open."""
        found: dict[str, set[str]] = {}
        for task, who, _ in self._now():
            found.setdefault(task, set()).add(who)
        return {task: sorted(names) for task, names in found.items()}

    def _now(self) -> list[tuple[str, str, str]]:
        with self._lock:
            ended = self.clock() - GONE
            self._seen = {key: at for key, at in self._seen.items() if at > ended}
            return list(self._seen)
