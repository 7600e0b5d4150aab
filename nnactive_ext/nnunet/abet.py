"""Trains networks with the last layer of AbeT, for experiments with energy as a score of what does not belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nnactive_ext.nnunet.abet_head import with_temperature

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
else:
    Trainer = object


class Ablated(Trainer):
    """Mixed into a trainer, before it: the network of the plans with a :class:`~nnactive_ext.nnunet.abet_head.TemperatureHead`.

    Loss, deep supervision and partial labels are those of the trainer. Stock nnU-Net predicts with such networks where this
    package is installed.
    """

    ablated_temperature = True

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> torch.nn.Module:
        """nnU-Net's, whose layer for full resolution is replaced; a network without such a layer is an NnActiveError."""
        planned = (plans_manager, configuration_manager, num_input_channels, num_output_channels)
        return with_temperature(super().build_network_architecture(*planned, enable_deep_supervision))
