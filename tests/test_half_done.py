"""Commands that were killed half-way are finished, once, by the next one; files are durable before lines name them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import scripted_expert as expert
from damaged_states import listing

from nnactive_ext.cli import annotate, change, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import locks
from nnactive_ext.experiment.journal import JOURNAL
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.files import read_json, replacing, write_json
from nnactive_ext.labelling import finishing
from nnactive_ext.labelling.ledger import LEDGER
from nnactive_ext.labelling.opening import open_experiment


class _Killed(BaseException):
    pass


def killed(*_: object, **__: object) -> None:
    raise _Killed


def answered_thrice(tasks) -> expert.Seen:
    """Anna's answers to one task: the truth, then another, then a third."""
    task = next(one for one in tasks.seen if one.truth[one.box].any())
    for value in (None, 1, 2):
        labels = task.answer()
        if value is not None:
            labels[task.box] = value
        tasks.hand_in(task.write(labels))
    return task


@pytest.mark.parametrize("another", [False, True])
@pytest.mark.parametrize("moment", ["remove", "said"])
def test_a_withdrawal_that_was_killed_takes_back_one_answer(tasks, monkeypatch, capsys, moment, another):
    """In its midst, or at its end before it has said anything; whichever command comes next: ``another``, or the same."""
    task = answered_thrice(tasks)
    words = ["withdraw", "-d", "601", task.id, "-who", "anna", "--disable_progress_bar"]
    with monkeypatch.context() as patch:
        patch.setattr(f"nnactive_ext.experiment.journal.{moment}", killed)
        with pytest.raises(_Killed):
            annotate.main(words)
    assert (tasks.experiment.raw / JOURNAL).is_file() == (moment == "remove")
    if another:
        status.main(["-d", "601"])
        assert ("finished now" in capsys.readouterr().err) == (moment == "remove")
    annotate.main(words)
    assert "not carried out again" in capsys.readouterr().out
    assert (tasks.counted(task) == 1).all(), "her second answer counts"
    assert len(tasks.events("withdraw")) == 1
    annotate.main(words)  # typed once more, it takes the next one back
    assert len(tasks.events("withdraw")) == 2


def test_a_command_that_finishes_what_another_left_is_carried_out(tasks, monkeypatch, capsys):
    tasks.hand_in(more="--accept_unchanged")
    tasks.annotate("close --disable_progress_bar")
    capsys.readouterr()
    case = tasks.seen[0].id.split("_", 2)[2]
    with monkeypatch.context() as patch:  # the verdict is in the ledger, the case is still in the pool
        patch.setattr("nnactive_ext.labelling.dropping.drop", killed)
        with pytest.raises(_Killed):
            tasks.annotate(f"verdict {case} irrelevant -who boss --disable_progress_bar")
    task = tasks.seen[1]
    file = task.write(task.answer() * 0)
    with monkeypatch.context() as patch:
        patch.setattr("nnactive_ext.experiment.journal.remove", killed)
        with pytest.raises(_Killed):
            tasks.hand_in(file, who="bert")
    tasks.hand_in(file, who="bert")
    assert [event["who"] for event in tasks.events("answer")].count("bert") == 1


def test_points_that_were_killed_are_all_there_with_the_next_command(tasks, tmp_path, monkeypatch):
    points = tmp_path / "more.csv"
    points.write_text("case,class,i,j,k\ntiny_0,organ,2,3,4\ntiny_1,organ,2,3,4\n")
    before = len(read_json(tasks.experiment.raw / "loop_000.json")["patches"])
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "carry_out", killed)
        with pytest.raises(_Killed):
            tasks.annotate(f"points {points} -who anna --disable_progress_bar")
    assert len(read_json(tasks.experiment.raw / "loop_000.json")["patches"]) == before
    status.main(["-d", "601"])
    assert len(read_json(tasks.experiment.raw / "loop_000.json")["patches"]) > before
    events = len(tasks.events("points"))
    tasks.annotate(f"points {points} -who anna --disable_progress_bar")
    assert len(tasks.events("points")) == events, "handed in again, it is one line"


