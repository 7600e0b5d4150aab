"""`nnactive_change`, or a verdict, killed at any rename, removal or fsync: the next command finds all of it or none of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rollout_states
import scripted_expert as expert
from killed_changes import Killer, left, members, trained_on
from rollout_states import SMALL_OPTIONS, State, some_of

from nnactive_ext.cli import change, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import JOURNAL, RAW, Journal, NewFile
from nnactive_ext.files import read_json
from nnactive_ext.labelling.finishing import commit
from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork, to start a command without importing nnU-Net anew")
POINTS = "case,class,i,j,k\ntiny_1,organ,7,13,12\ntiny_2,lesion,6,13,14\ntiny_3,organ,7,12,12\n"
QUIET = ["--disable_progress_bar"]
RUN = ["run", "-d", "601", "-device", "cpu", *QUIET]
AFTER = {
    "status": [["status", "-d", "601"], RUN],
    "run": [RUN],
    "query": [["query", "-d", "601", "-device", "cpu", *QUIET], RUN],
    "change": [["change", "-d", "601", "-who", "boss", "-seed", "5", *QUIET], RUN],
    "verdict": [["annotate", "verdict", "-d", "601", "-who", "boss", "tiny_3", "relevant", *QUIET], RUN],
    "withdraw": [["annotate", "withdraw", "-d", "601", "-who", "boss", "tiny_3", *QUIET], RUN],
}
"""What is typed after the kill; all of it ends with a run."""
CHANGE = ["change", "-d", "601", "-who", "boss"]
CHANGES = {
    "settings": [*CHANGE, "-cycles", "4", "-expert", "carla"],
    "drop": [*CHANGE, "-drop", "tiny_3"],
    "add": [*CHANGE, "-add", "{more}", "-label_maps", "{maps}"],
    "labels": [*CHANGE, "-labels", "split", "organ", "into", "cortex", "medulla"],
    "verdict": ["annotate", "verdict", "-d", "601", "-who", "boss", "tiny_3", "irrelevant"],
}


@pytest.fixture(scope="module")
def killer(planned_template) -> Killer:
    return Killer(planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json")


@pytest.fixture(scope="module")
def closed(tmp_path_factory, tiny_template, killer) -> State:
    """A roll-out of four patients whose first tasks are answered and closed; nothing is trained."""
    small = some_of(tiny_template, tmp_path_factory.mktemp("small"), (0, 5, 6, 7))
    with pytest.MonkeyPatch.context() as patch:
        made = rollout_states.exported(small, tmp_path_factory.mktemp("exported"), patch, SMALL_OPTIONS, POINTS)
        files = [str(expert.in_place(task)) for task in made.seen]
        killer.call(made.folders, ["annotate", "import", "-d", "601", *files, "--accept_unchanged", "-who", "anna", *QUIET])
        killer.call(made.folders, ["annotate", "close", "-d", "601", *QUIET])
    return made


@pytest.fixture(scope="module")
def more(tmp_path_factory, tiny_template) -> dict[str, Path]:
    """Two more patients, one of them with a label map."""
    folder = tmp_path_factory.mktemp("more")
    images, maps = folder / "images", folder / "maps"
    images.mkdir()
    maps.mkdir()
    for number in (6, 7):
        for channel, name in enumerate(("T1", "T2")):
            shutil.copy(
                tiny_template / "imagesTr" / f"tiny_{number}_{channel:04d}.nii.gz", images / f"new_{number}_{name}.nii.gz"
            )
    shutil.copy(tiny_template / "labelsTr" / "tiny_7.nii.gz", maps / "new_7.nii.gz")
    return {"more": images, "maps": maps}


def _words(what: str, more: dict[str, Path]) -> list[str]:
    return [*(word.format(**more) for word in CHANGES[what]), *QUIET]


def _moments(moments: int, most: int) -> list[int]:
    return sorted({round(at) for at in np.linspace(1, moments, min(moments, most))})


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "after"),
    [(what, after) for what in CHANGES for after in AFTER if what == "verdict" or after not in ("verdict", "withdraw")],
)
def test_another_command_after_a_kill_finds_all_of_the_change_or_none(closed, more, killer, tmp_path, monkeypatch, what, after):
    words = _words(what, more)
    outcomes = []
    for name in ("none", "all"):
        copy = closed.copy(tmp_path / name, monkeypatch)
        moments = killer.call(copy.folders, words) if name == "all" else 0
        for following in AFTER[after]:
            killer.call(copy.folders, following, may_fail=True)  # nothing is trained yet: a query says so
        outcomes.append((left(copy.folders), trained_on(copy.folders)))
    assert outcomes[0] != outcomes[1]
    found = []
    for at in _moments(moments, 6):
        copy = closed.copy(tmp_path / str(at), monkeypatch)
        assert killer.call(copy.folders, words, at) == 0, "it was to be killed"
        for following in AFTER[after]:
            killer.call(copy.folders, following, may_fail=True)
        assert trained_on(copy.folders) <= set(Experiment.find(601).plan.pool)
        found.append((left(copy.folders), trained_on(copy.folders)))
        assert found[-1] in outcomes, f"killed at {at} of {moments}"
        shutil.rmtree(tmp_path / str(at))
    assert {outcomes.index(outcome) for outcome in found} == {0, 1}, "the moments are all on one side"


@pytest.mark.long
@pytest.mark.parametrize("what", CHANGES)
def test_the_same_command_after_a_kill_makes_the_change(closed, more, killer, tmp_path, monkeypatch, what):
    words = _words(what, more)
    copy = closed.copy(tmp_path / "undisturbed", monkeypatch)
    moments = killer.call(copy.folders, words)
    expected = left(copy.folders)
    for at in _moments(moments, 6):
        copy = closed.copy(tmp_path / str(at), monkeypatch)
        assert killer.call(copy.folders, words, at) == 0, "it was to be killed"
        killer.call(copy.folders, words)
        assert left(copy.folders) == expected, f"killed at {at} of {moments}"
        shutil.rmtree(tmp_path / str(at))


@pytest.mark.long
def test_members_are_put_away_when_classes_change(closed, more, killer, tmp_path, monkeypatch):
    """Killed anywhere and finished by another command: all members of before lie together, and others are trained."""
    trained = closed.copy(tmp_path / "trained", monkeypatch)
    killer.call(trained.folders, RUN)
    words, outcomes = _words("labels", more), []
    for name in ("none", "all"):
        copy = trained.copy(tmp_path / name, monkeypatch)
        moments = killer.call(copy.folders, words) if name == "all" else 0
        killer.call(copy.folders, RUN)
        outcomes.append((left(copy.folders), members(copy.folders)))
    assert len(outcomes[0][1]) == 2
    assert len(outcomes[1][1]) == 4
    for at in _moments(moments, 6):
        copy = trained.copy(tmp_path / str(at), monkeypatch)
        assert killer.call(copy.folders, words, at) == 0, "it was to be killed"
        killer.call(copy.folders, RUN)
        assert (left(copy.folders), members(copy.folders)) in outcomes, f"killed at {at} of {moments}"
        shutil.rmtree(tmp_path / str(at))


@pytest.mark.long
def test_several_changes_of_one_command_are_all_made(closed, more, killer, tmp_path, monkeypatch):
    """Killed anywhere in four of them, and typed again."""
    words = [*_words("settings", more), "-drop", "tiny_3", *CHANGES["labels"][len(CHANGE) :], *_words("add", more)[5:]]
    copy = closed.copy(tmp_path / "undisturbed", monkeypatch)
    moments = killer.call(copy.folders, words)
    expected = left(copy.folders)
    for at in _moments(moments, 6):
        copy = closed.copy(tmp_path / str(at), monkeypatch)
        killer.call(copy.folders, words, at)
        killer.call(copy.folders, words)
        assert left(copy.folders) == expected, f"killed at {at} of {moments}"


class _Killed(BaseException):
    pass


@pytest.fixture
def begun(planned, monkeypatch) -> tuple[Experiment, str]:
    """An experiment in which dropping a case was killed right after the journal, and the case."""
    case = next(iter(planned.state["annotated"]))

    def killed(*arguments, **options):
        raise _Killed

    with monkeypatch.context() as patched:
        patched.setattr("nnactive_ext.labelling.finishing.carry_out", killed)
        with pytest.raises(_Killed):
            change.main(["-d", "101", "-who", "boss", "-drop", case])
    return planned, case


def test_a_change_that_was_begun_is_finished_by_the_next_command(begun, capsys):
    experiment, case = begun
    assert case in experiment.plan.pool
    assert case in str(read_json(experiment.preprocessed.folder / "splits_final.json"))
    capsys.readouterr()
    status.main(["-d", "101", "--json"])
    printed = capsys.readouterr()
    assert case in printed.err
    after = Experiment(experiment.name)
    assert case not in after.plan.pool
    assert case not in str(read_json(after.preprocessed.folder / "splits_final.json"))
    assert not (after.raw / JOURNAL).exists()
    change.main(["-d", "101", "-who", "boss", "-drop", case])
    assert len(Experiment(experiment.name).plan.changes) == 1


def test_nobody_works_on_a_change_that_was_begun(begun):
    experiment, _ = begun
    with pytest.raises(NnActiveError, match="nnactive_status -d 101"), experiment.lock():
        pass
    trainer = nnActiveTrainer(experiment.preprocessed.plans, "3d_fullres", 0, experiment.dataset.json)
    with pytest.raises(NnActiveError, match="nnactive_status -d 101"):
        trainer.on_train_start()


def test_a_change_goes_on_where_the_disk_was_full(planned, monkeypatch):
    """The files that were written before are written again, to the same end."""
    case, dropped = list(planned.state["annotated"])[:2], []

    def full(file, content):
        if file.name == "splits_final.json" and not dropped:
            dropped.append(file)
            raise OSError(28, os.strerror(28))
        return write(file, content)

    from nnactive_ext.labelling import finishing

    write = finishing.write_json
    monkeypatch.setattr(finishing, "write_json", full)
    with pytest.raises(SystemExit):
        change.main(["-d", "101", "-who", "boss", "-drop", *case])
    change.main(["-d", "101", "-who", "boss", "-drop", *case])
    after = Experiment(planned.name)
    assert after.plan.dropped == tuple(case)
    assert len(after.plan.changes) == 1
    assert not set(case) & set(after.state["annotated"])


@pytest.mark.parametrize("name", ["../elsewhere.json", "/tmp/elsewhere.json", "loop_000.txt", "a/../../b.json"])
def test_a_journal_that_would_write_elsewhere_is_refused(planned, name):
    Journal("a change", files=(NewFile(RAW, name, {}),)).write(planned.raw)
    with pytest.raises(NnActiveError, match="damaged"):
        Journal.read(planned.raw)
    with pytest.raises(SystemExit):
        status.main(["-d", "101"])


def test_events_are_added_once(planned):
    made = Journal("a change", events=({"what": "given", "who": "boss", "cases": ["a"]}, {"what": "x", "who": "boss"}))
    commit(planned, made)
    commit(planned, made)
    from nnactive_ext.labelling.ledger import Ledger

    assert [event["what"] for event in Ledger(planned.annotation).events()] == ["given", "x"]
