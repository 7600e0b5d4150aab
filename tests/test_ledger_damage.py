"""A ledger that was damaged, cut, lost or replaced by an older copy is refused, and what is whole of it can be gone on with."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from pathlib import Path

import pytest

from nnactive_ext.cli import change, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.labelling import followed
from nnactive_ext.labelling.chain import whole_lines
from nnactive_ext.labelling.ledger import LEDGER, Ledger
from nnactive_ext.labelling.opening import open_experiment

LINES = 8


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    made = Ledger(tmp_path / "Dataset601_Tiny" / "annotation")
    for number in range(LINES):
        made.add("said", "anna", number=number)
    return made


def cut(content: bytes) -> int:
    """Where the line after the middle begins."""
    return content.rfind(b"\n", 0, len(content) // 2) + 1


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "half its lines": lambda content: content[: cut(content)],
    "without its last line": lambda content: content[: content[:-1].rfind(b"\n") + 1],
    "the last two bytes": lambda content: content[:-2],
    "zeros": lambda content: b"\0" * len(content),
    "its second half zeros": lambda content: content[: cut(content)] + b"\0" * (len(content) - cut(content)),
    "zeros behind it": lambda content: content + b"\0" * 100,
    "something behind it": lambda content: content + b"what is this",
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_ledger_is_refused_and_stays_as_it_is(ledger, what):
    file = ledger.folder / LEDGER
    damaged = DAMAGES[what](file.read_bytes())
    file.write_bytes(damaged)
    for call in (lambda: list(ledger.events()), lambda: ledger.add("said", "bert")):
        with pytest.raises(NnActiveError, match="-ledger accept") as told:
            call()
        assert str(file) in str(told.value)
    assert file.read_bytes() == damaged
    whole, end = whole_lines(file, damaged)
    assert [event["number"] for event in whole] == list(range(len(whole)))
    assert str(len(whole)) in str(told.value)
    assert damaged[: end.size].count(b"\n") == len(whole)


def test_a_lost_ledger_is_refused(ledger):
    (ledger.folder / LEDGER).unlink()
    with pytest.raises(NnActiveError, match="no such file"):
        list(ledger.events())
    with pytest.raises(NnActiveError, match="no such file"):
        ledger.add("said", "bert")
    assert not (ledger.folder / LEDGER).exists()


def test_another_ledger_of_the_same_length_is_refused(ledger, tmp_path):
    other = Ledger(tmp_path / "other")
    for number in range(LINES):
        other.add("said", "carl", number=number)
    shutil.copy(other.folder / LEDGER, ledger.folder / LEDGER)
    with pytest.raises(NnActiveError, match="another copy"):
        list(ledger.events())


def test_what_a_killed_process_left_of_a_line_is_kept_beside(ledger):
    file, rest = ledger.folder / LEDGER, f'{{"event": {LINES}, "what": "answer", "who": "an'.encode()
    before = file.read_bytes()
    file.write_bytes(before + rest)
    assert len(list(ledger.events())) == LINES
    ledger.add("said", "bert")
    assert file.read_bytes().startswith(before + b'{"event": 8, "what": "said"')
    (kept,) = ledger.folder.glob("ledger_unfinished_*")
    assert kept.read_bytes() == rest


def test_a_ledger_of_before_the_note_goes_on(ledger):
    for file in ledger.folder.glob("*.json"):
        file.unlink()
    ledger.add("said", "bert")
    assert len(list(ledger.events())) == LINES + 1


def refused(tasks, capsys) -> str:
    with pytest.raises(SystemExit):
        status.main(["-d", "601"])
    return capsys.readouterr().err


@pytest.mark.slow
def test_an_older_copy_under_newer_labels_is_refused_and_accepted_on_demand(tasks, tmp_path, capsys):
    older = Path(shutil.copytree(tasks.experiment.annotation, tmp_path / "backup"))
    for one in tasks.seen:
        one.write(one.answer())
    tasks.hand_in(more="--accept_unchanged")
    tasks.annotate("close --disable_progress_bar")
    case = tasks.seen[0].id.split("_", 2)[2]
    assert (tasks.labels(case) != 3).any()
    shutil.rmtree(tasks.experiment.annotation)
    shutil.copytree(older, tasks.experiment.annotation)  # with the note beside it
    assert "-ledger accept" in refused(tasks, capsys)
    with pytest.raises(SystemExit):  # labels would have nothing left to rest on
        change.main(["-d", "601", "-ledger", "accept"])


@pytest.mark.slow
def test_the_whole_events_are_gone_on_with(tasks, capsys):
    for one in tasks.seen:
        one.write(one.answer())
    tasks.hand_in(more="--accept_unchanged")
    tasks.annotate("close --disable_progress_bar")
    again = tasks.seen[0].write(tasks.seen[0].answer() * 0)
    tasks.hand_in(again, who="bert")
    file = tasks.experiment.annotation / LEDGER
    content, lines = file.read_bytes(), file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]) + b"\0" * len(lines[-1]))
    assert "-ledger accept" in refused(tasks, capsys)
    change.main(["-d", "601", "-ledger", "accept"])
    assert file.read_bytes() == b"".join(lines[:-1])
    (kept,) = file.parent.glob("ledger_damaged_*")
    assert kept.stat().st_size == len(content)
    case = tasks.seen[0].id.split("_", 2)[2]
    assert (tasks.labels(case)[tasks.patch(tasks.seen[0]).slices] == tasks.seen[0].truth[tasks.seen[0].box]).all()
    status.main(["-d", "601"])


def test_an_experiment_that_was_restored_as_a_whole_is_accepted_and_said_once(tasks, tmp_path, capsys):
    tasks.hand_in(tasks.seen[1].write(tasks.seen[1].answer()))
    capsys.readouterr()
    open_experiment(601, locked=True)
    assert capsys.readouterr().err == ""
    raw = Experiment.find(601).raw
    restored = shutil.copytree(raw, tmp_path / "restored")
    shutil.rmtree(raw)
    shutil.move(restored, raw)
    for said in (True, False):
        open_experiment(601, locked=True)
        assert ("restored from a backup" in capsys.readouterr().err) == said
    ledger, noted = raw / "annotation" / LEDGER, raw / "annotation" / "ledger_seen.json"
    assert read_json(noted)["file"] != ledger.stat().st_ino, "a command that reads, or is refused, changes no file"
    tasks.hand_in(tasks.seen[0].write(tasks.seen[0].answer()))
    assert read_json(noted)["file"] == ledger.stat().st_ino


def test_a_ledger_is_read_while_another_process_adds_to_it(ledger, monkeypatch):
    """Whoever reads takes no lock: what is noted of the last line may be newer than the lines that were read."""
    file, read = ledger.folder / LEDGER, Path.read_bytes
    followed._KNOWN.clear()

    def added_meanwhile(path: Path) -> bytes:
        content = read(path)
        if path == file:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "read_bytes", read)
                patch.setattr(followed, "_KNOWN", OrderedDict())
                Ledger(ledger.folder).add("said", "bert")
        return content

    monkeypatch.setattr(Path, "read_bytes", added_meanwhile)
    assert len(list(ledger.events())) == LINES
