"""How the engine's loops are compiled: on first use, kept on disk, and with a word to whoever is waiting for it.

numba takes more than a second to import, so a command that runs no loop does without it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import cache, cached_property, wraps
from pathlib import Path
from threading import RLock
from typing import Any

_LOCK = RLock()


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """``numba.njit`` without the interpreter's lock and with a cache; without one where no folder can be written to."""
    if function is None:
        return lambda function: kernel(function, **options)
    return wraps(function)(_Kernel(function, options))


class _Kernel:
    """A loop that is handed to numba when one is first called. Loops call each other by their names, which are those of
    compiled ones from then on."""

    def __init__(self, function: Callable, options: dict[str, Any]):
        self.function, self.options = function, options

    def __call__(self, *given: Any) -> Any:
        return self.compiled(*given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.compiled, name)

    @cached_property
    def compiled(self) -> Any:
        with _LOCK:
            if "own" not in vars(self):
                _compile_all()
            return self.own

    @cached_property
    def own(self) -> Any:
        return _compiled(self.function, self.options)


def _compile_all() -> None:
    """Put compiled loops in the places of all loops of the engine, where numba looks for those that a loop calls."""
    _announced()
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{__package__}."):
            for key, value in list(vars(module).items()):
                if isinstance(value, _Kernel):
                    setattr(module, key, value.own)


def _compiled(function: Callable, options: dict[str, Any]) -> Any:
    from numba import njit

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


class _Announcer:
    """Says once per process that something of ours is being compiled."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and str(event.data["dispatcher"].py_func.__module__).startswith(__package__):
            self.said = True
            print("Compiling the query engine: 10 to 20 seconds, once per installation.", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        pass


@cache
def _announced() -> None:
    from numba.core import event

    event.register("numba:compile", type("Announcer", (_Announcer, event.Listener), {})())
