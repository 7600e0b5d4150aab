"""Each kind of members with stock nnU-Net, as a person types it: plan, run, export the model, and query again with other
threads and in parts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_members import copy_of
from stock import Stock
from typed import started

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.members.ensemble import NnUNetEnsemble
from nnactive_ext.nnunet.trainers import snapshot_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")
PLAN = "-d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 2 --preset cpu -np 1 --method bald"
QUIET = "-device cpu --disable_progress_bar"
SNAPSHOTS = "-members snapshots:2 -folds 1 -tr nnActiveTrainer_Snapshots_20epochs_NoMirroring"


@pytest.fixture
def typed(tmp_path):
    def run(line: str) -> str:
        log = tmp_path / "output.txt"
        assert started(line, log).wait(timeout=600) == 0, f"{line}\n{log.read_text()[-3000:]}"
        return log.read_text()

    return run


def names_of(experiment: Experiment) -> list[str]:
    image, _ = experiment.preprocessed.load(next(iter(experiment.plan.pool)))
    ensemble = NnUNetEnsemble(experiment, experiment.folds(), "cpu")
    return [name for name, _ in ensemble.logits(image, "a case")]


def check_exported(typed, experiment: Experiment, folder: Path) -> None:
    """Stock nnU-Net, without this package, predicts as the evaluation does."""
    model, stock = folder / "model.zip", Stock(folder / "stock")
    typed(f"nnactive_export_model_to_zip -d 101 -o {model}")
    ensemble = NnUNetEnsemble(experiment, experiment.folds(), "cpu")
    for case, found in stock.predictions(model, experiment, experiment.folds()).items():
        assert len(np.unique(found)) > 1, "nothing was found, which is the same with any members"
        np.testing.assert_array_equal(found, ensemble.segment(experiment.source.cases[case]))


KINDS = [
    pytest.param("-members mirror:noise -folds 1 -tr nnActiveTrainer_1epochs", 16, marks=pytest.mark.slow),
    pytest.param(SNAPSHOTS, 2, marks=pytest.mark.long),
    pytest.param("-members dropout:3 -folds 1 -tr nnActiveTrainer_1epochs_NoMirroring", 3, marks=pytest.mark.long),
    pytest.param("-members seeds:2 -tr nnActiveTrainer_1epochs_NoMirroring", 2, marks=pytest.mark.long),
    pytest.param("-members ssn:3 -folds 1 -tr nnActiveTrainer_SSN_4epochs_NoMirroring", 3, marks=pytest.mark.long),
    pytest.param("-members mirror -folds 2 -c 2d -tr nnActiveTrainer_1epochs", 8, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("options", "members"), KINDS)
@pytest.mark.usefixtures("tiny", "stock_convolutions")
def test_a_run_goes_through_its_model_leaves_and_neither_threads_nor_parts_change_a_query(
    typed, nnunet_folders, tmp_path, monkeypatch, options, members
):
    typed(f"nnactive_plan {PLAN} {options} --disable_progress_bar")
    typed(f"nnactive_run -d 101 {QUIET}")
    experiment, kind = Experiment.find(101), options.split()[1]
    assert [read_json(experiment.results / f"cycle_00{cycle}.json")["patches"] for cycle in range(2)] == [6, 10]
    loop = read_json(experiment.raw / "loop_001.json")
    assert (loop["member_kind"], loop["members"]) == (kind, experiment.folds())
    names = names_of(experiment)
    assert len(names) == len(set(names)) == members

    check_exported(typed, experiment, tmp_path)
    shutil.rmtree(experiment.results)

    def queried(name: str, *lines: str) -> bytes:
        with monkeypatch.context() as patch:
            copy_of(nnunet_folders, tmp_path / name, patch)
            for line in lines:
                typed(line)
            return (Experiment.find(101).raw / "loop_002.json").read_bytes()

    query = f"nnactive_query -d 101 {QUIET}"
    alone = queried("one", f"env OMP_NUM_THREADS=1 {query}")
    assert json.loads(alone)["member_kind"] == kind
    assert queried("parts", *(f"{query} -num_parts 2 -part_id {part}" for part in range(2)), query) == alone


@pytest.mark.long
@pytest.mark.usefixtures("tiny")
def test_a_killed_training_of_snapshots_goes_on_where_it_was(typed, tmp_path):
    typed(f"nnactive_plan {PLAN} {SNAPSHOTS} --disable_progress_bar")
    experiment = Experiment.find(101)
    fold = experiment.model_folder / "fold_0"
    run = started(f"nnactive_run -d 101 {QUIET}", tmp_path / "killed.txt")
    first, end = snapshot_file(fold, 1), time.monotonic() + 300
    while not (first.is_file() and (fold / "checkpoint_latest.pth").is_file()):
        assert run.poll() is None and time.monotonic() < end, (tmp_path / "killed.txt").read_text()  # noqa: PT018
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (fold / "checkpoint_final.pth").is_file(), "it ended because it was done"
    typed(f"nnactive_run -d 101 {QUIET}")
    archived = experiment.results / "cycle_000" / experiment.model_folder.name / "fold_0"
    assert len([*archived.glob("training_log_*.txt")]) == 2
    weights = [
        torch.load(file, weights_only=False)["network_weights"]
        for file in (snapshot_file(archived, 1), archived / "checkpoint_final.pth")
    ]
    assert any(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
