"""Overlaps the steps of a query over cases: while a thread ranks one case, the next is predicted and the one after it loads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Iterator
from threading import Thread
from time import perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")
Between = TypeVar("Between")
Done = TypeVar("Done")


def one_behind(
    items: Iterator[Item],
    first: Callable[[Item], Between],
    second: Callable[[Between], Done],
    room: Callable[[Item], bool] = lambda item: True,
) -> Generator[tuple[Done, float], None, None]:
    """``second(first(item))`` of each item in order, where ``second`` runs in a thread while ``first`` works on the next item.

    With each comes for how many seconds ``first`` had nothing to do but wait for it.

    At most one result of ``first`` is in ``second`` and at most one waits for it, so memory is bounded. An error of an item
    comes in its turn: after what ``second`` made of those before it. Whoever leaves early closes this
    (``contextlib.closing``); ``second`` then ends at its next line of Python, as at Ctrl-C, and the thread with it.

    Args:
        items: what is worked on.
        first: called in the caller's thread.
        second: called in the other thread, on one item at a time.
        room: whether ``first`` may work on an item while ``second`` works on the one before; if not, it waits.

    >>> [done for done, _ in one_behind(iter("abc"), str.upper, lambda letter: letter * 2)]
    ['AA', 'BB', 'CC']
    """
    behind: _Behind[Done] | None = None
    try:
        while True:
            try:
                item = next(items)
                if behind is not None and not room(item):
                    done, behind = behind.result(), None
                    yield done
                between = first(item)
                del item
            except StopIteration:
                break
            except Exception:
                if behind is not None:
                    done, behind = behind.result(), None
                    yield done
                raise
            last: list[tuple[Done, float]] = [] if behind is None else [behind.result()]
            behind = _Behind(second, between)
            del between  # it is large, and the thread's alone
            yield from last
            del last
        if behind is not None:
            done, behind = behind.result(), None
            yield done
    finally:
        if behind is not None:
            behind.stop()


class _Behind(Generic[Done]):
    """A call in a thread of its own, which has begun."""

    def __init__(self, function: Callable[[Between], Done], argument: Between):
        self._call: tuple | None = (function, argument)
        self._value: Done
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="one_behind", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._call is not None
        try:
            (function, argument), self._call = self._call, None  # so that only the call holds what it works on
            self._value = function(argument)
        except BaseException as error:  # raised where the result is asked for
            self._error = error

    def result(self) -> tuple[Done, float]:
        """What the call returned, once it has, and the seconds of waiting for it; or the error that it raised."""
        begin = perf_counter()
        self._wait()
        if self._error is not None:
            raise self._error
        return self._value, perf_counter() - begin

    def stop(self) -> None:
        """End the call at its next line of Python; compiled loops end first, which takes less than a second."""
        if self._thread.ident is not None and self._thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(KeyboardInterrupt))
        self._wait()

    def _wait(self) -> None:
        while self._thread.is_alive():
            self._thread.join(1)  # under Windows, Ctrl-C is only noticed between two waits
