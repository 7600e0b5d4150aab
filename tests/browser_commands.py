"""Commands that run beside a browser: the server of a roll-out, and what trains when enough tasks are done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QUICK = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "2", "PYTHONUNBUFFERED": "1"}


@contextmanager
def running(
    line: str, log: Path, commands: Path = Path(sys.executable).parent, **environment: str
) -> Iterator[subprocess.Popen]:
    """A command of ours, of the folder ``commands``, until the block ends, as Ctrl-C ends it; ``log`` gets what it prints."""
    command, *words = line.split()
    with log.open("wb") as written:
        process = subprocess.Popen(
            [str(commands / command), *words],
            stdout=written,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUICK, **environment},
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def printed(process: subprocess.Popen, log: Path, word: str, seconds: float = 60) -> str:
    """The line of a running command that holds ``word``, once it is there."""
    end = time.monotonic() + seconds
    while True:
        found = [line for line in log.read_text().splitlines() if word in line]
        if found:
            return found[0]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
