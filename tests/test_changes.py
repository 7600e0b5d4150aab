"""Going on: more cycles than planned, another seed or expert, cases added and dropped, all of it recorded."""

from __future__ import annotations

import errno
import getpass
import os
import shutil

import numpy as np
import pytest
import scripted_expert as expert
from rollouts import from_dataset, later_images

from conftest import TINY, write_tiny
from nnactive_ext.cli import change, status
from nnactive_ext.errors import PoolExhausted
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.given import given_cases, given_patches
from nnactive_ext.members.annotated import annotation


@pytest.fixture
def started(rollout, tmp_path):
    """A roll-out whose first cycle is annotated and whose first query is made."""
    rollout.plan()
    points = tmp_path / "points.csv"
    points.write_text(
        "case,class,i,j,k\ntiny_1,organ,7,13,12\ntiny_2,lesion,6,13,14\ntiny_5,organ,7,12,12\ntiny_4,lesion,7,13,12\n"
    )
    rollout.annotate(f"points {points}")
    _answer(rollout, tmp_path / "out0")
    rollout.run()
    return rollout


def _answer(rollout, folder) -> None:
    for task in rollout.export(folder):
        expert.in_place(task)
    rollout.annotate(f"import {folder} -who anna --accept_unchanged")


def _change(line: str) -> None:
    change.main(["-d", "601", "-who", "boss", *line.split(), "--disable_progress_bar"])


@pytest.mark.slow
def test_more_cycles_than_planned(started, tmp_path):
    queries = started.experiment.plan.queries
    _change("-cycles 4")
    for number in range(1, 4):
        assert started.experiment.last_loop == number
        _answer(started, tmp_path / f"out{number}")
        started.run()
    assert started.experiment.state["cycle"] == 3
    assert started.experiment.last_loop == 3, "it goes on after its last cycle"
    assert (started.experiment.plan.cycles, started.experiment.plan.queries) == (4, queries), "the schedule was stretched"


def test_seed_expert_and_share_are_recorded(started):
    _change("-seed 7 -expert carla -share 0.5")
    plan = started.experiment.plan
    assert (plan.seed, plan.expert, plan.share) == (7, "carla", 0.5)
    assert [(c["what"], c["before"], c["after"], c["after_cycle"], c["who"]) for c in plan.changes] == [
        ("seed", 12345, 7, 0, "boss"),
        ("expert", "", "carla", 0, "boss"),
        ("share", 1.0, 0.5, 0, "boss"),
    ]
    with pytest.raises(SystemExit):
        _change("-cycles 1")


def test_a_dropped_case_is_gone_from_training_and_querying(started, tmp_path):
    experiment = started.experiment
    case = next(iter(experiment.state["annotated"]))
    _change(f"-drop {case.upper()}.nii.gz")  # as people wrote it
    after = started.experiment
    assert case not in after.plan.pool
    assert case not in after.dataset.cases
    assert case not in after.state["annotated"]
    splits = read_json(after.preprocessed.folder / "splits_final.json")
    assert all(case not in split["train"] + split["val"] for split in splits)
    assert all(patch.case != case for patch in after.annotated_patches())
    _change(f"-drop {case}")  # again, as after a kill
    assert len(started.experiment.plan.changes) == 1
    _answer(started, tmp_path / "out1")
    started.run()
    assert started.experiment.state["cycle"] == 1
    with pytest.raises(SystemExit):
        _change("-drop nobody")


def test_foreground_of_a_pool_with_a_case_less_is_not_known(planned):
    """A simulation's: FG-Eff must not divide by the foreground of a case that is gone."""
    assert planned.plan.pool_foreground_voxels > 0
    change.main(["-d", str(planned.number), "-drop", next(iter(planned.state["annotated"])), "--disable_progress_bar"])
    after = Experiment(planned.name)
    assert after.plan.pool_foreground_voxels == 0
    assert annotation(after, 0).share_of_all_foreground is None


def test_added_cases_are_queried(started, tmp_path):
    more = from_dataset(write_tiny(tmp_path / "more" / TINY, cases=10), tmp_path / "second")
    for number in range(8):
        for channel in ("T1", "T2"):
            (more.images / f"tiny_{number}_{channel}.nii.gz").unlink()
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(more.anatomy / "tiny_9.nii.gz", labels)
    with pytest.raises(SystemExit):
        _change(f"-add {started.images}")  # they are in the pool already
    _change(f"-add {more.images} -label_maps {labels}")
    experiment = started.experiment
    assert {"tiny_8", "tiny_9"} <= set(experiment.plan.pool)
    assert "tiny_9" in experiment.state["annotated"]
    assert "tiny_8" not in experiment.state["annotated"]
    assert experiment.dataset.json["numTraining"] == len(experiment.dataset.cases) == 10
    shutil.copy(more.anatomy / "tiny_8.nii.gz", started.anatomy)
    _answer(started, tmp_path / "out1")
    started.run()
    assert started.experiment.state["cycle"] == 1
    candidates = experiment.results / "cycle_001" / "candidates"
    assert (candidates / "tiny_8.json").is_file()
    assert not read_json(candidates / "tiny_9.json")["candidates"], "a dense case has nothing left to ask"


@pytest.fixture
def two_more(tmp_path):
    return later_images(tmp_path)


