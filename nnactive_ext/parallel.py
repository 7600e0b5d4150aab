"""The same work on many cases, in this process or in several, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

from nnactive_ext.errors import NnActiveError

# A new process imports nnU-Net and torch first, 5 to 10 s; below this many voxels in all that costs more than it saves.
_WORTH_PROCESSES = 500_000_000


def default_processes(voxels: float) -> int:
    """How many processes to use for a dataset of so many voxels: 1 for a small one, else nnU-Net's default or the cores."""
    if voxels < _WORTH_PROCESSES:
        return 1
    return max(1, min(int(os.environ.get("nnUNet_def_n_proc", 8)), os.cpu_count() or 1))


def map_cases(function: Callable, items: Iterable, description: str, processes: int = 1, progress: bool = True) -> list[Any]:
    """``[function(item) for item in items]``, in order; ``function`` and items must be picklable for ``processes`` > 1."""
    items = list(items)
    bar = {"desc": description, "total": len(items), "disable": not progress}
    if processes <= 1 or len(items) <= 1:
        return [function(item) for item in tqdm(items, **bar)]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return list(tqdm(pool.map(function, items), **bar))
        except BrokenProcessPool:
            raise NnActiveError(
                f"{description}: a worker process died, most likely for lack of memory. Use fewer processes (-np)."
            ) from None
