"""What a trainer does differently that starts from pretrained weights: it loads them, and warms up to a low learning rate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.pretrained import HEADS, KEY, TENSORS, read_tensors

RATE = 1e-3
"""The learning rate after the warm-up: a tenth of nnU-Net's, which destroys much of what was loaded (nnssl's choice, too)."""
_LONGEST = 50


def warm_up(epochs: int) -> int:
    """The epochs in which the learning rate rises: a quarter of all, at most 50."""
    return min(_LONGEST, epochs // 4)


class WarmUp(PolyLRScheduler):
    """A linear rise to ``initial_lr`` over :func:`warm_up` epochs, then nnU-Net's polynomial decay over the others."""

    ctr: int

    def __init__(self, optimizer: torch.optim.Optimizer, initial_lr: float, max_steps: int):
        self._rise = warm_up(max_steps)
        self._rate = initial_lr
        super().__init__(optimizer, initial_lr, max_steps - self._rise)

    def step(self, current_step: int | None = None) -> None:
        """Set the learning rate of an epoch, counted from 0; nnU-Net names it each time."""
        if current_step is None or current_step == -1:
            current_step = self.ctr
            self.ctr = current_step + 1
        rising = current_step < self._rise
        self.initial_lr = self._rate * (current_step + 1) / (self._rise + 1) if rising else self._rate
        super().step(0 if rising else current_step - self._rise)


class Finetuning:
    """Mixed into a trainer of nnU-Net's, before it: every training begins with :data:`TENSORS` of its dataset.

    What these do not hold (the layers of the classes, and the decoder of an encoder's weights) is drawn anew, from a seed that
    differs between experiments, cycles and folds (the trainer's ``seed_of_member``). A training that is continued loads its
    checkpoint afterwards, as ever.
    """

    finetuning = True

    def initialize(self: Any) -> None:
        """nnU-Net's, then the weights; a dataset that was planned without them is an NnActiveError."""
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(self.seed_of_member())
            base: Any = super()
            base.initialize()
        self.load_pretrained()

    def load_pretrained(self: Any) -> None:
        settings = self.configuration_manager.configuration.get("nnactive") or {}
        if KEY not in settings:
            raise NnActiveError(
                f"{type(self).__name__}: starts from pretrained weights, and this dataset was planned without them. Plan it "
                "with -pretrained FILE, or train with nnActiveTrainer."
            )
        tensors = read_tensors(Path(self.preprocessed_dataset_folder_base), settings[KEY])
        network = getattr(self.network, "module", self.network)  # of several GPUs
        network = getattr(network, "_orig_mod", network)  # compiled
        unknown = network.load_state_dict(tensors, strict=False).unexpected_keys
        if unknown:
            raise NnActiveError(
                f"{TENSORS}: the network has no parameter {unknown[0]}. Restore nnU-Net's plans of the experiment."
            )
        self.print_to_log_file(
            f"Starts from {TENSORS} (sha256 {settings[KEY]}): {len(tensors)} parameters; first convolution "
            f"{first_convolution(network.state_dict())}"
        )

    def configure_optimizers(self: Any) -> Any:
        self.initial_lr = RATE
        base: Any = super()
        optimizer, _ = base.configure_optimizers()
        return optimizer, WarmUp(optimizer, self.initial_lr, self.num_epochs)


def first_convolution(weights: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of the values of a network's first convolution, which is the same in all members before their first step."""
    first = next(value for name, value in weights.items() if value.ndim >= 4 and HEADS not in name)
    return hashlib.sha256(first.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
