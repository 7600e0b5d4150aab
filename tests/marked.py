"""Processes that carry a mark in their environment, which all that they start inherit: found in /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "NNACTIVE_TEST_MARK"


@dataclass(frozen=True)
class Marked:
    pid: int
    parent: int
    started: str
    command: str

    @property
    def is_dask_worker(self) -> bool:
        """The child of a nanny, which carries out steps."""
        return "spawn_main" in self.command and "--multiprocessing-fork" in self.command

    @property
    def lives(self) -> bool:
        return (found := look(self.pid)) is not None and found.started == self.started


def look(pid: int) -> Marked | None:
    """A process, if it is there and no zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Marked(pid, int(fields[1]), fields[19], command)


def marked(mark: str) -> list[Marked]:
    """All processes that have the mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in environment and int(folder.name) != os.getpid() and (one := look(int(folder.name))):
            found.append(one)
    return found


def below(mark: str, pid: int) -> list[Marked]:
    """The descendants of a process."""
    every = marked(mark)
    found = [one for one in every if one.parent == pid]
    for one in found:
        found += [other for other in every if other.parent == one.pid]
    return found


def wait_for_end(processes: Iterable[Marked], seconds: float = 300.0) -> list[Marked]:
    """Those that are still there after so many seconds."""
    left, end = [*processes], time.monotonic() + seconds
    while (left := [one for one in left if one.lives]) and time.monotonic() < end:
        time.sleep(0.1)
    return left
