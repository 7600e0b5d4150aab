"""What this process made of a file, kept until the file changes, so that a command reads each file once."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Stamp = tuple[int, int, int]
"""What the file system says of a file: its inode, its size in bytes, and when it was changed in ns."""
_TICK, _SLOW_TICK, _SECOND = 100_000_000, 2_000_000_000, 1_000_000_000
"""ns. A file that was changed shortly before it was looked at may change again without another stamp: clocks of file systems
tick every few milliseconds, those of some, which know whole seconds only, every two seconds."""

T = TypeVar("T")


def stamp_of(file: Path | int) -> Stamp:
    """The stamp of a file, or of an opened one by its number."""
    found = os.fstat(file) if isinstance(file, int) else os.stat(file)
    return found.st_ino, found.st_size, found.st_mtime_ns


def is_settled(stamp: Stamp, looked: int) -> bool:
    """Whether a file with this stamp, looked at ``looked`` ns after 1970, could not have been changed since without another."""
    return looked - stamp[2] > (_TICK if stamp[2] % _SECOND else _SLOW_TICK)


@dataclass(frozen=True, eq=False)
class IdentityOf:
    """A key that is the same for the same object only, however long it takes to compare it with others."""

    value: object

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdentityOf) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class Kept(Generic[T]):
    """What was made of the ``most`` files that were asked for last. Whoever gets a value does not change it."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._found: OrderedDict[tuple[Path, Hashable], tuple[Stamp, T]] = OrderedDict()

    def of(self, file: Path, make: Callable[[], T], key: Hashable = None) -> T:
        """What ``make`` returns, which reads ``file`` and depends on nothing else but ``key``."""
        try:
            stamp, looked = stamp_of(file), time.time_ns()
        except OSError:
            return make()  # says what is wrong with the file
        with self._lock:
            before, value = self._found.get((file, key), (None, None))
            if before == stamp:
                self._found.move_to_end((file, key))
                return value  # type: ignore[return-value]
        made = make()
        if is_settled(stamp, looked):
            with self._lock:
                self._found[file, key] = (stamp, made)
                while len(self._found) > self._most:
                    self._found.popitem(last=False)
        return made
