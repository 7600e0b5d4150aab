"""Loading the next thing while the current one is in use."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
