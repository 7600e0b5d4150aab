"""Where an experiment stands: JSON at each stage of a roll-out and of a simulation, and a next command that exists."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from importlib import import_module

import numpy as np
import pytest
import scripted_expert as expert
from fake_members import fake_tools, fake_train
from open_tasks import IGNORE, POINTS, OpenTasks
from rollouts import OPTIONS

from nnactive_ext.cli import annotate, change, status
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.loop.cycles import run_cycles

EXPORTS = ["nnactive_export_model_to_zip", "nnactive_export_labels"]
AT_THE_END = [*EXPORTS, "nnactive_change", "nnactive_run", "nnactive_report"]
NEXT = re.compile(r"(nnactive_\w+) (-d \d.*?|\w+ -d \d.*?)(?=$|, then|\n)")


def found(capsys, number: int = 601) -> dict:
    """The JSON; that the text can be made of it and that its next command can be typed is checked on the way."""
    capsys.readouterr()
    status.main(["-d", str(number), "--json"])
    content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    status.main(["-d", str(number)])
    text = capsys.readouterr().out
    assert content["next"] in text
    assert content["experiment"] in text
    content["commands"] = commands(content["next"])
    return content


def commands(text: str) -> list[str]:
    """What ``text`` tells people to type, each parsed by its command's own parser."""
    named = []
    for name, words in NEXT.findall(text):
        words = words.replace("FILE...", "a.csv b.csv")
        parsed = import_module(f"nnactive_ext.cli.{name.removeprefix('nnactive_')}").parser().parse_args(shlex.split(words))
        assert parsed.d in ("601", "101")
        named.append(f"{name} {getattr(parsed, 'command', '')}".strip())
    assert named, text
    return named


def kinds(counts: dict) -> tuple[int, int, int]:
    return counts["done"], counts["partial"], counts["open"]


def answer_all(rollout, folder) -> None:
    for task in rollout.export(folder):
        expert.in_place(task)
    rollout.annotate(f"import {folder} -who anna --accept_unchanged --disable_progress_bar")


