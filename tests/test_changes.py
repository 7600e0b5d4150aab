"""Going on: more cycles than planned, another seed or expert, cases added and dropped, all of it recorded."""

from __future__ import annotations

import shutil

import pytest
import scripted_expert as expert
from rollouts import from_dataset

from conftest import TINY, write_tiny
from nnactive_ext.cli import change
from nnactive_ext.files import read_json


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
    _change(f"-drop {case}")
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