def test_a_rule_that_applies_already_is_one_line(tasks):
    for _ in range(2):
        tasks.annotate("rule consensus -who anna --disable_progress_bar")
    assert len(tasks.events("rule")) == 1


def test_without_the_list_of_exports_nothing_is_taken_for_an_answer(tasks, capsys):
    listed = tasks.experiment.annotation / "exported.json"
    listed.unlink()
    with pytest.raises(SystemExit):
        tasks.hand_in()
    assert "exported.json" in capsys.readouterr().err
    assert not tasks.events()
    write_json(listed, {})  # an older copy
    with pytest.raises(SystemExit):
        tasks.hand_in()
    assert not tasks.events(), "label maps that nobody saved carry the mark of the export"


def test_splits_that_name_other_cases_are_made_anew(trained, capsys):
    file = trained.preprocessed.folder / "splits_final.json"
    right = read_json(file)
    for wrong in (None, [{"train": ["nobody"], "val": []}]):
        write_json(file, wrong) if wrong else file.unlink()
        with trained.lock():
            open_experiment(trained.name, locked=True)
        assert read_json(file) == right
        assert "made anew" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [[], {}, [{"train": ["../x"], "val": []}]])
def test_damaged_splits_are_refused_with_the_way_on(trained, wrong):
    file = trained.preprocessed.folder / "splits_final.json"
    write_json(file, wrong)
    with trained.lock(), pytest.raises(NnActiveError, match="Delete it"):
        open_experiment(trained.name, locked=True)


@pytest.mark.parametrize("damaged", ["cycle_000/*/fold_2/nnactive_member.json", "../*/fold_1/nnactive_member.json", "loop"])
def test_a_change_that_cannot_be_carried_out_is_refused_before_it_begins(finished, capsys, damaged):
    folder = finished.results
    file = loop_file(finished.raw, 1) if damaged == "loop" else next(folder.glob(damaged))
    write_json(file, {"finished": "x"})
    before = listing(finished.raw.parents[1])
    with pytest.raises(SystemExit):
        change.main(["-d", "101", "-drop", "tiny_1", "-who", "a", "--disable_progress_bar"])
    assert file.name in capsys.readouterr().err
    assert listing(finished.raw.parents[1]) == before


def test_files_are_on_the_disk_before_a_line_names_them(tasks, monkeypatch):
    synced: list[str] = []

    def noted(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("looks in /proc")
    monkeypatch.setattr(os, "fsync", noted)
    task = next(one for one in tasks.seen if one.truth[one.box].any())
    tasks.hand_in(expert.in_place(task))
    annotation = tasks.experiment.annotation
    line = synced.index(str(annotation / LEDGER))
    for folder in ("answers", "received"):
        of = [path for path in synced[:line] if path.startswith(str(annotation / folder))]
        assert [path == str(annotation / folder) for path in of[-2:]] == [False, True], "the file, then its folder"


def test_a_replaced_file_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    done: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("sync"))
    monkeypatch.setattr(os, "replace", lambda source, target: (done.append("replace"), replace(source, target)))
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    assert done == ["sync", "replace", "sync"]


def test_who_waits_is_told_every_minute(monkeypatch, tmp_path, capsys):
    now = [0.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(locks, "_try", lambda file: "process 7")
    with pytest.raises(locks.LockHeld):
        locks.acquire(tmp_path / "lock", patience=200)
    assert capsys.readouterr().err.count("Waiting: process 7") == 4


def test_litter_of_a_process_that_has_ended_is_removed(planned, monkeypatch):
    folder = planned.results / "cycle_000" / "candidates"
    folder.mkdir(parents=True)
    with replacing(folder / "live.json") as live:
        dead = live.with_name(live.name.replace(f".{os.getpid()}.", ".999999999."))
        shutil.copy(live, dead)
        planned.clear_left_over()
        assert live.exists()
        assert not dead.exists()
