"""What grows with tasks, answers and cycles: a command reads the ledger once, and writes no file anew for each task."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import grown
from benchmarks.grown import NUMBER, Size, grow
from nnactive_ext.cli import annotate
from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.export import EXPORTED, exported
from nnactive_ext.exchange.exporting import Noting
from nnactive_ext.exchange.matching import Matching
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import EXPORTING
from nnactive_ext.files import read_json
from nnactive_ext.geometry.near import Near
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.kept import Kept
from nnactive_ext.labelling import followed
from nnactive_ext.labelling.answers import CountingAnswers, held_in, labels_of
from nnactive_ext.labelling.labels import count_voxels
from nnactive_ext.labelling.ledger import LEDGER, Ledger
from nnactive_ext.labelling.tasks import Task, all_asked
from nnactive_ext.loop.status import status

CYCLES = 3


@pytest.fixture(scope="module")
def grown_up(tmp_path_factory):
    """An experiment with two closed cycles of answers and an open one, whose files are as old as those of real ones."""
    folder = tmp_path_factory.mktemp("grown")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            patch.setenv(f"nnUNet_{name}", str(folder / f"nnUNet_{name}"))
        grow(folder, Size(cases=6, tasks=36, cycles=CYCLES, answered=30))
        settle(folder)
        yield Experiment.find(NUMBER)


def settle(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            os.utime(file, (1_700_000_000.5, 1_700_000_000.5))


@pytest.fixture
def reads(monkeypatch):
    """How often each file was opened for reading, by its name."""
    found: collections.Counter[str] = collections.Counter()
    for name in ("read_bytes", "read_text"):
        plain = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda self, *a, plain=plain, **k: (found.update([self.name]), plain(self, *a, **k))[1])
    import builtins

    opened = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda file, *a, **k: (found.update([os.path.basename(str(file))]), opened(file, *a, **k))[1]
    )
    followed._KNOWN.clear()
    return found


def test_the_status_reads_the_ledger_once_and_no_answer(grown_up, reads, monkeypatch):
    monkeypatch.setattr(Ledger, "read_answer", lambda *_: pytest.fail("an answer was read"))
    found = status(grown_up.anew())
    assert [cycle["done"] for cycle in found["tasks"]] == [12, 12, 6]
    assert reads[LEDGER] == 1
    assert all(reads[f"loop_{cycle:03d}.json"] <= 5 for cycle in range(CYCLES)), reads
    before = dict(reads)
    status(grown_up.anew())
    assert reads[LEDGER] == before[LEDGER], "nothing was added"


def test_answers_of_earlier_versions_have_the_same_status(grown_up, monkeypatch):
    now = status(grown_up.anew())
    plain = CountingAnswers.of

    def without_counts(ledger, following=()):
        counted = plain(ledger, following)
        for answers in counted.answers.values():
            for answer in answers:
                object.__setattr__(answer, "counts", None)
        return counted

    monkeypatch.setattr(CountingAnswers, "of", without_counts)
    followed._KNOWN.clear()
    assert status(grown_up.anew()) == now
    followed._KNOWN.clear()


def test_the_counts_of_the_ledger_are_those_of_the_answers(grown_up):
    ledger, ignore = Ledger(grown_up.annotation), grown_up.dataset.labels.ignore
    counted = CountingAnswers.of(ledger)
    for task in all_asked(grown_up):
        labels, held = labels_of(ledger, counted, task.id, ignore), held_in(ledger, counted, task.id, ignore)
        assert (labels is None) == (held is None)
        if held is not None:
            assert held.counts == count_voxels(labels, ignore)
            np.testing.assert_array_equal(held.read(), grown.answer())


def test_lines_are_added_without_reading_those_before(grown_up, tmp_path, monkeypatch):
    (tmp_path / LEDGER).write_bytes((grown_up.annotation / LEDGER).read_bytes())
    plain, parsed = followed.read_chain, []
    monkeypatch.setattr(followed, "read_chain", lambda file, content: (parsed.append(file), plain(file, content))[1])
    ledger = Ledger(tmp_path)
    for number in range(20):
        ledger.add("said", "anna", n=number)
        assert len(CountingAnswers.of(ledger).answers) == 30
    assert len(parsed) == 1
    assert [event["event"] for event in ledger.events()] == list(range(50))


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["answer", "verdict", "withdraw", "rule", "time", "case"]),
        st.sampled_from(["anna", "bert"]),
        st.integers(0, 2),
        st.integers(0, 12),
        st.booleans(),
    ),
    max_size=14,
)


@settings(max_examples=20, deadline=None)
@given(EVENTS)
def test_following_one_by_one_is_reading_all_at_once(tmp_path_factory, events):
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for what, who, number, other, flag in events:
        task, case = f"c000_00{number}_a", "a"
        if what == "answer":
            facts = {"task": task, "file": "f", "sha256": "0", "place": f"p{other}", "voxels": 8, "unsure": 8 * flag}
        elif what in ("verdict", "case"):
            facts = {"case": case, "task": task if what == "verdict" else None, "irrelevant": flag, "why": "", "cycle": 0}
        elif what == "withdraw":
            facts = {"task": task, "withdrawn": other}
        elif what == "rule":
            facts = {"task": task if flag else None, "rule": ("first", "consensus", who)[number]}
        else:
            facts = {"task": task, "seconds": 1.5, "answer": other}
        ledger.add("verdict" if what == "case" else what, who, **facts)
        step_by_step = CountingAnswers.of(ledger)
        ahead = CountingAnswers.of(Ledger(ledger.folder / "none"), list(ledger.events()))
        assert step_by_step == ahead


def test_an_export_writes_its_records_once(grown_up, tmp_path, monkeypatch):
    import nnactive_ext.exchange.exporting as module

    written: collections.Counter[str] = collections.Counter()
    plain = module.write_json
    monkeypatch.setattr(
        module, "write_json", lambda path, *content, **how: (written.update([Path(path).name]), plain(path, *content, **how))
    )
    words = ["export", "-d", str(NUMBER), "-o", str(tmp_path / "out"), "--blank", "--disable_progress_bar"]
    annotate.main(words)
    assert written == {"exported.json": 1, "exported_crops.json": 1}
    assert len(read_json(grown_up.annotation / "exported.json")) == 12
    assert not (grown_up.annotation / EXPORTING).exists()


def test_what_a_killed_export_noted_counts(grown_up):
    noting = Noting(grown_up, (EXPORTED,))
    noting.note(EXPORTED, "a_task", "0" * 64)
    noting.note(EXPORTED, "a_task", "1" * 64)
    del noting  # as a process that is killed leaves it
    notes = grown_up.annotation / EXPORTING
    with open(notes, "ab") as file:
        file.write(b'{"in": "exported.json", "task"')
    assert exported(grown_up)["a_task"] == ["0" * 64, "1" * 64]
    with Noting(grown_up, (EXPORTED,)) as noting:
        noting.note(EXPORTED, "a_task", "2" * 64)
    assert read_json(grown_up.annotation / "exported.json")["a_task"] == ["0" * 64, "1" * 64, "2" * 64]
    assert not notes.exists()
    notes.write_text('{"in": 7}\n')
    with pytest.raises(NnActiveError, match=EXPORTING):
        exported(grown_up)
    notes.unlink()


def test_a_file_of_verdicts_reads_the_ledger_once(grown_up, tmp_path, monkeypatch):
    tasks = [task.id for task in all_asked(grown_up) if task.cycle == CYCLES - 1]
    file = tmp_path / "verdicts.csv"
    file.write_text("".join(f"{task},irrelevant,page {number}\n" for number, task in enumerate(tasks)))
    plain, parsed = followed.read_chain, []
    monkeypatch.setattr(followed, "read_chain", lambda file, content: (parsed.append(file), plain(file, content))[1])
    followed._KNOWN.clear()
    annotate.main(["import", "-d", str(NUMBER), str(file), "-who", "bert", "--disable_progress_bar"])
    assert len(parsed) == 1
    assert CountingAnswers.of(Ledger(grown_up.annotation)).opinions.irrelevant(tasks[-1])


def test_files_are_matched_without_a_look_at_each_task():
    looks = []

    class Watched(Task):
        @property
        def names(self):
            looks.append(self.id)
            return super().names

    tasks = [Watched(f"c000_{i:03d}_case_{i}", 0, i, Patch(f"case_{i}", (0, 0, 0), (2, 2, 2))) for i in range(50)]
    matching = Matching(tasks, [f"case_{i}" for i in range(60)])
    for i in range(50):
        assert matching.match(Path(f"c000_{i:03d}_case_{i}.nii.gz")) == ([tasks[i]], False)
        assert matching.match(Path(f"case_{i}_seg.nii.gz")) == ([tasks[i]], True)
    assert matching.match(Path("case_55.nii.gz")) == ([], False)
    assert len(looks) == 50


BOXES = st.lists(st.tuples(st.tuples(*[st.integers(-9, 9)] * 3), st.tuples(*[st.integers(1, 7)] * 3)), max_size=12)


@given(BOXES, st.tuples(*[st.integers(1, 6)] * 3))
def test_near_finds_what_a_look_at_each_patch_finds(boxes, side):
    near: Near[int] = Near(side)
    patches = [Patch("a", start, size) for start, size in boxes]
    for number, patch in enumerate(patches):
        expected = [(other, n) for n, other in enumerate(patches[:number]) if other.overlaps(patch)]
        assert near.overlapping(patch) == expected
        near.add(patch, number)


def test_what_is_kept_of_a_file_is_gone_when_the_file_changes(tmp_path):
    file, kept = tmp_path / "a", Kept[str](2)
    file.write_text("one")
    assert kept.of(file, file.read_text) == "one"
    file.write_text("two")  # at once: no clock has ticked
    assert kept.of(file, file.read_text) == "two"
    settle(tmp_path)
    assert kept.of(file, file.read_text) == "two"
    assert kept.of(file, lambda: pytest.fail("read again")) == "two"
    assert kept.of(file, lambda: "other key", "key") == "other key"
    with open(file, "r+") as stream:
        stream.write("six")
    assert kept.of(file, file.read_text) == "six"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        kept.of(file, file.read_text)
