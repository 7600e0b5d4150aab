"""How the engine's loops are compiled: on first use, kept on disk, and with a word to whoever is waiting for it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import event


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """``numba.njit`` without the interpreter's lock and with a cache; without one where no folder can be written to."""
    if function is None:
        return lambda function: kernel(function, **options)
    try:
        compiled = njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # numba's "no locator available"
        return njit(nogil=True, **options)(function)
    # A cached kernel holds copies of those it calls, and numba would only notice a change in the kernel's own file.
    try:
        file = compiled._cache._cache_file
        file._source_stamp = (file._source_stamp, _sources())
    except AttributeError:  # another numba, or one that is told not to compile
        return njit(nogil=True, **options)(function)
    return compiled


@cache
def _sources() -> str:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


class _Announcer(event.Listener):
    """Says once per process that something of ours is being compiled."""

    said = False

    def on_start(self, event: event.Event) -> None:
        if not self.said and str(event.data["dispatcher"].py_func.__module__).startswith(__package__):
            self.said = True
            print("Compiling the query engine: some 20 seconds, once per installation.", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcer())
