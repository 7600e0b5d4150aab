"""The engine's threads: pieces of one array, cut without regard to how many threads there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

# Threads cost some 0.1 ms; below this many voxels that is more than they save.
_WORTH_THREADS = 1 << 17
_AT_ONCE = 1 << 26
"""Voxels of the images that are worked on at once: a quarter of a GB of scores."""
_share = threading.local()
Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count() -> int:
    """``OMP_NUM_THREADS`` where it is set, as torch does, else all cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return cores()


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_pieces(work: Callable[[int, int], object], length: int, voxels: int) -> None:
    """Call ``work(first, last)`` on pieces of ``range(length)`` that together are all of it, each row in one of them.

    ``work`` must treat each of the ``length`` rows on its own (and hold no lock), so the result does not depend on
    the pieces. ``voxels`` says how much work there is in all.
    """
    threads = min(getattr(_share, "threads", thread_count()), length)
    if threads <= 1 or voxels < _WORTH_THREADS:
        work(0, length)
        return
    edges = [length * i // (4 * threads) for i in range(4 * threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda piece: work(*piece), [piece for piece in pairwise(edges) if piece[0] < piece[1]]))


def at_once(work: Callable[[Item], Result], items: Iterable[Item], voxels: int) -> list[Result]:
    """``[work(item) for item in items]``, several at once where the arrays that each needs are small.

    Args:
        work: must not depend on the other items. Those that are at work share the threads of :func:`in_pieces`.
        items: what is worked on.
        voxels: of the arrays that one item needs.

    Returns:
        The results, in the order of the items.
    """
    items = list(items)
    workers = min(thread_count(), len(items), _AT_ONCE // max(1, voxels))
    if workers <= 1 or voxels * len(items) < _WORTH_THREADS:
        return [work(item) for item in items]

    def share() -> None:
        _share.threads = max(1, thread_count() // workers)

    with ThreadPoolExecutor(workers, initializer=share) as pool:
        return list(pool.map(work, items))
