"""Trains several members in one training: the learning rate restarts, and the network before each restart is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnactive_ext.files import replacing
from nnactive_ext.nnunet.trainers import SNAPSHOTS, check_snapshots, snapshot_file

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
else:
    Trainer = object


class RestartingPolyLR(PolyLRScheduler):
    """nnU-Net's polynomial decay, restarted after every ``max_steps`` epochs."""

    def step(self, current_step: int | None = None) -> None:
        super().step(current_step if current_step in (None, -1) else current_step % self.max_steps)


class Snapshots(Trainer):
    """For trainers: the epochs are divided into equal parts, as many as the plans' ``"nnactive": {"snapshots": ...}`` or 5.

    nnU-Net's learning rate decays in each part, and at the end of each but the last ``checkpoint_snapshot_<K>.pth`` is
    written, with what predicting needs. Source: Huang et al., Snapshot ensembles (ICLR 2017), whose decay is a cosine.
    """

    snapshots = True

    @property
    def number_of_snapshots(self) -> int:
        """Of each training, its last network included."""
        return int((self.configuration_manager.configuration.get("nnactive") or {}).get("snapshots", SNAPSHOTS))

    @property
    def epochs_of_snapshot(self) -> int:
        """Of each part; epochs that do not divide into so many parts of at least 10 epochs are an error."""
        check_snapshots(type(self).__name__, self.num_epochs, self.number_of_snapshots)
        return self.num_epochs // self.number_of_snapshots

    def configure_optimizers(self) -> Any:
        optimizer, _ = super().configure_optimizers()
        return optimizer, RestartingPolyLR(optimizer, self.initial_lr, self.epochs_of_snapshot)

    def on_epoch_end(self) -> None:
        """Keeps the snapshot before nnU-Net writes the checkpoint from which an interrupted training continues."""
        number, rest = divmod(self.current_epoch + 1, self.epochs_of_snapshot)
        if rest == 0 and number < self.number_of_snapshots and self.local_rank == 0 and not self.disable_checkpointing:
            self._keep_snapshot(number)
        super().on_epoch_end()

    def _keep_snapshot(self, number: int) -> None:
        network = self.network.module if self.is_ddp else self.network
        content = {
            "network_weights": getattr(network, "_orig_mod", network).state_dict(),
            "init_args": self.my_init_kwargs,
            "trainer_name": type(self).__name__,
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
        }
        with replacing(snapshot_file(self.output_folder, number)) as temporary:
            torch.save(content, temporary)