def _dense(rollout, case):
    experiment = rollout.experiment
    labels = experiment.dataset.reader_writer.read_seg(str(experiment.raw / "labelsTr" / f"{case}.nii.gz"))[0]
    return not np.any(labels == experiment.dataset.labels.ignore)


@pytest.mark.parametrize("breaks", ["write_labels", pytest.param("preprocess", marks=pytest.mark.slow), "settled"])
@pytest.mark.parametrize("again_with_labels", [pytest.param(True, marks=pytest.mark.slow), False])
def test_nothing_of_an_add_that_failed_is_seen(started, two_more, tmp_path, monkeypatch, breaks, again_with_labels):
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(two_more.anatomy / "tiny_9.nii.gz", labels)

    def full(*args, **more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(f"nnactive_ext.planning.changes.{breaks}", full)
        with pytest.raises(SystemExit):
            _change(f"-add {two_more.images} -label_maps {labels}")
    experiment = started.experiment
    assert len(experiment.plan.pool) == len(experiment.dataset.cases) == 8
    assert not given_cases(experiment)
    assert not given_patches(experiment)
    status.main(["-d", "601"])
    _answer(started, tmp_path / "out1")
    started.run()
    assert started.experiment.state["cycle"] == 1
    _change(f"-add {two_more.images}" + (f" -label_maps {labels}" if again_with_labels else ""))
    experiment = started.experiment
    assert len(experiment.plan.pool) == len(experiment.dataset.cases) == experiment.dataset.json["numTraining"] == 10
    assert given_cases(experiment) == (["tiny_9"] if again_with_labels else [])
    assert bool(given_patches(experiment)) == again_with_labels
    assert ("tiny_9" in experiment.state["annotated"]) == _dense(started, "tiny_9") == again_with_labels


def test_other_cases_than_those_of_an_add_that_failed(started, two_more, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("nnactive_ext.planning.changes.write_labels", lambda *args: [][0])
        with pytest.raises(IndexError):
            _change(f"-add {two_more.images}")
    for channel in ("T1", "T2"):
        (two_more.images / f"tiny_8_{channel}.nii.gz").unlink()
    _change(f"-add {two_more.images}")
    experiment = started.experiment
    assert experiment.dataset.json["numTraining"] == len(experiment.dataset.cases) == 9
    assert "tiny_8" not in experiment.dataset.json["dataset"]


@pytest.mark.parametrize(
    "when",
    [
        "before the query",
        pytest.param("after the query", marks=pytest.mark.slow),
        pytest.param("after the cycle", marks=pytest.mark.slow),
    ],
)
def test_a_pool_that_ran_out_goes_on_with_added_cases(started, two_more, tmp_path, when):
    if when == "before the query":  # of cycle 1, which is made already: as if it were made once more
        file = started.experiment.raw / "loop_001.json"
        loop = file.read_bytes()
        file.unlink()
        _change(f"-add {two_more.images}")
        file.write_bytes(loop)
    file = loop_file(started.experiment.raw, 1)
    write_json(file, {**read_json(file), "missing": 2})
    if when == "after the query":
        _change(f"-add {two_more.images}")
    _answer(started, tmp_path / "out1")
    if when != "after the query":
        with pytest.raises(PoolExhausted):
            started.run()
    if when == "after the cycle":
        _change(f"-add {two_more.images}")
    if when != "before the query":
        started.run()
    assert started.experiment.state["cycle"] == 1
    assert started.experiment.last_loop == (1 if when == "before the query" else 2)


def test_label_maps_by_a_pattern(started, two_more, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(two_more.anatomy / "tiny_9.nii.gz", labels / "tiny_9_seg.nii.gz")
    _change(f"-add {two_more.images} -label_maps {labels} -label_pattern {{case}}_seg")
    assert given_cases(started.experiment) == ["tiny_9"]


def test_experts_that_cannot_be(started, capsys):
    for name in ("latest", "first", "consensus", " "):
        with pytest.raises(SystemExit):
            change.main(["-d", "601", "-who", "boss", "-expert", name])
        assert f"-expert {name!r}" in capsys.readouterr().err
        assert started.experiment.plan.expert == ""


@pytest.mark.parametrize("error", [KeyError("uid"), OSError("no user")])
def test_a_user_without_a_name(started, monkeypatch, capsys, error):
    def nobody():
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    with pytest.raises(SystemExit) as caught:
        change.main(["-d", "601", "-seed", "7"])
    assert caught.value.code == 1
    assert "-who" in capsys.readouterr().err
    change.main(["-d", "601", "-seed", "7", "-who", "boss"])


def test_an_add_that_is_typed_again_changes_nothing(started, two_more, tmp_path):
    _change(f"-add {two_more.images}")
    before = started.experiment.plan
    _change(f"-add {two_more.images}")
    assert started.experiment.plan == before
    labels = tmp_path / "labels"
    labels.mkdir()
    shutil.copy(two_more.anatomy / "tiny_9.nii.gz", labels)
    with pytest.raises(SystemExit):  # which would lose the label map
        _change(f"-add {two_more.images} -label_maps {labels}")
    elsewhere = shutil.copytree(two_more.images, tmp_path / "elsewhere")
    with pytest.raises(SystemExit):
        _change(f"-add {elsewhere}")
