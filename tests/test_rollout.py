"""A roll-out from a folder of images to the next query: every way of answering ends in the same partial labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scripted_expert as expert
from rollouts import assert_simulated

from nnactive_ext.cli import query, status


def test_two_cycles_with_every_way_to_answer(rollout, tmp_path, capsys):
    experiment = rollout.plan()
    points = tmp_path / "points.csv"
    points.write_text(
        "case,class,i,j,k\ntiny_1,organ,7,13,12\ntiny_2,lesion,6,13,14\ntiny_3,organ,7,12,12\ntiny_4,lesion,7,13,12\n"
    )
    rollout.annotate(f"points {points}")
    seen = rollout.export(tmp_path / "out")
    assert len(seen) == 6
    rng = np.random.default_rng(0)
    images = {task.id: rollout.images / f"{task.id.split('_', 2)[2]}_T1.nii.gz" for task in seen}
    expert.in_place(seen[0])
    expert.seg_nrrd(seen[1], rng)
    expert.full_size(seen[2], images[seen[2].id])
    expert.outside(seen[3])
    expert.half(seen[4])
    wrong = expert.wrong_spacing(seen[5])

    capsys.readouterr()
    with pytest.raises(SystemExit):
        rollout.annotate(f"import {tmp_path / 'out'} -who anna")
    message = capsys.readouterr().err
    assert str(wrong) in message
    assert "spacing" in message
    assert "grid" in message
    assert seen[3].id in message
    assert "--accept_outside" in message  # most of what is painted lies outside
    wrong.unlink()
    rollout.annotate(f"import {seen[3].label} -who anna --accept_outside")

    found = _status(capsys)["tasks"][0]
    assert (found["done"], found["partial"], found["open"]) == (4, 1, 1)
    with pytest.raises(SystemExit):  # too few are done to train on
        query.main(["-d", experiment.name, "-device", "cpu"])
    rollout.annotate("close -share 0.6 --disable_progress_bar")
    assert_simulated(rollout, tmp_path, left_out=[task.id for task in seen[4:]])

    # The rest comes late, after the cycle was closed.
    expert.in_place(seen[4])
    expert.in_place(seen[5])
    rollout.annotate(f"import {tmp_path / 'out'} -who anna --disable_progress_bar")
    assert_simulated(rollout, tmp_path)

    rollout.run()
    assert rollout.experiment.last_loop == 1
    for task in rollout.export(tmp_path / "out1"):
        expert.seg_nrrd(task, rng)
    rollout.annotate(f"import {tmp_path / 'out1'} -who bert")
    rollout.run()
    assert rollout.experiment.state["cycle"] == 1
    assert rollout.experiment.last_loop == 2
    assert_simulated(rollout, tmp_path)


def _status(capsys) -> dict:
    capsys.readouterr()
    status.main("-d 601 --json".split())
    return json.loads(capsys.readouterr().out)
