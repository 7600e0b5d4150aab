"""The chain of the ledger's lines: each has its number and the SHA-256 of the line before it, so that changes are noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.labelling.event_kinds import EventFacts
from nnactive_ext.schemas import of_text
from nnactive_ext.words import count

PREVIOUS = "previous_sha256"
"""In a line: the SHA-256 of the bytes of the line before it, with its line end. The first line that has it carries the SHA-256
of all bytes before it: none in a new ledger, the lines without a chain in a ledger of an earlier version."""


@dataclass(frozen=True)
class End:
    """Where a ledger goes on: ``events`` are in its first ``size`` bytes; the next line carries ``previous``."""

    events: int
    size: int
    previous: str


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def line_of(event: Mapping[str, Any], end: End) -> bytes:
    """The bytes of an event's line."""
    return json.dumps({**event, PREVIOUS: end.previous}).encode() + b"\n"


def read_chain(file: Path, content: bytes) -> tuple[list[dict[str, Any]], End]:
    """The events of a ledger, and where it goes on.

    Args:
        file: the ledger, for messages.
        content: its bytes. What follows the last line end is no line, if it is the beginning of the next one: a process that
            was killed left it.

    Returns:
        The events in order, and the end of the last whole line.

    Raises:
        NnActiveError: a line is no event, the chain shows that a line was changed, moved, inserted or deleted, or what follows
            the last line is not the beginning of one, such as zeros after a loss of power. It says how much is whole.
    """
    try:
        events, end = _read(file, content)
        _check_unfinished(file, content[end.size :], end)
        return events, end
    except NnActiveError as error:
        events, _ = whole_lines(file, content)
        last = f", the last one of {events[-1]['who']} from {events[-1]['when']}" if events else ""
        raise NnActiveError(f"{error} Whole are its first {count(len(events), 'event')}{last}.") from None


def whole_lines(file: Path, content: bytes) -> tuple[list[dict[str, Any]], End]:
    """As much of a damaged ledger as is whole from its beginning on: the events, and where they end."""
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    low, high = 0, len(lines)  # so many lines are whole; so many may be
    while low < high:
        middle = (low + high + 1) // 2
        try:
            _read(file, b"".join(lines[:middle]))
            low = middle
        except NnActiveError:
            high = middle - 1
    return _read(file, b"".join(lines[:low]))


def _check_unfinished(file: Path, rest: bytes, end: End) -> None:
    begins = f'{{"event": {end.events}, "what": "'.encode()
    if not (begins.startswith(rest) or rest.startswith(begins)) or b"\0" in rest:
        raise NnActiveError(
            f"{file}: damaged: its last {count(len(rest), 'byte')} are not the beginning of a line, as a killed command leaves "
            "it. Restore the file from a backup."
        )


def _read(file: Path, content: bytes) -> tuple[list[dict[str, Any]], End]:
    whole = content[: content.rfind(b"\n") + 1]
    lines = [line + b"\n" for line in whole.split(b"\n")[:-1]]
    events = [_event(file, number, line) for number, line in enumerate(lines, start=1)]
    first = next((i for i, event in enumerate(events) if PREVIOUS in event), len(events))
    before = digest(b"".join(lines[:first]))
    digests = [digest(line) for line in lines]
    expected = [before, *digests[first:]]
    for i in range(first, len(events)):
        if events[i]["event"] != i or events[i].get(PREVIOUS) != expected[i - first]:
            raise NnActiveError(f"{file}: {_fault(events, first, i, expected)}. Restore the file from a backup.")
    return events, End(len(events), len(whole), expected[-1])


def _event(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return of_text(EventFacts, line)
    except ValueError as error:
        raise NnActiveError(f"{file}, line {number}: damaged ({error}). Restore the file from a backup.") from None


def _fault(events: Sequence[Mapping[str, Any]], first: int, i: int, expected: Sequence[str]) -> str:
    """What happened to a ledger whose line ``i`` (from 0) is the first that does not fit; ``expected``: what the lines from
    ``first`` on have to carry."""
    number, link = events[i]["event"], events[i].get(PREVIOUS)
    if link is None:
        return f"line {i + 1} was inserted or changed: it has no {PREVIOUS}, which the lines before it have"
    if link == expected[i - first] or not isinstance(number, int):
        return f"line {i + 1} was changed: it has the number {number!r} instead of {i}"
    if number == i:
        return _changed(events, first, i, expected)
    if number > i:
        if any(later["event"] == i for later in events[i + 1 :]):
            return f"lines were moved: line {i + 1} has the number {number}, and a later line has {i}"
        return f"{_lines(number - i)} deleted before line {i + 1}: it has the number {number} instead of {i}"
    if i == first:
        return f"{_lines(i - number)} inserted before line {i + 1}: it has the number {number} instead of {i}"
    inserted = i if link == expected[i - 1 - first] else i + 1
    return f"line {inserted} was inserted: line {i + 1} has the number {number} instead of {i}"


def _changed(events: Sequence[Mapping[str, Any]], first: int, i: int, expected: Sequence[str]) -> str:
    """A line has the right number and does not carry the checksum of what is before it."""
    before = f"line {i}" if i > first or first == 1 else f"one of the lines 1 to {i}" if i else ""
    if before and i + 1 < len(events) and events[i + 1].get(PREVIOUS) == expected[i + 1 - first]:
        return f"{before} was changed: line {i + 1} carries another checksum of it"
    told = f"{before} or line {i + 1}" if before else f"line {i + 1}"
    return f"{told} was changed: line {i + 1} carries another checksum of what is before it"


def _lines(number: int) -> str:
    return f"{count(number, 'line')} {'was' if number == 1 else 'were'}"
