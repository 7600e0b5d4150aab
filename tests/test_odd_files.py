"""One odd file is refused by itself: the other answers are taken, the other images are read, and planning lists it."""

from __future__ import annotations

import contextlib
import gzip
from importlib import import_module
from pathlib import Path

import pytest
import scripted_expert as expert
import SimpleITK as sitk
from fuzzing import contents

from nnactive_ext.cli import annotate
from nnactive_ext.images import checks
from nnactive_ext.intake.each import find_each

receiving = import_module("nnactive_ext.exchange.receive")
"""Not the function that the folder re-exports under this name."""


def with_data_type(file: Path, code: bytes = b"\x39\x30") -> None:
    """A packed NIfTI file whose voxels are of a type that does not exist; nibabel raises an exception of its own."""
    raw = bytearray(gzip.decompress(file.read_bytes()))
    raw[70:72] = code
    file.write_bytes(gzip.compress(bytes(raw)))


def handed_in(tasks) -> int:
    """All painted; how many answers count."""
    with contextlib.suppress(SystemExit):  # where a file was refused
        tasks.hand_in(more="--accept_unchanged")
    return len(tasks.events())


def painted(tasks) -> list[expert.Seen]:
    seen = tasks.seen
    for task in seen:
        expert.in_place(task)
    return seen


def test_a_field_name_that_is_not_utf8_is_no_reason_to_refuse(tasks):
    """Of the report: 0 of 6 answers were kept, and the command ended with a traceback."""
    seen = painted(tasks)
    file = seen[1].label.with_name(f"{seen[1].id}.mha")
    sitk.WriteImage(sitk.ReadImage(str(seen[1].label)), str(file))
    seen[1].label.unlink()
    file.write_bytes(file.read_bytes().replace(b"ElementDataFile", "Größe = 3\nElementDataFile".encode("latin-1")))
    assert handed_in(tasks) == len(seen)


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), MemoryError(), RecursionError(), OSError(5, "Input/output error")])
def test_whatever_a_reader_raises_the_other_answers_are_taken(tasks, monkeypatch, capsys, error):
    seen, known = painted(tasks), receiving.read_label_file

    def odd(file, *arguments, **options):
        if file == seen[0].label:
            raise error
        return known(file, *arguments, **options)

    monkeypatch.setattr(receiving, "read_label_file", odd)
    assert handed_in(tasks) == len(seen) - 1
    said = capsys.readouterr()
    assert seen[0].label.name in said.out + said.err
    assert "Traceback" not in said.err


def test_verdicts_that_cannot_be_read_refuse_themselves(tasks, capsys):
    seen = painted(tasks)
    (tasks.out / "verdicts.csv").write_bytes(b"\xff\xfe\x00\xd8" * 9 + b"\n")
    assert handed_in(tasks) == len(seen)
    said = capsys.readouterr()
    assert "verdicts.csv" in said.out + said.err


def test_planning_lists_images_that_cannot_be_read(rollout, monkeypatch, capsys):
    """Of the report: nnactive_plan -i ended with a traceback of nibabel's."""
    first, second = sorted(rollout.images.glob("*_T1.nii.gz"))[:2]
    with_data_type(first)
    known = checks.opened

    def odd(file, *arguments):
        if file == second:
            raise ZeroDivisionError("odd")
        return known(file, *arguments)

    monkeypatch.setattr(checks, "opened", odd)
    before = contents(rollout.images.parent)
    with pytest.raises(SystemExit) as ended:
        rollout.plan()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "Traceback (" not in said
    assert all(word in said for word in (first.name, second.name, "nnactive_errors_"))
    assert contents(rollout.images.parent) == before


def test_screening_reads_the_other_images(rollout):
    odd, *_ = sorted(rollout.images.glob("*_T1.nii.gz"))
    with_data_type(odd)
    found = find_each(rollout.images, ["T1", "T2"], progress=False)
    name = odd.name.removesuffix("_T1.nii.gz")
    assert name in found.refused
    assert len(found.cases) == len(list(rollout.images.glob("*_T2.nii.gz"))) - 1


@pytest.mark.parametrize("content", [b"", b"null", b"[" * 100_000, b'{"markups": [{"controlPoints": 3}]}', b"\xff\xfe"])
def test_points_that_cannot_be_read_name_their_file(tasks, tmp_path, capsys, content):
    file = tmp_path / "tiny_1.mrk.json"
    file.write_bytes(content)
    before = tasks.ledger.folder.joinpath("ledger.jsonl").read_bytes()
    with pytest.raises(SystemExit) as ended:
        annotate.main(["points", "-d", "601", str(file), "-who", "anna"])
    assert ended.value.code == 1
    assert file.name in capsys.readouterr().err
    assert tasks.ledger.folder.joinpath("ledger.jsonl").read_bytes() == before
