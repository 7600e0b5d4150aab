"""The same work on many cases, in this process or in several, with a progress bar; the next case loads meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
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
    with _step(description, len(items), progress) as (bar, each), ExitStack() as stack:
        found: list[Any] = []
        results: Iterable = map(function, items)
        if processes > 1 and len(items) > 1:
            # What items have in common is sent once for each chunk.
            results = stack.enter_context(_processes(processes)).map(
                function, items, chunksize=max(1, len(items) // (16 * processes))
            )
        try:
            for result in results:
                found.append(result)
                bar.update(each)
        except BrokenProcessPool:
            raise NnActiveError(
                f"{description}: a worker process died, most likely for lack of memory. Use fewer processes (-np)."
            ) from None
    return found


class _OneGo:
    """What the steps of one piece of work share: the processes by their number, and a bar where they share one."""

    def __init__(self, shares: Mapping[str, float], bar: Any = None):
        self.shares, self.bar = shares, bar
        self.pools: dict[int, ProcessPoolExecutor] = {}


_one_go: ContextVar[_OneGo | None] = ContextVar("one_go", default=None)


@contextmanager
def same_processes(shares: Mapping[str, float] | None = None, bar: Any = None) -> Iterator[None]:
    """All steps of the block are done by the same processes, which import nnU-Net and torch only once."""
    if bar is None and _one_go.get() is not None:
        yield
        return
    work = _OneGo(shares or {}, bar)
    before = _one_go.set(work)
    try:
        yield
    finally:
        _one_go.reset(before)
        for pool in work.pools.values():
            pool.shutdown(cancel_futures=True)


@contextmanager
def in_one_go(shares: Mapping[str, float], progress: bool = True) -> Iterator[None]:
    """As :func:`same_processes`, with one bar and an estimate for all steps of the block.

    Args:
        shares: description of each step -> its share of the time, in any unit. Other steps are shown and count nothing.
        progress: show the bar.
    """
    looks = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    total = sum(shares.values()) * (1 + 1e-9)  # the shares of items do not add up exactly
    with tqdm(total=total, disable=not progress, bar_format=looks) as bar, same_processes(shares, bar):
        yield


@contextmanager
def aside() -> Iterator[None]:
    """The block prints; a bar of :func:`in_one_go` makes room for it."""
    work = _one_go.get()
    bar = work.bar if work else None
    if bar is not None:
        bar.clear()
    yield
    if bar is not None:
        bar.refresh()


@contextmanager
def _step(description: str, number: int, progress: bool, **looks: Any) -> Iterator[tuple[Any, float]]:
    """The bar of a step of so many items, and by how much each of them updates it."""
    work = _one_go.get()
    if work is None or work.bar is None:
        with tqdm(desc=description, total=number, disable=not progress, **looks) as bar:
            yield bar, 1
        return
    begin, share = work.bar.n, work.shares.get(description, 0.0)
    work.bar.set_description_str(description)
    yield work.bar, share / max(1, number)
    work.bar.update(max(0.0, begin + share - work.bar.n))  # rounding; and a step without items


@contextmanager
def _processes(number: int) -> Iterator[ProcessPoolExecutor]:
    work, context = _one_go.get(), multiprocessing.get_context("spawn")
    if work is None:
        with ProcessPoolExecutor(number, mp_context=context, initializer=_end_with_parent) as pool:
            yield pool
        return
    if number not in work.pools:
        work.pools[number] = ProcessPoolExecutor(number, mp_context=context, initializer=_end_with_parent)
    yield work.pools[number]


def _end_with_parent() -> None:
    """A process waits for work for ever, also when the one that gave it was killed."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


@contextmanager
def busy(description: str, progress: bool = True) -> Iterator[None]:
    """A bar of one step around a block whose length is not known; its clock goes on, so that people see that work is done.

    Args:
        description: what is done.
        progress: show the bar.
    """
    with _step(description, 1, progress, bar_format="{desc}: {elapsed} {postfix}") as (bar, each):
        ended = Event()

        def tick() -> None:
            while not ended.wait(1):
                bar.refresh()

        thread = Thread(target=tick, daemon=True)
        if not bar.disable and sys.stderr.isatty():  # a log file would get a line for each second
            thread.start()
        try:
            yield
            bar.set_postfix_str("done", refresh=False)
            bar.update(each)
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