def test_every_stage_of_a_rollout(rollout, tmp_path, capsys):
    rollout.plan(OPTIONS.replace("-cycles 3", "-cycles 2"))
    now = found(capsys)
    assert now.items() >= {"annotator": "human", "cycle": -1, "cycles": 2, "open_cycle": 0, "pool": 8}.items()
    assert now.items() >= {"annotated_cases": 0, "annotated_voxels": {}, "folds": [], "mean_dice": [], "changes": []}.items()
    assert now["marked"] == {"organ": {"boxes": 0, "of": 2}, "lesion": {"boxes": 0, "of": 2}}
    assert {name: kinds(counts) for name, counts in now["classes"].items() if any(kinds(counts))} == {"random": (0, 0, 2)}
    assert now["commands"] == ["nnactive_annotate points", "nnactive_annotate export", "nnactive_annotate serve"]

    points = tmp_path / "points.csv"
    points.write_text(POINTS)
    rollout.annotate(f"points {points}")
    now = found(capsys)
    assert now["marked"] == {"organ": {"boxes": 2, "of": 2}, "lesion": {"boxes": 3, "of": 2}}
    assert kinds(now["tasks"][0]) == (0, 0, 7)
    assert now["commands"] == ["nnactive_annotate export", "nnactive_annotate serve"]

    rollout.annotate("export --disable_progress_bar")
    now = found(capsys)
    assert now["commands"] == ["nnactive_annotate serve", "nnactive_annotate import"]
    folder = rollout.experiment.raw / "tasks" / "cycle_000"
    assert str(folder) in now["next"]
    seen = expert.look(folder, rollout.label)
    expert.half(seen[2])
    for task in seen[3:]:
        expert.in_place(task)
    rollout.annotate(f"import {folder}")
    now = found(capsys)
    assert kinds(now["tasks"][0]) == (4, 1, 2)
    assert kinds(now["classes"]["organ"]) == (1, 1, 0)
    assert kinds(now["classes"]["lesion"]) == (3, 0, 0)
    assert kinds(now["classes"]["random"]) == (0, 0, 2)
    assert now["annotated_voxels"] == {}
    assert now["commands"] == ["nnactive_annotate serve", "nnactive_annotate import"]
    change.main("-d 601 -share 0.57 --disable_progress_bar".split())  # of 7 tasks that is 4
    assert found(capsys)["commands"] == ["nnactive_run"]
    change.main("-d 601 -share 1 --disable_progress_bar".split())
    for task in seen[:3]:
        expert.in_place(task)
    rollout.annotate(f"import {folder} --accept_unchanged")
    now = found(capsys)
    assert kinds(now["tasks"][0]) == (7, 0, 0)
    assert now["commands"] == ["nnactive_run"]
    assert (now["cycle"], now["folds"]) == (-1, [])
    answered = {name: counts["voxels"] for name, counts in now["classes"].items() if counts["voxels"]}

    rollout.annotate("close --disable_progress_bar")
    now = found(capsys)
    assert now.items() >= {"cycle": 0, "open_cycle": None, "folds": [0, 1], "trained_folds": []}.items()
    assert now["annotated_voxels"] == answered, "what was answered is what is in place"
    assert now["annotated_cases"] == len({task.id.split("_", 2)[2] for task in seen})
    assert "marked" not in now
    assert now["commands"] == ["nnactive_run"]
    fake_train(rollout.experiment, 1)
    assert found(capsys)["trained_folds"] == [1]

    rollout.run()
    now = found(capsys)
    assert now.items() >= {"cycle": 0, "open_cycle": 1, "trained_folds": [0, 1], "mean_dice": [None]}.items()
    assert [kinds(tasks) for tasks in now["tasks"]] == [(7, 0, 0), (0, 0, 4)]
    assert sum(kinds(counts)[2] for counts in now["tasks"][1]["classes"].values()) == 4
    assert now["commands"] == ["nnactive_annotate export", "nnactive_annotate serve"]

    answer_all(rollout, tmp_path / "out1")
    assert found(capsys)["commands"] == ["nnactive_run"]
    rollout.run()
    now = found(capsys)
    assert now.items() >= {"cycle": 1, "open_cycle": None, "trained_folds": [0, 1], "mean_dice": [None, None]}.items()
    assert now["annotated_voxels"] == {name: c["voxels"] for name, c in now["classes"].items() if c["voxels"]}
    assert now["commands"] == AT_THE_END


def test_the_next_step_knows_where_the_tasks_went(rollout, tmp_path, capsys):
    experiment = rollout.plan()
    first, second = tmp_path / "tasks_0", tmp_path / "more tasks"
    for folder in (first, second):
        words = ["export", "-d", "601", "-o", str(folder), "--disable_progress_bar"]
        annotate.main(words)
        now = found(capsys)
        assert str(folder / "index.html") in now["next"]
        assert shlex.split(now["next"].splitlines()[1])[-1] == str(folder)
        assert now["commands"] == ["nnactive_annotate points", "nnactive_annotate import", "nnactive_annotate serve"]
    shutil.rmtree(second)
    assert found(capsys)["commands"] == ["nnactive_annotate points", "nnactive_annotate export", "nnactive_annotate serve"]
    rollout.annotate("export --disable_progress_bar")
    assert str(experiment.raw / "tasks" / "cycle_000" / "index.html") in found(capsys)["next"]


def test_points_are_asked_for_also_when_all_tasks_are_done(rollout, tmp_path, capsys):
    rollout.plan()
    answer_all(rollout, tmp_path / "out")
    now = found(capsys)
    assert kinds(now["tasks"][0]) == (2, 0, 0)
    assert now["commands"] == ["nnactive_annotate points", "nnactive_run", "nnactive_annotate serve"]
    _, first, second = now["next"].splitlines()
    assert first == "Or train on what there is: nnactive_run -d 601 -device cpu"
    assert second.startswith("Next: mark points (2 of organ, 2 of lesion)")


