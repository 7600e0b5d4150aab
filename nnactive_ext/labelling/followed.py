"""Ledgers that this process has read or added to: one that is as it was is not read again, and what is added is followed."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nnactive_ext.errors import NnActiveError
from nnactive_ext.kept import Stamp, is_settled, stamp_of
from nnactive_ext.labelling import seen
from nnactive_ext.labelling.chain import End, read_chain
from nnactive_ext.labelling.event_kinds import check_event
from nnactive_ext.refusals import RESTORE
from nnactive_ext.schemas import parsed

_MOST = 4
"""Ledgers that are remembered."""


class Follower(Protocol):
    """Adds up the events of a ledger, one after another."""

    def follow(self, event: Mapping[str, Any]) -> None: ...


F = TypeVar("F", bound=Follower)
R = TypeVar("R")


@dataclass
class Known:
    """What is known of a ledger: its ``stamp``, when that was ``looked`` at, where it goes on, the checksum of what is before,
    its ``events``, and of each kind of ``followers`` one, with the number of the events that it followed."""

    stamp: Stamp
    looked: int
    end: End
    checksum: Any
    events: list[dict[str, Any]]
    followers: dict[type, tuple[Any, int]] = field(default_factory=dict)


_KNOWN: OrderedDict[Path, Known] = OrderedDict()
_LOCK = threading.RLock()


def known(file: Path, opened: int | None = None) -> Known:
    """What is known of a ledger; it is read and checked, unless it is as this process left it or found it.

    Args:
        file: the ledger.
        opened: the number of the opened file, for whoever is about to add a line: opening makes a network's file system look
            what others wrote, and the next line carries the checksum of the last.

    Raises:
        NnActiveError: a line is damaged, or was changed, moved, inserted or deleted; lines at the end are missing.
    """
    with _LOCK:
        found, looked = _KNOWN.pop(file, None), time.time_ns()
        stamp = stamp_of(file if opened is None else opened)
        if found is None or found.stamp != stamp or not (opened is not None or is_settled(stamp, found.looked)):
            noted = seen.noted(file)  # before the lines, as others may add some meanwhile
            content = file.read_bytes()
            if found is not None and found.stamp == stamp and hashlib.sha256(content).digest() == found.checksum.digest():
                found.looked = looked
            else:
                events, end = _read(file, content, noted)
                found = Known(stamp, looked, end, hashlib.sha256(content[: end.size]), events)
        _KNOWN[file] = found
        while len(_KNOWN) > _MOST:
            _KNOWN.popitem(last=False)
        return found


def _read(file: Path, content: bytes, noted: Mapping[str, Any]) -> tuple[list[dict[str, Any]], End]:
    try:
        events, end = read_chain(file, content)
    except NnActiveError as error:
        raise NnActiveError(f"{error} {seen.to_accept(file)}") from None
    seen.check(file, events, end, noted)
    for number, event in enumerate(events, start=1):
        try:
            check_event(event)
        except ValueError as error:
            raise NnActiveError(f"{file}, line {number}: damaged ({error}). {RESTORE}") from None
    return events, end


def added(file: Path, opened: int, before: Known, line: bytes, end: End) -> None:
    """Note that ``line`` was added to the opened ledger, which was as ``before`` and now goes on at ``end``."""
    with _LOCK:
        before.events.append(parsed(line))
        before.checksum.update(line)
        before.stamp, before.looked, before.end = stamp_of(opened), time.time_ns(), end
        _KNOWN[file] = before


def forget(file: Path) -> None:
    """Read the ledger again before the next line: nobody knows what a failed write left."""
    with _LOCK:
        _KNOWN.pop(file, None)


def followed(file: Path, kind: Callable[[], F], then: Callable[[F], R]) -> R:
    """What ``then`` returns of a follower that has followed all events of a ledger; it may not change the follower."""
    with _LOCK:
        ledger = known(file)
        follower, number = ledger.followers.get(kind, (None, 0))  # type: ignore[call-overload]
        if follower is None:
            follower = kind()
        for event in ledger.events[number:]:
            follower.follow(event)
        ledger.followers[kind] = (follower, len(ledger.events))  # type: ignore[index]
        return then(follower)


if hasattr(os, "register_at_fork"):  # another thread may hold the lock when this process forks
    os.register_at_fork(after_in_child=lambda: globals().update(_LOCK=threading.RLock()))
