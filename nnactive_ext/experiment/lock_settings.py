"""What a command says about its locks: of which kind they are, and what others are told that it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from nnactive_ext.errors import NnActiveError

VARIABLE = "nnactive_lock"
"""The environment variable that chooses the kind of locks, also in child processes and in nnU-Net's own commands."""
SYSTEM, FILE = "system", "file"
KINDS = (SYSTEM, FILE)
"""Locks of the operating system; files that their owners renew, for file systems that cannot lock."""
_activity: ContextVar[str] = ContextVar("_activity", default="")


def kind() -> str:
    """The kind of locks that this process uses, one of :data:`KINDS`."""
    chosen = os.environ.get(VARIABLE) or SYSTEM
    if chosen not in KINDS:
        raise NnActiveError(f"environment variable {VARIABLE}: expected {' or '.join(KINDS)}, got {chosen!r}.")
    return chosen


def activity() -> str:
    """What this process does: the name of its command."""
    return _activity.get() or Path(sys.argv[0]).name or "python"


@contextmanager
def locking(doing: str, chosen: str | None = None) -> Iterator[None]:
    """Within the block, locks tell others that this process is ``doing`` it, and are of the ``chosen`` kind.

    A kind that the environment does not choose already is told to the user, who needs it for other commands.
    """
    before = os.environ.get(VARIABLE)
    if chosen:
        os.environ[VARIABLE] = chosen
    if kind() == FILE != before:
        print(
            f"Locks are files. Use -lock file, or {VARIABLE}={FILE} in the environment, for all commands on these folders, "
            "nnUNetv2_train too.",
            file=sys.stderr,
        )
    token = _activity.set(doing)
    try:
        yield
    finally:
        _activity.reset(token)
        if chosen:
            os.environ.pop(VARIABLE)
            os.environ.update({VARIABLE: before} if before is not None else {})
