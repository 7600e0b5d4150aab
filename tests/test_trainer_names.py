"""nnU-Net finds our trainers by any of their names, and they take their settings from plans and environment."""

from __future__ import annotations

import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json
from nnactive_ext.nnunet.environment import trainers_folder
from nnactive_ext.trainers import nnActiveTrainer as module

NAMES = ["nnActiveTrainer_7epochs", "nnActiveTrainer_7epochs_NoMirroring"]


def test_nnunet_finds_them(monkeypatch):
    """tests/test_package.py has a fresh process find them."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find

    monkeypatch.setenv("nnUNet_extTrainer", str(trainers_folder()))
    found = [(trainer.__name__, trainer.epochs, trainer.mirroring) for trainer in map(find, NAMES)]
    assert found == [(NAMES[0], 7, True), (NAMES[1], 7, False)]
    with pytest.raises(RuntimeError):
        find("nnActiveTrainer_0epochs")


@pytest.mark.parametrize(
    ("name", "epochs", "mirroring"),
    [
        ("nnActiveTrainer", 200, True),
        ("nnActiveTrainer_NoMirroring", 200, False),
        ("nnActiveTrainer_1epochs", 1, True),
        ("nnActiveTrainer_12345epochs_NoMirroring", 12345, False),
    ],
)
def test_names(name, epochs, mirroring):
    trainer = getattr(module, name)
    assert (trainer.__name__, trainer.epochs, trainer.mirroring) == (name, epochs, mirroring)
    assert getattr(module, name) is trainer
    assert pickle.loads(pickle.dumps(trainer)) is trainer


@pytest.mark.parametrize(
    "name",
    [
        "nnUNetTrainer_7epochs",
        "nnActiveTrainer_0epochs",
        "nnActiveTrainer_-1epochs",
        "nnActiveTrainer_07epochs",
        "nnActiveTrainer_epochs",
        "nnActiveTrainer_7epochs2",
        "nnActiveTrainer_NoMirroring_7epochs",
        "__path__",
    ],
)
def test_other_names_do_not_exist(name):
    assert not hasattr(module, name)


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Make a trainer from the least of plans; ``configuration`` overrides the plans' entries."""
    for folder in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(folder, str(tmp_path / folder))
    for key in ("nnactive_iterations_per_epoch", "nnactive_val_iterations_per_epoch"):
        monkeypatch.delenv(key, raising=False)

    def trainer(name="nnActiveTrainer_7epochs", plans_extra=None, **configuration):
        strides = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
        architecture = {"arch_kwargs": {"strides": strides}, "network_class_name": "", "_kw_requires_import": []}
        configuration = {
            "data_identifier": "nnUNetPlans_3d",
            "architecture": architecture,
            "patch_size": [16, 16, 16],
            "batch_size": 2,
            "batch_dice": False,
            **configuration,
        }
        plans = {
            "dataset_name": "Dataset999_Fake",
            "plans_name": "nnUNetPlans",
            "configurations": {"3d_fullres": configuration},
            **(plans_extra or {}),
        }
        dataset = {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 3}}
        return getattr(module, name)(plans, "3d_fullres", 0, dataset, torch.device("cpu"))

    return trainer