def test_voxels_per_class_before_a_cycle_is_closed_count_each_voxel_once(tasks: OpenTasks, capsys):
    first, second = (task for task in tasks.seen if task.id.endswith("tiny_1"))
    rng = np.random.default_rng(0)
    expected = np.full(tasks.experiment.plan.pool["tiny_1"].shape, IGNORE)
    owner = np.zeros(expected.shape, int)
    for number, task in enumerate((first, second)):
        labels = task.answer()
        labels[task.box] = said = rng.choice(4, labels[task.box].shape)
        tasks.hand_in(task.write(labels))
        box = tasks.patch(task).slices
        owner[box][said != IGNORE] = number
        expected[box][said != IGNORE] = said[said != IGNORE]
    voxels = {name: int((expected == value).sum()) for name, value in (("background", 0), ("organ", 1), ("lesion", 2))}
    assert min(voxels.values()) > 0
    now = found(capsys)
    assert {name: now["classes"][name]["voxels"] for name in voxels} == voxels
    assert now["tasks"][0]["classes"] == now["classes"]
    # Where both boxes said something the answers overlap, or nothing of this would be tested.
    assert (owner[tasks.patch(first).slices] == 1).any()
    tasks.annotate(f"withdraw {second.id}")
    only = tasks.counted(first)
    after = found(capsys)["classes"]
    assert {name: after[name]["voxels"] for name in voxels} == {
        name: int((only == value).sum()) for name, value in (("background", 0), ("organ", 1), ("lesion", 2))
    }


def test_voxels_per_class_are_of_what_counts(tasks: OpenTasks, capsys):
    task = tasks.seen[3]
    labels = task.answer()
    tasks.hand_in(task.write(labels), who="anna")
    labels[task.box] = 1
    tasks.hand_in(task.write(labels), who="bert")
    size = labels[task.box].size
    assert found(capsys)["classes"]["organ"]["voxels"] == size
    tasks.annotate("rule consensus")
    agreed = int((task.answer()[task.box] == 1).sum())
    assert 0 < agreed < size
    now = found(capsys)["classes"]
    assert (now["organ"]["voxels"], now["lesion"]["voxels"]) == (agreed, 0)


def test_every_stage_of_a_simulation(planned: Experiment, capsys):
    now = found(capsys, 101)
    assert now.items() >= {"annotator": "simulated", "cycle": 0, "cycles": 3, "open_cycle": None, "pool": 6}.items()
    assert now["trained_folds"] == []
    assert now["folds"]
    assert now["annotated_voxels"] == _in_place(planned)
    assert not {"tasks", "classes", "marked"} & set(now)
    assert now["commands"] == ["nnactive_run"]
    with planned.lock():
        run_cycles(planned, fake_tools(classes=3), progress=False, say=lambda text: None)
    now = found(capsys, 101)
    assert now.items() >= {"cycle": 2, "open_cycle": None, "trained_folds": now["folds"]}.items()
    assert len(now["mean_dice"]) == 3
    assert all(0 <= dice <= 1 for dice in now["mean_dice"])
    assert now["annotated_voxels"] == _in_place(planned)
    assert now["commands"] == AT_THE_END


def _in_place(experiment: Experiment) -> dict[str, int]:
    """Voxels per class in the label files."""
    dataset, counts = experiment.dataset, dict.fromkeys(("background", "organ", "lesion"), 0)
    for case in experiment.plan.pool:
        labels = dataset.reader_writer.read_seg(str(dataset.cases[case].label))[0][0]
        for value, name in enumerate(counts):
            counts[name] += int((labels == value).sum())
    return {name: count for name, count in counts.items() if count}
