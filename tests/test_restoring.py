"""``nnactive_change -plans restore``: what was planned comes back after nnU-Net's own commands replaced it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import blosc2
import numpy as np
import pytest
from test_inputs import CHANGES, QUERY, QUIET, contents, in_json, old, refused

from nnactive_ext.cli import change, query, status
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import described, digest
from nnactive_ext.experiment.training_checks import check_training
from nnactive_ext.files import read_json, write_json
from nnactive_ext.planning import restoring

RESTORE = f"-d 101 -plans restore {QUIET}"


def arrays(experiment: Experiment) -> dict[str, np.ndarray]:
    files = experiment.preprocessed.data_folder.glob("*.b2nd")
    return {file.name: blosc2.open(urlpath=str(file), mode="r")[:] for file in files}


def state(experiment: Experiment) -> dict:
    """All that training reads, in comparable form."""
    folder = experiment.preprocessed.folder
    names = ("nnUNetPlans.json", "dataset_fingerprint.json", "splits_final.json", "nnactive_state.json")
    return {
        **{name: read_json(folder / name) for name in names},
        "labels": [described(read_json(f / "dataset.json")) for f in (folder, experiment.raw)],
        "masks": contents(experiment.raw / "labelsTr", experiment.preprocessed.gt_folder),
    }


def assert_equal_arrays(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def replaced(experiment: Experiment) -> None:
    """As nnU-Net's planning and preprocessing leave it: other plans, other fingerprint, all cases made anew."""
    folder = experiment.preprocessed.folder
    plans = read_json(folder / "nnUNetPlans.json")
    plans["configurations"]["3d_fullres"]["batch_size"] += 5
    write_json(folder / "nnUNetPlans.json", plans)
    write_json(folder / "dataset_fingerprint.json", {})
    data = experiment.preprocessed.data_folder
    for file in data.glob("*.b2nd"):
        file.unlink()
        blosc2.asarray(np.zeros((1, 4, 4, 4), np.float32), urlpath=str(file))
    for file in data.glob("*.pkl"):
        file.write_bytes(b"")


def test_all_of_it_comes_back(planned, capsys):
    wanted, images = state(planned), arrays(planned)
    replaced(planned)
    CHANGES["a class added in the experiment"][0](planned)
    in_json(planned.preprocessed.folder / "dataset.json", labels={"background": 0, "organ": 1})
    refused(query.main, QUERY, capsys)
    change.main(RESTORE.split())
    assert state(planned) == wanted
    assert_equal_arrays(arrays(planned), images)
    query.main(QUERY.split())
    assert Experiment(planned.name).last_loop == 1


def test_killed_in_between_it_is_repeated(planned, monkeypatch, capsys):
    wanted, images = state(planned), arrays(planned)
    replaced(planned)
    preprocess = restoring.preprocess

    def half(dataset, target, processes, progress):
        preprocess(dataset, target, processes, progress, list(dataset.cases)[:2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "preprocess", half)
        with pytest.raises(SystemExit):
            change.main(RESTORE.split())
    assert "-plans restore" in refused(status.main, "-d 101", capsys)
    change.main(RESTORE.split())
    assert state(planned) == wanted
    assert_equal_arrays(arrays(planned), images)


def test_only_what_was_replaced_is_made_again(planned, monkeypatch):
    CHANGES["plans"][0](planned)
    monkeypatch.setattr(restoring, "preprocess", lambda *_: pytest.fail("the cases were still those of the plans"))
    change.main(RESTORE.split())
    status.main(["-d", "101"])


def test_without_frozen_plans_there_is_nothing_to_restore(planned, capsys):
    old(planned)
    assert "no plans to restore" in refused(change.main, RESTORE, capsys)


@pytest.mark.parametrize("words", ["-cycles 9", "-references reread", "-drop tiny_1"])
def test_it_is_given_alone(planned, words, capsys):
    assert "alone" in refused(change.main, f"{RESTORE} {words}", capsys)


class TestTraining:
    """nnUNetv2_train with our trainer refuses what the commands refuse."""

    def check(self, experiment: Experiment) -> None:
        folder = experiment.preprocessed.folder
        read = read_json(folder / "nnUNetPlans.json"), read_json(folder / "dataset.json")
        check_training(experiment.name, "nnUNetPlans", experiment.preprocessed.data_folder, *read)

    def test_what_was_planned_is_trained(self, planned, monkeypatch):
        self.check(planned)
        monkeypatch.setenv("nnUNet_raw", "/nowhere")
        CHANGES["plans"][0](planned)
        check_training("Dataset100_Tiny", "nnUNetPlans", planned.preprocessed.data_folder, {}, {})

    @pytest.mark.parametrize("what", ["plans", "nnU-Net's copy of the labels", "cases preprocessed by nnU-Net"])
    def test_anything_else_is_not(self, planned, what):
        CHANGES[what][0](planned)
        with pytest.raises(NnActiveError, match="-plans restore"):
            self.check(planned)


def test_the_digest_of_plans_is_of_their_meaning():
    plans = {"dataset_name": "A", "configurations": {"a": 1, "b": [1.0, 2]}}
    same = {"configurations": {"b": [1.0, 2], "a": 1}, "dataset_name": "B", "continue_training": True}
    assert digest(plans) == digest(json.loads(json.dumps(same)))
    assert digest(plans) != digest({**plans, "configurations": {"a": 2, "b": [1.0, 2]}})


@pytest.mark.slow
def test_nnunets_own_commands_on_an_experiment(planned, capsys):
    """The real commands, typed on an experiment with a preset, then our trainer, typed as well."""
    wanted, images = state(planned), arrays(planned)
    environment = {**os.environ, "nnUNet_n_proc_DA": "1", "nnactive_iterations_per_epoch": "1"}

    def typed(command: str) -> subprocess.CompletedProcess:
        line = [str(Path(sys.executable).parent / word) if word.startswith("nnUNetv2") else word for word in command.split()]
        return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)

    done = typed("nnUNetv2_plan_and_preprocess -d 101 -c 3d_fullres -np 1 -npfp 1 --clean")
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_json(planned.preprocessed.folder / "nnUNetPlans.json") != wanted["nnUNetPlans.json"]
    error = refused(query.main, QUERY, capsys)
    assert "configurations.3d_fullres.architecture.arch_kwargs.features_per_stage" in error
    assert "-plans restore" in error
    environment["nnUNet_extTrainer"] = str(Path(__file__).resolve().parent.parent / "trainers")
    trained = typed("nnUNetv2_train 101 3d_fullres 0 -tr nnActiveTrainer_1epochs -device cpu")
    assert trained.returncode != 0
    assert "-plans restore" in trained.stderr
    change.main(RESTORE.split())
    assert state(planned) == wanted
    assert_equal_arrays(arrays(planned), images)
    # The same plans, but cases that nnU-Net has preprocessed with their labels.
    done = typed("nnUNetv2_preprocess -d 101 -c 3d_fullres -np 1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "-plans restore" in refused(query.main, QUERY, capsys)
    change.main(RESTORE.split())
    assert_equal_arrays(arrays(planned), images)
