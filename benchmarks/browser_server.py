"""The server of a roll-out as its command starts it, and what memory it and its children take meanwhile."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def running(number: int) -> Iterator[tuple[str, int]]:
    """``nnactive_annotate serve``: its address with the token, and its process id."""
    command = [sys.executable, "-m", "nnactive_ext.cli.annotate", "serve", "-d", str(number), "-who", "anna", "--no_browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://\S+", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {line}")
        yield found[0], server.pid
    finally:
        server.terminate()
        server.wait(60)


class Watched:
    """Looks at a process and its children every 5 ms until the block ends; memory in MB."""

    def __init__(self, process: int):
        self._process, self._ended = process, threading.Event()
        self._seen: dict[int, float] = {}
        self._most = 0
        self.memory: dict[str, float] = {}

    def __enter__(self) -> Watched:
        self.memory["first"] = _memory(self._process, "VmRSS")
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join()
        self.memory["most"] = _memory(self._process, "VmHWM")

    @property
    def children(self) -> dict[str, float]:
        """How many were seen, how many at a time at most, and the most memory that one of them took."""
        return {"seen": len(self._seen), "most": self._most, "memory": max(self._seen.values(), default=0.0)}

    def _watch(self) -> None:
        while not self._ended.wait(0.005):
            children = _children(self._process)
            self._most = max(self._most, len(children))
            for child in children:
                with suppress(OSError, ValueError):  # it has ended meanwhile
                    self._seen[child] = _memory(child, "VmHWM")


def _children(process: int) -> list[int]:
    """Of all threads of a process; children that have ended and are not yet collected are none."""
    found = []
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in thread.read_text().split()]
    return [child for child in found if not _has_ended(child)]


def _has_ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _memory(process: int, what: str) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{what}:")]
    return int(line.split()[1]) / 1024
