"""The trainer of snapshots: its learning rate, what it keeps and when, and a training that was interrupted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet import snapshots
from nnactive_ext.nnunet.snapshots import RestartingPolyLR, Snapshots
from nnactive_ext.nnunet.trainers import snapshot_files
from nnactive_ext.trainers import nnActiveTrainer as module


def rates(scheduler, epochs):
    found = []
    for epoch in epochs:
        scheduler.step(epoch)
        found.append(scheduler.get_last_lr()[0])
    return found


def test_nnunets_decay_starts_again_at_each_part_also_where_a_training_continues():
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

    def optimizer():
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)

    once = rates(PolyLRScheduler(optimizer(), 0.01, 10), range(10))
    assert rates(RestartingPolyLR(optimizer(), 0.01, 10), range(30)) == pytest.approx(once * 3)
    assert rates(RestartingPolyLR(optimizer(), 0.01, 10), range(14, 20)) == pytest.approx(once[4:])
    assert once[0] == 0.01
    assert once[-1] < 0.002


class Base:
    """What nnU-Net's trainer is to the mixin: epochs are counted, and a checkpoint is written at the end of each."""

    def __init__(self, folder, epochs=20, number=2):
        self.output_folder, self.num_epochs, self.current_epoch, self.local_rank = str(folder), epochs, 0, 0
        self.disable_checkpointing = self.is_ddp = False
        self.configuration_manager = SimpleNamespace(configuration={"nnactive": {"snapshots": number}})
        self.network = torch.nn.Linear(1, 1)
        self.my_init_kwargs, self.inference_allowed_mirroring_axes = {"fold": 0, "device": torch.device("cpu")}, (0, 1, 2)
        self.seen = []

    def on_epoch_end(self):
        self.seen.append(len(snapshot_files(self.output_folder)))
        self.current_epoch += 1


class Trainer(Snapshots, Base):
    pass


def test_a_snapshot_at_the_end_of_each_part_but_the_last(tmp_path):
    trainer = Trainer(tmp_path, 30, 3)
    for epoch in range(30):
        with torch.no_grad():
            trainer.network.weight.fill_(epoch)
        trainer.on_epoch_end()
    # Before nnU-Net's checkpoint of the same epoch, so that a training killed between them makes it again.
    assert trainer.seen == [0] * 9 + [1] * 10 + [2] * 11
    kept = [torch.load(file, weights_only=True) for file in snapshot_files(tmp_path)]
    assert [float(one["network_weights"]["weight"]) for one in kept] == [9, 19]
    assert set(kept[0]) == {"network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes"}


@pytest.mark.parametrize(("epochs", "number"), [(19, 2), (25, 2), (10, 2)])
def test_parts_are_equal_and_of_at_least_10_epochs(tmp_path, epochs, number):
    with pytest.raises(NnActiveError, match="equal parts of at least 10 epochs"):
        _ = Trainer(tmp_path, epochs, number).epochs_of_snapshot


def test_names():
    found = module.nnActiveTrainer_Snapshots_40epochs_NoMirroring
    assert (found.epochs, found.mirroring, found.snapshots) == (40, False, True)
    assert found.__mro__[1:3] == (snapshots.Snapshots, module.nnActiveTrainer)
    assert module.nnActiveTrainer_Snapshots.epochs == 200
    for name in ("nnActiveTrainer_40epochs_Snapshots", "nnActiveTrainer_Continue"):
        assert not hasattr(module, name)
