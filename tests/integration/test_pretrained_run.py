"""Pretrained weights with real trainings, as a person types it: a roll-out whose classes change, a benchmark, a kill."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
import scripted_expert as expert
import torch
from rollouts import OPTIONS, from_dataset
from typed import started
from weights import nnunet_checkpoint

from nnactive_ext.cli import bench, change, report, run
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json
from nnactive_ext.members.ensemble import check_members
from nnactive_ext.nnunet.finetuning import first_convolution
from nnactive_ext.nnunet.pretrained import read_pretrained

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.name == "nt", reason="a training is killed by a signal")]
QUIET = "-device cpu --disable_progress_bar"
ONE_EPOCH = "nnActiveTrainer_Finetune_1epochs_NoMirroring"


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
    for name, value in {"iterations_per_epoch": "2", "val_iterations_per_epoch": "1", "skip_validation": "1"}.items():
        monkeypatch.setenv(f"nnactive_{name}", value)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return nnunet_checkpoint(tmp_path / "model")


def starts(folder: Path) -> list[str]:
    """The first convolution with which each training below ``folder`` began, as its log names it."""
    logs = [file.read_text() for file in sorted(folder.rglob("training_log_*.txt"))]
    return [found for log in logs for found in re.findall(r"first convolution ([0-9a-f]{64})", log)]


def first_of(weights: Path) -> str:
    return first_convolution(read_pretrained(weights, "3d_fullres").tensors)


def test_a_rollout_goes_through_a_cycle_and_its_classes_change(weights, tiny_template, nnunet_folders, tmp_path):
    rollout = from_dataset(tiny_template, tmp_path / "hospital")
    rollout.plan(f"{OPTIONS} -pretrained {weights} -tr {ONE_EPOCH} --method bald")
    for task in rollout.export(tmp_path / "tasks"):
        expert.in_place(task)
    rollout.annotate(f"import {tmp_path / 'tasks'} -who anna --accept_unchanged --disable_progress_bar")
    run.main(["-d", "601", *QUIET.split()])
    experiment = rollout.experiment
    assert (experiment.state["cycle"], experiment.last_loop) == (0, 1)
    assert read_json(experiment.results / "cycle_000.json")["cross_validation"]["mean_dice"] is not None
    assert starts(nnunet_folders.results) == [first_of(weights)] * 2

    change.main("-d 601 -who boss -labels add necrosis from lesion".split())
    run.main(["-d", "601", *QUIET.split()])  # the tasks of the next cycle are open: its members are trained anew
    changed = rollout.experiment
    assert check_members(changed, [0, 1])
    assert starts(nnunet_folders.results) == [first_of(weights)] * 4
    for fold in (0, 1):
        content = torch.load(changed.model_folder / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)
        assert content["network_weights"]["decoder.seg_layers.0.weight"].shape[0] == 4, "background and three classes"
    report.main(["-d", "601", "-o", str(tmp_path / "report.html"), "-patches", "2", *QUIET.split()])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "BALD, nat" in page
    assert "could not predict" not in page


def test_a_benchmark(weights, tiny, nnunet_folders, tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(f"""
name = "small"
first_number = 300
methods = ["random", "bald"]
seeds = [1]
cycles = 2
folds = 2
preset = "cpu"
trainer = "{ONE_EPOCH}"
pretrained = "{weights.relative_to(tmp_path).as_posix()}"
pretrained_seen = "no"

[[datasets]]
dataset = 100
patch_sizes = ["3 6 6"]
regimes = {{ low = {{ starting_budget = 6, query_size = 2 }} }}
""")
    bench.main([str(file), "-o", str(tmp_path / "compared"), *QUIET.split()])
    made = [Experiment(folder.name) for folder in sorted(nnunet_folders.raw.glob("Dataset3*"))]
    assert {one.plan.pretrained["sha256"] for one in made} == {made[0].plan.pretrained["sha256"]}
    begun = starts(nnunet_folders.results)
    assert len(begun) >= 2 + 2 * 2 + 2, "cycle 0, the second of each method, all labels"
    assert set(begun) == {first_of(weights)}
    page = (tmp_path / "compared" / "comparison.md").read_text(encoding="utf-8")
    assert "| bald | random |" in page


NOTED = """
import hashlib
from pathlib import Path

from nnactive_ext.trainers.nnActiveTrainer import nnActiveTrainer_Finetune_16epochs_NoMirroring


class Noted(nnActiveTrainer_Finetune_16epochs_NoMirroring):
    def on_train_start(self):
        super().on_train_start()
        weights = self.network.state_dict()
        found = hashlib.sha256(b"".join(weights[name].cpu().numpy().tobytes() for name in sorted(weights)))
        with open(Path(self.output_folder).parent / "begun.txt", "a") as file:
            file.write(f"{self.current_epoch} {found.hexdigest()}\\n")
"""
"""Says with which weights a training begins or continues."""


def test_a_killed_training_continues_with_equal_weights(weights, tiny, nnunet_folders, tmp_path, monkeypatch):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "noted.py").write_text(NOTED)
    log, environment = tmp_path / "output.txt", {"nnUNet_extTrainer": str(tmp_path / "trainers")}
    plan = "-d 100 -o 101 -patch_size 5 5 3 -query_size 4 -starting_budget 6 -cycles 1 -folds 1 --preset cpu -np 1 -tr Noted"
    line = f"nnactive_plan {plan} --method predictive_entropy -pretrained {weights} --disable_progress_bar"
    assert started(line, log, environment).wait(timeout=600) == 0, log.read_text()
    fold = Experiment.find(101).model_folder / "fold_0"
    latest, end = fold / "checkpoint_latest.pth", time.monotonic() + 600
    killed = started(f"nnactive_run -d 101 {QUIET}", log, environment)
    while not latest.is_file():
        assert killed.poll() is None and time.monotonic() < end, log.read_text()  # noqa: PT018
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (fold / "checkpoint_final.pth").is_file(), "it ended because it was done"
    while (content := torch.load(latest, weights_only=False)) and _changes(latest):  # by what the killed run had started
        assert time.monotonic() < end
    expected = content["network_weights"]
    digest = hashlib.sha256(b"".join(expected[name].cpu().numpy().tobytes() for name in sorted(expected))).hexdigest()
    assert started(f"nnactive_run -d 101 {QUIET}", log, environment).wait(timeout=600) == 0, log.read_text()
    (first, _), (epoch, continued) = [one.split() for one in (fold.parent / "begun.txt").read_text().splitlines()]
    assert (first, int(epoch)) == ("0", content["current_epoch"])
    assert continued == digest
    assert set(starts(nnunet_folders.results)) == {first_of(weights)}


def _changes(file: Path) -> bool:
    """Whether a file is written within a second."""
    before = file.stat().st_mtime_ns
    time.sleep(1)
    return file.stat().st_mtime_ns != before
