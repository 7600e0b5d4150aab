"""The ledger: lines are only ever added, half a line of a killed process is none, and files are kept as they came."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.space import Space
from nnactive_ext.labelling.chain import End, line_of
from nnactive_ext.labelling.ledger import LEDGER, Ledger, sha256
from nnactive_ext.labelling.seen import SEEN

TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "annotation")


def test_no_ledger_has_no_events_and_reading_makes_none(ledger):
    assert list(ledger.events()) == []
    assert not ledger.folder.exists()


def test_events_come_back_in_order_with_who_and_when(ledger):
    made = [ledger.add("answer", "Jörg\nNagel", task=f"t{i}", places=[["a", i]], score=0.1 * i) for i in range(3)]
    assert list(ledger.events()) == made
    assert [event["event"] for event in made] == [0, 1, 2]
    assert made[1].items() >= {"what": "answer", "who": "Jörg\nNagel", "task": "t1", "places": [["a", 1]], "score": 0.1}.items()
    assert made[0]["when"].endswith("+00:00"), "a time without its zone is no time"


@given(steps=st.lists(st.one_of(st.text(max_size=8), st.integers(1, 40))))
def test_whatever_is_left_of_a_line_what_was_written_stays(steps):
    """Texts are events to add, numbers how much a killed process left of a line."""
    with tempfile.TemporaryDirectory() as folder:
        ledger, file = Ledger(Path(folder)), Path(folder) / LEDGER
        added, before = [], b""
        for step in steps:
            if isinstance(step, str):
                ledger.add("said", "anna", text=step)
                added.append(step)
                content = file.read_bytes()
                assert content.startswith(before)
                assert content.endswith(b"\n")
                before = content
            else:
                with open(file, "ab") as handle:
                    handle.truncate(len(before))
                    handle.write(line_of({"event": len(added), "what": "said"}, End(0, 0, ""))[:step])
            assert [event["text"] for event in ledger.events()] == added
            assert [event["event"] for event in ledger.events()] == list(range(len(added)))
        assert before.count(b"\n") == len(added)


@pytest.mark.parametrize("kept", [0, 1, 5, -1])
def test_a_torn_first_line_is_gone_with_the_next_event(ledger, kept):
    ledger.add("first", "anna")
    file = ledger.folder / LEDGER
    file.write_bytes(file.read_bytes()[:kept])
    (ledger.folder / SEEN).unlink()  # nobody has seen a line that is not whole
    assert list(ledger.events()) == []
    ledger.add("second", "anna")
    assert [json.loads(line)["what"] for line in file.read_text().splitlines()] == ["second"]


def test_a_damaged_line_in_the_middle_is_told_and_nothing_is_added(ledger):
    for _ in range(3):
        ledger.add("said", "anna")
    file = ledger.folder / LEDGER
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b'{"event": 1, "wh\n' + lines[2])
    damaged = file.read_bytes()
    with pytest.raises(NnActiveError, match="line 2"):
        list(ledger.events())
    with pytest.raises(NnActiveError, match="line 2"):
        ledger.add("said", "anna")
    assert file.read_bytes() == damaged


def test_text_with_every_kind_of_line_end_stays_one_event(ledger):
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\r\nh"
    ledger.add("said", text, file=text)
    ledger.add("said", "anna")
    assert [event["who"] for event in ledger.events()] == [text, "anna"]


def test_files_are_kept_as_they_came(ledger, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    contents = {"a/x.nii.gz": b"one", "b/x.nii.gz": b"two", "a/y z.nii.gz": b"one"}
    places = {}
    for name, content in contents.items():
        file = tmp_path / name
        file.write_bytes(content)
        places[name], digest = ledger.keep(file)
        assert digest == hashlib.sha256(content).hexdigest() == sha256(file)
    assert len(set(places.values())) == 3, "two files of one name, and one file under two names"
    for name, content in contents.items():
        assert (ledger.folder / places[name]).read_bytes() == content
        assert Path(places[name]).name.endswith(Path(name).name)
        assert (tmp_path / name).read_bytes() == content
    assert ledger.keep(tmp_path / "a" / "x.nii.gz")[0] == places["a/x.nii.gz"]
    assert len(list((ledger.folder / "received").iterdir())) == 3


def test_a_damaged_copy_is_mended_when_its_file_comes_again(ledger, tmp_path):
    file = tmp_path / "x.nrrd"
    file.write_bytes(b"all of it")
    kept = ledger.folder / ledger.keep(file)[0]
    kept.write_bytes(b"half")
    ledger.keep(file)
    assert kept.read_bytes() == b"all of it"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_answers_come_back_bit_for_bit_and_beside_each_other(ledger, dtype):
    rng = np.random.default_rng(0)
    space = Space((4, 3, 2), (0.7, 1.3, 2.9), (-3.25, 7.5, 11.0), TURNED)
    answers = [rng.integers(0, np.iinfo(dtype).max, (4, 3, 2), dtype, endpoint=True) for _ in range(3)]
    places = [ledger.write_answer("c000_001_a", "f" * 64, labels, space) for labels in answers]
    assert len(set(places)) == 3, "one file may answer a task again after it was exported anew"
    for place, labels in zip(places, answers, strict=True):
        read = ledger.read_answer(place)
        np.testing.assert_array_equal(read, labels)
        assert read.dtype == dtype
    import SimpleITK as sitk

    kept = sitk.ReadImage(str(ledger.folder / places[0]))
    np.testing.assert_allclose(kept.GetOrigin(), space.origin, atol=1e-5)
    np.testing.assert_allclose(kept.GetSpacing(), space.spacing, rtol=1e-6)
    np.testing.assert_allclose(kept.GetDirection(), space.direction, atol=1e-6)


def test_an_answer_that_is_gone_is_told(ledger):
    place = ledger.write_answer("t", "0" * 64, np.zeros((2, 2, 2), np.uint8), Space((2, 2, 2), (1, 1, 1), (0, 0, 0), TURNED))
    (ledger.folder / place).unlink()
    with pytest.raises(NnActiveError, match="Import"):
        ledger.read_answer(place)
