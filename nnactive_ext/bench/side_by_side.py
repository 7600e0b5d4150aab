"""Runs the parts of a benchmark side by side on one machine, each on its own share of the cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nnactive_ext.bench.outcomes import REMEDY
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import last_lines
from nnactive_ext.members.training_process import end_with_parent, guarded, kill_group

Command = Callable[[int], Sequence[str]]
"""Number of a process -> the arguments of its ``nnactive_bench``."""


def run_side_by_side(
    processes: int,
    arguments: Command,
    logs: Path,
    say: Callable[[str], None] = print,
    environments: Sequence[Mapping[str, str]] = (),
) -> None:
    """Start the processes, with their output in files of the folder ``logs``, and wait for all of them to end.

    They end when this process does, on POSIX however it ends. One that failed is an error, after all have ended.
    ``environments``: what is added to that of each process.
    """
    logs.mkdir(parents=True, exist_ok=True)
    files = [logs / f"process_{i}.log" for i in range(processes)]
    added = environments or [{}] * processes
    started = [_start(arguments(i), files[i], _share(i, processes), added[i]) for i in range(processes)]
    say(f"{processes} processes write to {logs}{os.sep}process_*.log")
    try:
        statuses = [process.wait() for process in started]
    except BaseException:
        for process in started:
            kill_group(process)
        raise
    failed = [file for file, status in zip(files, statuses, strict=True) if status]
    if failed:
        ends = [f"{file}:\n" + last_lines(file, 6) for file in failed]
        raise NnActiveError("\n".join([*ends, REMEDY]))


def _start(arguments: Sequence[str], log: Path, cores: Sequence[int], added: Mapping[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "nnactive_ext.cli.bench", f"--part={','.join(map(str, cores))}", *arguments]
    with open(log, "a", encoding="utf-8") as output:
        return subprocess.Popen(
            command,
            env=guarded({**os.environ, **added}),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )


def _share(number: int, processes: int) -> list[int]:
    """The cores of one process; none where the system does not say, or where there are fewer cores than processes."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < processes:
        return []
    return cores[number * len(cores) // processes : (number + 1) * len(cores) // processes]


def become_one(cores: str) -> None:
    """Make this process one of several: it keeps to ``cores`` (numbers with commas between them; "" for all) and ends with
    the process that started it."""
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    end_with_parent()
    if os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
