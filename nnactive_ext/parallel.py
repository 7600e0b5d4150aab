"""The same work on many cases, in this process or in several, with a progress bar; the next case loads meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, TypeVar

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


@contextmanager
def busy(description: str, progress: bool = True) -> Iterator[None]:
    """A bar of one step around a block whose length is not known; its clock goes on, so that people see that work is done.

    Args:
        description: what is done.
        progress: show the bar.
    """
    with tqdm(total=1, desc=description, disable=not progress, bar_format="{desc}: {elapsed} {postfix}") as bar:
        ended = Event()

        def tick() -> None:
            while not ended.wait(1):
                bar.refresh()

        thread = Thread(target=tick, daemon=True)
        if progress and sys.stderr.isatty():  # a log file would get a line for each second
            thread.start()
        try:
            yield
            bar.set_postfix_str("done", refresh=False)
            bar.update()
        finally:
            ended.set()
            if thread.is_alive():
                thread.join()


Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def one_ahead(load: Callable[[Item], Loaded], items: Iterable[Item]) -> Generator[Loaded, None, None]:
    """``load(item)`` for each item in order, loaded in a thread while the one before it is in use.

    Never more than one is loaded ahead. An error comes when the turn of its item does, and ends the iteration. The
    thread ends with the iteration, so one that may be left early is to be closed (``contextlib.closing``).

    >>> list(one_ahead(str.upper, "abc"))
    ['A', 'B', 'C']
    """
    with ThreadPoolExecutor(1, thread_name_prefix="one_ahead") as pool:
        loading = (pool.submit(load, item) for item in items)  # each only when it is asked for
        ahead = next(loading, None)
        while ahead is not None:
            loaded = ahead.result()
            ahead = next(loading, None)
            yield loaded
