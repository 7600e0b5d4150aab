"""The chain of the ledger: changed, lost, inserted and moved lines are found and named, and old ledgers are taken over."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from forked import PROCESSES
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.labelling.chain import PREVIOUS
from nnactive_ext.labelling.ledger import LEDGER, Ledger
from nnactive_ext.labelling.seen import SEEN

LINES = 8


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def old_lines(number: int) -> bytes:
    """As versions before the chain wrote them."""
    events = [{"event": i, "what": "said", "who": "anna", "when": "2025-01-01T00:00:00+00:00", "t": i} for i in range(number)]
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def made(folder: Path, old: int = 0, new: int = LINES) -> tuple[Ledger, list[bytes]]:
    """A ledger with lines of an earlier version and chained ones; its lines."""
    ledger = Ledger(folder)
    folder.mkdir(exist_ok=True)
    if old:
        (folder / LEDGER).write_bytes(old_lines(old))
    for number in range(new):
        ledger.add("said", "bert", text=f"ä\n{number}")
    return ledger, (folder / LEDGER).read_bytes().splitlines(keepends=True)


def message(ledger: Ledger, lines: list[bytes]) -> str:
    """What reading and adding say to a ledger with these lines, which stay as they are."""
    file = ledger.folder / LEDGER
    file.write_bytes(b"".join(lines))
    with pytest.raises(NnActiveError) as read:
        list(ledger.events())
    with pytest.raises(NnActiveError) as added:
        ledger.add("said", "carl")
    assert str(read.value) == str(added.value)
    assert file.read_bytes() == b"".join(lines)
    assert str(file) in str(read.value)
    return str(read.value).replace(str(file), "")


@pytest.mark.parametrize("old", [0, 1, 5])
def test_each_line_carries_its_number_and_the_checksum_of_the_line_before(tmp_path, old):
    ledger, lines = made(tmp_path, old)
    assert b"".join(lines[:old]) == old_lines(old), "nothing is rewritten"
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == list(range(old + LINES))
    assert events[old][PREVIOUS] == sha(b"".join(lines[:old]))
    for before, event in zip(lines[old:], events[old + 1 :], strict=False):
        assert event[PREVIOUS] == sha(before)
    assert list(ledger.events()) == events


@pytest.mark.parametrize("at", [0, 1, 5, LINES - 2])
def test_a_changed_line_is_named(tmp_path, at):
    ledger, lines = made(tmp_path)
    lines[at] = lines[at].replace(b"bert", b"Bert")
    # Of the line before the last, nothing but the last line says how it was.
    either = f" or line {LINES}" if at == LINES - 2 else ""
    assert f"line {at + 1}{either} was changed" in message(ledger, lines)


@pytest.mark.parametrize("at", [0, 3, LINES - 1])
@pytest.mark.parametrize("key", ["event", PREVIOUS])
def test_a_line_whose_place_in_the_chain_was_changed_is_named(tmp_path, key, at):
    ledger, lines = made(tmp_path)
    event = json.loads(lines[at])
    lines[at] = json.dumps({**event, key: at + 40 if key == "event" else "0" * 64}).encode() + b"\n"
    assert f"line {at + 1} was changed" in message(ledger, lines)


@pytest.mark.parametrize("at", [1, 4])
def test_a_line_that_lost_its_checksum_is_named(tmp_path, at):
    ledger, lines = made(tmp_path)
    event = json.loads(lines[at])
    del event[PREVIOUS]
    lines[at] = json.dumps(event).encode() + b"\n"
    assert f"line {at + 1} was inserted or changed" in message(ledger, lines)


@pytest.mark.parametrize(("at", "number"), [(0, 1), (2, 1), (5, 2), (1, 4), (0, 7)])
def test_deleted_lines_are_counted_and_placed(tmp_path, at, number):
    ledger, lines = made(tmp_path)
    del lines[at : at + number]
    words = "line was" if number == 1 else "lines were"
    assert f"{number} {words} deleted before line {at + 1}" in message(ledger, lines)


@pytest.mark.parametrize("at", [2, 3, 6])
@pytest.mark.parametrize("kind", ["copy", "plain", "forged"])
def test_an_inserted_line_is_named(tmp_path, kind, at):
    """A copy of the first line, a line without a chain, and one whose number and checksum are right where it stands."""
    ledger, lines = made(tmp_path)
    said = {"event": at, "what": "rule", "who": "eve", "when": "now", "rule": "first"}
    forged = json.dumps({**said, PREVIOUS: sha(lines[at - 1])}).encode() + b"\n"
    lines.insert(at, {"copy": lines[0], "plain": old_lines(at + 1).splitlines(keepends=True)[at], "forged": forged}[kind])
    assert f"line {at + 1} was inserted" in message(ledger, lines)


def test_a_line_inserted_before_the_first_is_named(tmp_path):
    ledger, lines = made(tmp_path)
    forged = {"event": 0, "what": "rule", "who": "eve", "when": "now", PREVIOUS: sha(b"")}
    assert "line 1 was inserted" in message(ledger, [json.dumps(forged).encode() + b"\n", *lines])


@pytest.mark.parametrize(("one", "other"), [(0, 1), (2, 3), (1, 6), (6, 7)])
def test_swapped_lines_are_found(tmp_path, one, other):
    ledger, lines = made(tmp_path)
    lines[one], lines[other] = lines[other], lines[one]
    assert f"moved: line {one + 1} has the number {other}" in message(ledger, lines)


@pytest.mark.parametrize(("at", "said"), [(0, "lines 1 to 5 was changed"), (4, "lines 1 to 5 was changed")])
def test_a_changed_line_of_before_the_chain_is_found(tmp_path, at, said):
    ledger, lines = made(tmp_path, old=5)
    lines[at] = lines[at].replace(b"anna", b"Anna")
    assert said in message(ledger, lines)


def test_lines_of_before_the_chain_are_neither_lost_nor_inserted_unseen(tmp_path):
    ledger, lines = made(tmp_path, old=5)
    assert "2 lines were deleted before line 4" in message(ledger, [*lines[:1], *lines[3:]])
    assert "1 line was inserted before line 7" in message(ledger, [*lines[:2], lines[1], *lines[2:]])
    assert "1 line was deleted before line 6" in message(ledger, [*lines[:5], *lines[6:]]), "the first of the chain"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_one_does_to_whole_lines_but_the_last_is_found(data, tmp_path_factory):
    ledger, lines = made(tmp_path_factory.mktemp("any"), old=data.draw(st.integers(0, 3)), new=5)
    order = data.draw(st.lists(st.integers(0, len(lines) - 1), max_size=9))
    shuffled = [lines[number] for number in order]
    if shuffled != lines[: len(shuffled)]:  # the first lines of a ledger are a ledger
        chained = [line for line in shuffled if PREVIOUS.encode() in line]
        if chained:
            message(ledger, shuffled)


@pytest.mark.parametrize("old", [0, 2])
def test_the_first_lines_of_a_ledger_are_a_ledger(tmp_path, old):
    """Whole lines that were cut off the end leave no trace in the file; the note beside it, which older ones lack, tells."""
    ledger, lines = made(tmp_path, old, 4)
    (tmp_path / SEEN).unlink()
    for number in range(len(lines), -1, -1):
        (tmp_path / LEDGER).write_bytes(b"".join(lines[:number]))
        assert len(list(ledger.events())) == number


def test_a_line_cut_anywhere_makes_room_for_the_next(tmp_path):
    ledger, lines = made(tmp_path, old=1, new=2)
    for cut in range(len(lines[-1])):
        (tmp_path / LEDGER).write_bytes(b"".join(lines[:-1]) + lines[-1][:cut])
        (tmp_path / SEEN).unlink(missing_ok=True)  # nobody has seen a line that is not whole
        assert len(list(ledger.events())) == 2
        assert ledger.add("said", "anna")["event"] == 2
        assert [event["who"] for event in ledger.events()] == ["anna", "bert", "anna"]


def test_lines_that_another_process_added_meanwhile_are_followed(tmp_path):
    """The end of the file is remembered; a file that is no longer the same is read again."""
    ledger, _ = made(tmp_path, new=2)
    process = PROCESSES.Process(target=_add, args=(tmp_path, 3))
    process.start()
    process.join()
    ledger.add("said", "anna")
    assert [event["event"] for event in ledger.events()] == list(range(6))


def test_two_processes_at_once(planned):
    """Each takes the experiment's lock for each line, as commands do."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}
    processes = [PROCESSES.Process(target=_add_locked, args=(environment, who, 15)) for who in ("anna", "bert")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    events = list(Ledger(planned.annotation).events())
    assert [event["event"] for event in events] == list(range(30))
    assert all([event["n"] for event in events if event["who"] == who] == list(range(15)) for who in ("anna", "bert"))


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_while_it_adds(tmp_path):
    """What was acknowledged is there, at most one line more, and the next process goes on."""
    total = 0
    for pause in (0.0, 0.003, 0.01):
        done = PROCESSES.Value("i", 0)
        process = PROCESSES.Process(target=_add_for_ever, args=(tmp_path, done))
        process.start()
        while not done.value:
            time.sleep(0.001)
        time.sleep(pause)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = len(list(Ledger(tmp_path).events()))
        assert total + done.value <= found <= total + done.value + 1
        total = found


def _add(folder: Path, number: int) -> None:
    for n in range(number):
        Ledger(folder).add("said", "carl", n=n)


def _add_locked(environment: dict[str, str], who: str, number: int) -> None:
    os.environ.update(environment)
    from nnactive_ext.experiment.experiment import Experiment

    experiment = Experiment.find(101)
    for n in range(number):
        with experiment.lock(wait=True):
            Ledger(experiment.annotation).add("said", who, n=n)


def _add_for_ever(folder: Path, done) -> None:
    while True:
        Ledger(folder).add("said", "anna", text="x" * 3000)
        done.value += 1
