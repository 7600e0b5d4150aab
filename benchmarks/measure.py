"""Time, and peak memory, of one call."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any


def best_of(
    call: Callable[[], object], repeats: int, seconds: float, before: Callable[[], object] = lambda: None
) -> tuple[float, int]:
    """The shortest time of ``call`` in s, and of how many runs: ``repeats``, fewer once ``seconds`` are spent, at least 1.

    ``before`` is called before each run and not timed.
    """
    times: list[float] = []
    start = perf_counter()
    while not times or (len(times) < repeats and perf_counter() - start < seconds):
        before()
        begin = perf_counter()
        call()
        times.append(perf_counter() - begin)
    return min(times), len(times)


def watched(call: Callable[[], Any]) -> tuple[Any, float, int | None]:
    """Result, time in s and peak memory in bytes of ``call``, beyond what this process held just before.

    Linux keeps the highest resident size of a process (VmHWM), sets it back when 5 is written to clear_refs, and so
    says what the call itself needed, whatever was needed to make its inputs. Elsewhere the peak is None.
    """
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        held = _status("VmRSS")
    except OSError:
        held = None
    start = perf_counter()
    result = call()
    seconds = perf_counter() - start
    return result, seconds, None if held is None else max(_status("VmHWM") - held, 0)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")
