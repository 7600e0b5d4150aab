"""A note beside a ledger of how it ended: lines that were cut off, older copies and restored files are noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import change_of
from nnactive_ext.files import read_json_if_any, write_json
from nnactive_ext.labelling.chain import PREVIOUS, End
from nnactive_ext.schemas import Count
from nnactive_ext.words import count

SEEN = "ledger_seen.json"
"""How many events there were, the SHA-256 of the last line, and the number that the file system gave the ledger. Older
experiments have none; a damaged one says nothing."""


class _Noted(TypedDict):
    events: Count
    sha256: str
    file: int


def note(ledger: Path, end: End, number: int) -> None:
    """After each line; it may be lost without harm, so that nobody waits for the disk."""
    write_json(ledger.with_name(SEEN), {"events": end.events, "sha256": end.previous, "file": number}, durable=False)


def is_copy(ledger: Path) -> bool:
    """Whether the ledger is another file than the one that was last added to."""
    number = noted(ledger).get("file")
    return number is not None and number != ledger.stat().st_ino


def check(ledger: Path, events: Sequence[Mapping[str, Any]], end: End, noted: Mapping[str, Any]) -> None:
    """Refuse a ledger with fewer events, or with others, than were ``noted`` before it was read: others may add lines."""
    number = int(noted.get("events", 0))
    check_number(ledger, events, number)
    then = end.previous if number == len(events) else events[number].get(PREVIOUS)
    if number and then not in (None, noted.get("sha256")):
        raise NnActiveError(
            f"{ledger}: line {number} is another one than was written there: another copy is in its place. Restore the right "
            f"one. {to_accept(ledger)}"
        )


def check_number(ledger: Path, events: Sequence[Mapping[str, Any]], number: int) -> None:
    """Refuse fewer than ``number`` events."""
    if number > len(events):
        raise NnActiveError(
            f"{ledger}: {told(events)}, but {number} were written: lines were cut off, or an older copy is in its place. "
            f"Restore the newest copy. {to_accept(ledger)}"
        )


def check_missing(ledger: Path) -> None:
    """Refuse that there is no ledger where there are answers, or where there was one."""
    had = noted(ledger).get("events") or any(path.suffix == ".gz" for path in ledger.with_name("answers").glob("*"))
    if had and not ledger.is_file():  # another process may have made it meanwhile
        raise NnActiveError(f"{ledger}: no such file, but it had events. Restore it from a backup. {to_accept(ledger)}")


def told(events: Sequence[Mapping[str, Any]]) -> str:
    last = f", the last one of {events[-1]['who']} from {events[-1]['when']}" if events else ""
    return f"{count(len(events), 'event')}{last}"


def to_accept(ledger: Path) -> str:
    """What to type where there is no backup."""
    name = ledger.parent.parent.name
    command = f": {change_of(name, '-ledger', 'accept')}" if name.startswith("Dataset") else "."
    return f"Without one, go on with the events that are whole{command}"


def noted(ledger: Path) -> dict[str, Any]:
    """What was noted after the last line; empty where nothing was."""
    try:
        return read_json_if_any(ledger.with_name(SEEN), {}, _Noted)
    except (OSError, NnActiveError):
        return {}
