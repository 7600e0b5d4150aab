"""Folders that come back, or that somebody sent: links in them are not followed, pipes are not opened, names stay inside."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scripted_expert import in_place
from sent import command, edit

from nnactive_ext.cli import annotate
from nnactive_ext.cluster.meeting import Meeting
from nnactive_ext.compare.table import Table
from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.matching import candidates
from nnactive_ext.exchange.viewers.napari import read_task
from nnactive_ext.images.label_images import read_image
from nnactive_ext.intake.folder import contents
from nnactive_ext.words import text_of_cell

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


@pytest.fixture
def private(tasks, tmp_path) -> Path:
    """A folder of the user's that nobody is to read or write, with what would be a good answer."""
    folder = tmp_path / "private"
    folder.mkdir()
    task = next(seen for seen in tasks.seen if seen.truth[seen.box].any())
    shutil.copy(in_place(task), folder / task.label.name)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["file", "folder", "pipe"])
def test_what_is_no_file_in_a_returned_folder_is_no_answer(tasks, private, tmp_path, kind, capsys):
    (answer,) = private.iterdir()
    back = tmp_path / "back"
    back.mkdir()
    place = back / (answer.name if kind != "folder" else "more")
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(answer if kind == "file" else private)
    assert command(annotate.main, ["import", "-d", "601", str(back), "-who", "anna"]) != 0
    assert not tasks.events()
    assert not (tasks.experiment.annotation / "received").exists() or not any(
        file.name.endswith(answer.name) for file in (tasks.experiment.annotation / "received").iterdir()
    )


def test_a_file_that_the_user_names_may_be_a_link(tasks, private, tmp_path):
    (answer,) = private.iterdir()
    link = tmp_path / answer.name
    link.symlink_to(answer)
    tasks.hand_in(link)
    assert len(tasks.events()) == 1


def test_a_file_with_a_long_name_is_kept(tasks, private, tmp_path):
    (answer,) = private.iterdir()
    task = answer.name.removesuffix(".nii.gz")
    tasks.hand_in(answer.rename(tmp_path / f"{task}_{'a' * (247 - len(task))}.nii.gz"))
    assert len(tasks.events()) == 1


def test_a_pipe_that_the_user_names_is_not_opened(tasks, private, tmp_path):
    (answer,) = private.iterdir()
    pipe = tmp_path / answer.name
    os.mkfifo(pipe)
    assert command(annotate.main, ["import", "-d", "601", str(pipe), "-who", "anna"]) == 1


def test_nothing_is_exported_through_a_link(tasks, private):
    task = tasks.seen[0]
    shutil.rmtree(task.folder)
    task.folder.symlink_to(private)
    before = files_in(private)
    assert command(annotate.main, ["export", "-d", "601", "-o", str(tasks.out), "--blank", "--disable_progress_bar"]) == 1
    assert files_in(private) == before


def test_files_that_are_links_are_replaced_and_what_they_lead_to_stays(tasks, private):
    (secret,) = private.iterdir()
    before = files_in(private)
    for file in (tasks.seen[0].folder / "task.json", tasks.out / "index.html", tasks.out / "README.txt"):
        file.unlink()
        file.symlink_to(secret)
    (tasks.out / ".nnactive_tmp_x").symlink_to(private)
    tasks.export(tasks.out)
    assert files_in(private) == before
    assert not (tasks.out / ".nnactive_tmp_x").is_symlink()


def test_a_ledger_leads_to_its_own_answers_only(tasks, private):
    (secret,) = private.iterdir()
    for place in (
        f"answers/../../../../{secret}",
        str(secret),
        "received/x.nii.gz",
        "../x_00000000.nii.gz",
        "answers/a/b.nii.gz",
    ):
        with pytest.raises(NnActiveError, match=r"ledger\.jsonl"):
            tasks.ledger.read_answer(place)