def test_settings(make):
    trainer = make()
    assert (trainer.num_epochs, trainer.save_every) == (7, 1)
    assert (trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (250, 50)
    assert list(trainer.my_init_kwargs) == ["plans", "configuration", "fold", "dataset_json", "device"]
    assert trainer.output_folder.endswith(os.path.join("nnActiveTrainer_7epochs__nnUNetPlans__3d_fullres", "fold_0"))
    assert "continue_training" not in trainer.plans_manager.plans
    assert make("nnActiveTrainer_500epochs", {"continue_training": True}).save_every == 50
    assert make().enable_deep_supervision
    assert trainer._build_loss().loss.dc.smooth == 0


def test_iterations_come_from_the_plans_and_then_the_environment(make, monkeypatch):
    plans = {"nnactive": {"iterations_per_epoch": 25, "val_iterations_per_epoch": 5}}
    trainer = make(**plans)
    assert (trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (25, 5)
    monkeypatch.setenv("nnactive_iterations_per_epoch", "3")
    trainer = make(**plans)
    assert (trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch) == (3, 5)
    with pytest.raises(NnActiveError, match="val_iterations_per_epoch"):
        make(nnactive={"val_iterations_per_epoch": 0})
    for bad in ("0", "-1", "2.5", "", "many"):
        monkeypatch.setenv("nnactive_iterations_per_epoch", bad)
        with pytest.raises(NnActiveError, match="nnactive_iterations_per_epoch"):
            make()


def test_cascade_is_refused_before_anything_is_written(make, tmp_path):
    with pytest.raises(NnActiveError, match="cascade"):
        make(previous_stage="3d_lowres")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["nnActiveTrainer_7epochs", "nnActiveTrainer_7epochs_NoMirroring"])
def test_mirroring(make, name):
    trainer = make(name)
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert axes == trainer.inference_allowed_mirroring_axes == (None if "No" in name else (0, 1, 2))


def test_epochs_without_foreground_leave_the_moving_average(make):
    trainer = make()
    nothing = {"loss": np.array(0.0), "tp_hard": np.zeros(2), "fp_hard": np.zeros(2), "fn_hard": np.zeros(2)}
    half = {**nothing, "tp_hard": np.array([1.0, 0.0]), "fp_hard": np.array([2.0, 0.0])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for epoch, outputs in enumerate([nothing, half, nothing, half]):
            trainer.current_epoch = epoch
            trainer.on_validation_epoch_end([outputs, outputs])
    np.testing.assert_allclose(trainer.logger.get_value("ema_fg_dice", None), [0, 0.05, 0.05, 0.095])
    np.testing.assert_allclose(trainer.logger.get_value("mean_fg_dice", None), [np.nan, 0.5, np.nan, 0.5])


@pytest.mark.parametrize(("seconds", "epochs"), [(1, [49, 99]), (250, [2, 5, 8, 11]), (3600, [0, 1, 2, 3])])
def test_long_epochs_leave_a_checkpoint_every_ten_minutes(make, monkeypatch, seconds, epochs):
    """250 s an epoch: after 750 s; a checkpoint that nnU-Net saves by itself counts as well."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer, now, saved = make("nnActiveTrainer_500epochs"), [0.0], []
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    trainer._saved = trainer._plotted = 0.0

    def save(self, filename):
        saved.append((Path(filename).suffix, self.current_epoch))
        Path(filename).write_bytes(b"a checkpoint")

    monkeypatch.setattr(nnUNetTrainer, "save_checkpoint", save)
    trainer._best_ema = 1.0  # no epoch is the best one
    for epoch in range(max(epochs) + 1):
        for key in ("train_losses", "val_losses", "ema_fg_dice", "epoch_start_timestamps"):
            trainer.logger.log(key, 0.5, epoch)
        trainer.logger.log("dice_per_class_or_region", [0.5, 0.5], epoch)
        now[0] += seconds
        trainer.logger.plot_progress_png = lambda folder: None
        trainer.on_epoch_end()
    assert saved == [(".pth", epoch) for epoch in epochs]
    assert [file.name for file in Path(trainer.output_folder).glob("*.pth")] == ["checkpoint_latest.pth"]
    assert trainer.save_every == 50


def test_a_checkpoint_is_whole_or_the_one_before(make, monkeypatch):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = make("nnActiveTrainer_500epochs")
    folder = Path(trainer.output_folder)
    file = folder / "checkpoint_latest.pth"
    file.write_bytes(b"the one before")

    def fails(self, filename):
        Path(filename).write_bytes(b"the hal")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nnUNetTrainer, "save_checkpoint", fails)
    with pytest.raises(OSError, match="space"):
        trainer.save_checkpoint(str(file))
    assert [(one.name, one.read_bytes()) for one in folder.iterdir() if one.suffix != ".txt"] == [
        (file.name, b"the one before")
    ]


def test_validation_can_be_skipped(make, monkeypatch):
    trainer = make()
    monkeypatch.setenv("nnactive_skip_validation", "1")
    trainer.perform_actual_validation()
    with open(trainer.log_file) as log:
        assert "skipped" in log.read()
    monkeypatch.setenv("nnactive_skip_validation", "0")
    with pytest.raises(AttributeError):  # nnU-Net's own, which needs a network
        trainer.perform_actual_validation()


def test_members_are_marked(make, monkeypatch, tmp_path):
    trainer = make()
    base = tmp_path / "nnUNet_preprocessed" / "Dataset999_Fake"
    base.mkdir(parents=True)
    write_json(base / "nnactive_state.json", {"experiment": "e", "cycle": 2, "annotated": {}})
    monkeypatch.setattr(module.nnUNetTrainer, "on_train_start", lambda self: None)
    monkeypatch.setattr(module.nnUNetTrainer, "on_train_end", lambda self: None)
    mark = os.path.join(trainer.output_folder, "nnactive_member.json")
    trainer.on_train_start()
    assert {"experiment": "e", "cycle": 2, "finished": False}.items() <= read_json(mark).items()
    trainer.on_train_end()
    assert read_json(mark)["finished"] is True
    write_json(base / "nnactive_state.json", {"experiment": "e", "cycle": 3, "annotated": {}})
    trainer.current_epoch = 4
    with pytest.raises(NnActiveError, match="cycle"):
        trainer.on_train_start()


def test_two_stage_networks_train_without_deep_supervision(make):
    """With it, nnU-Net's only weight is 0 / 0."""
    strides = {"arch_kwargs": {"strides": [[1, 1, 1], [2, 2, 2]]}, "network_class_name": "", "_kw_requires_import": []}
    assert not make(architecture=strides).enable_deep_supervision


def test_momentum_of_the_plans_keeps_what_a_step_comes_to_in_the_long_run(make):
    def optimizer_of(trainer):
        trainer.network = torch.nn.Linear(2, 2)
        return trainer.configure_optimizers()[0].param_groups[0]

    stock, ours = optimizer_of(make()), optimizer_of(make(nnactive={"momentum": 0.9}))
    assert (stock["momentum"], ours["momentum"]) == (0.99, 0.9)
    assert ours["lr"] / (1 - ours["momentum"]) == pytest.approx(stock["lr"] / (1 - stock["momentum"]))
    with pytest.raises(NnActiveError, match="momentum"):
        optimizer_of(make(nnactive={"momentum": 1}))
