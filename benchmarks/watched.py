"""Runs a command; measures its seconds, and the processor time and peak memory of all of its processes together."""

from __future__ import annotations

import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Watched:
    """What a command printed, the seconds that it took, the processor time of all its processes in seconds, which depends less
    on what else the machine does, and their peak memory in GB (10^9 bytes)."""

    text: str
    seconds: float
    processor: float
    peak_gb: float


def watched(words: Sequence[object], environment: Mapping[str, str], pause: float = 0.2) -> Watched:
    """Run a command to its end.

    Args:
        words: the command and its arguments.
        environment: all of its environment.
        pause: seconds between two looks at its memory.

    Returns:
        What was measured. Memory that processes share is counted once (PSS, added up over them at one moment).

    Raises:
        SystemExit: the command failed; the message is what it printed.
    """
    import psutil

    begin, peak, before = time.perf_counter(), 0.0, _processor()
    command = list(map(str, words))
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: list[str] = []
    reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
    reading.start()
    known = psutil.Process(process.pid)
    try:
        while process.poll() is None:
            peak = max(peak, _held(known) / 1e9)
            time.sleep(pause)
    finally:
        process.kill()
    reading.join()
    text = "".join(lines)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{text}")
    return Watched(text, time.perf_counter() - begin, _processor() - before, peak)


def _processor() -> float:
    """Seconds of all processes that this one has waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _held(process: object) -> int:
    """Bytes of a process and of all that it started; one that ends meanwhile counts as nothing."""
    import psutil

    assert isinstance(process, psutil.Process)
    held = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for one in family:
        try:
            held += one.memory_full_info().pss
        except psutil.Error:
            continue
    return held