@pytest.mark.parametrize(
    ("ending", "named"),
    [
        (".mha", "ElementDataFile = {}"),
        (".nrrd", "data file: {}"),
        (".nhdr", "datafile: {}"),
        (".mhd", "ElementDataFile = LIST\n{}"),
    ],
)
def test_a_label_map_names_no_file_elsewhere(tmp_path, ending, named):
    label = tmp_path / "sent" / f"label{ending}"
    label.parent.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(27))
    image = sitk.GetImageFromArray(np.zeros((3, 3, 3), np.uint8))
    plain = {".mhd": ".mha", ".nhdr": ".nrrd"}.get(ending, ending)
    sitk.WriteImage(image, str(tmp_path / f"x{plain}"), False)
    own = b"ElementDataFile = LOCAL" if plain == ".mha" else b"encoding: raw"
    head = (tmp_path / f"x{plain}").read_bytes().partition(own)[0]
    for place in ("../secret.raw", str(tmp_path / "secret.raw"), "a/../../secret.raw", "pipe.raw"):
        body = named.format(place).encode() + b"\n"
        label.write_bytes(head + (own + b"\n" if plain == ".nrrd" else b"") + body)
        if not (label.parent / "pipe.raw").exists():
            os.mkfifo(label.parent / "pipe.raw")
        with pytest.raises(NnActiveError, match=r"not in a file beside it"):
            read_image(label)


def test_a_viewer_opens_images_of_the_task_only(tasks, private):
    (secret,) = private.iterdir()
    task = tasks.seen[0]
    assert len(read_task(str(task.folder))) == 4
    for place in (f"../../private/{secret.name}", str(secret), 3):
        edit(task.folder / "task.json", lambda c, place=place: c["images"][0].update(file=place))
        with pytest.raises(NnActiveError, match=r"task\.json"):
            read_task(str(task.folder))
    edit(task.folder / "task.json", lambda c: c["images"][0].update(file="linked.nii.gz"))
    (task.folder / "linked.nii.gz").symlink_to(secret)
    with pytest.raises(NnActiveError, match="is a link"):
        read_task(str(task.folder))


def test_pipes_among_images_are_named_and_not_opened(tmp_path):
    for name in ("a.mhd", "a.raw", "b.nii.gz", "c"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(b""))
    found = contents(tmp_path)
    assert [item.name for item in found.items] == ["d"]
    assert {path.name for path in found.others} == {"a.mhd", "a.raw", "b.nii.gz", "c"}
    assert not candidates(tmp_path).files or candidates(tmp_path).files == (tmp_path / "d.nii.gz",)


def test_a_file_of_a_run_removes_its_token_only(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("somebody's work")
    texts = dict.fromkeys(("address", "certificate", "key", "host"), "")
    sent = Meeting(**texts, folders={}, versions={}, token="t", token_file=str(victim))
    sent.write(tmp_path / "run.json")
    Meeting.make("", "", "", {}, tmp_path / "token").write(tmp_path / "run.json")
    assert victim.read_text() == "somebody's work"
    assert not Meeting.read(tmp_path / "run.json").end(tmp_path / "run.json")
    assert not (tmp_path / "token").exists()


FORMULA = "=cmd|' /C calc'!A0"


def test_tables_hold_no_formula():
    """Names and reasons are other people's; numbers stay numbers."""
    rows = [[FORMULA, "-0.5", "+1,5 %", "@x", "-1+cmd|x", "\t=1", "a=1", -2, None]]
    table = Table("t", "", ["+method", "b", "c", "d", "e", "f", "g", "h", "i"], rows)
    found = list(csv.reader(io.StringIO(table.csv())))
    assert found == [
        ["'+method", *"bcdefghi"],
        [f"'{FORMULA}", "-0.5", "+1,5 %", "'@x", "'-1+cmd|x", "'\t=1", "a=1", "-2", ""],
    ]
    assert [text_of_cell(text) for text in found[1]] == ["" if value is None else str(value) for value in rows[0]]


def test_a_reason_that_was_written_as_text_is_read_as_it_was_given(tasks, tmp_path):
    """As the pages write it; tests/test_verdicts_browser.py opens them."""
    file = tmp_path / "verdicts.csv"
    file.write_text(f"task_or_case,verdict,why\n{tasks.seen[0].id},irrelevant,'{FORMULA}\n")
    tasks.hand_in(file)
    (event,) = tasks.events("verdict")
    assert event["why"] == FORMULA
