"""Trains a stochastic segmentation network: it predicts a distribution of all logits of an image, not their values."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.stochastic_head import RANK, with_head

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer
else:
    Trainer = object

SAMPLES = 20
"""Of the logits in a training step, half of them drawn and half mirrored at the mean (published code of the thesis)."""
MEAN_EPOCHS = 5
"""At most: the first epochs, in which only the mean is trained; a quarter of a short training."""


def log_mean_exp(values: torch.Tensor) -> torch.Tensor:
    """``ln(mean(exp(values)))`` along the first axis.

    >>> round(-log_mean_exp(torch.tensor([-3.0, -20.0, -2.7])).item(), 5)
    3.24426
    """
    return torch.logsumexp(values, 0) - math.log(len(values))


def log_likelihood(
    mean: torch.Tensor, factors: torch.Tensor, log_diagonal: torch.Tensor, labels: torch.Tensor, samples: int = SAMPLES
) -> torch.Tensor:
    """Of the ``labels`` of all voxels together, estimated with ``samples`` of the logits.

    Source: Monteiro et al., Stochastic Segmentation Networks (NeurIPS 2020), Eq. 6. Samples come in pairs, mirrored at the
    mean. A pair is computed again for its gradients, so that the memory does not grow with their number.

    Args:
        mean: (class, voxel), float32.
        factors: (factor, class, voxel); logits vary together along each.
        log_diagonal: (class, voxel); logarithm of the variance of each logit by itself.
        labels: (voxel), int64.
        samples: an even number.

    Returns:
        A scalar; the logarithm of the mean over samples of the product over voxels of the label's probability.
    """

    def pair(z: torch.Tensor) -> torch.Tensor:
        along = (z[:, None, None] * factors).sum(0) + torch.exp(log_diagonal / 2) * torch.randn_like(mean)
        return torch.stack([-functional.cross_entropy((mean + side * along).T, labels, reduction="sum") for side in (1, -1)])

    drawn = torch.randn((samples // 2, len(factors)), device=mean.device)
    each = [checkpoint(pair, z, use_reentrant=False) for z in drawn]
    return log_mean_exp(torch.cat(each))


class StochasticLoss(torch.nn.Module):
    """Minus the log-likelihood of the annotated voxels of each image, added up and divided by their number.

    The division changes no minimum; nnU-Net's learning rate and gradient clipping are for losses per voxel. Voxels that are not
    annotated take part in nothing, so factors are as good as 0 there. Without an annotated voxel the loss is 0.
    """

    def __init__(self, classes: int, ignore: int | None):
        super().__init__()
        self.classes, self.ignore = classes, ignore
        self.mean_only = False
        """The factors and the diagonal are not trained yet."""

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """``output``: (batch, (2 + RANK) x class, ...), or the mean alone; ``target``: labels (batch, 1, ...)."""
        exact = torch.autocast("cuda", enabled=False) if output.device.type == "cuda" else nullcontext()
        with exact:
            total = output.new_zeros((), dtype=torch.float32)
            known = target[:, 0] != self.ignore if self.ignore is not None else torch.ones_like(target[:, 0], dtype=torch.bool)
            for one, labels, annotated in zip(output, target[:, 0].long(), known, strict=True):
                total = total + self._of_image(one[:, annotated].float(), labels[annotated])
            return -total / max(int(known.sum()), 1)

    def _of_image(self, values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``values``: (output, annotated voxel)."""
        mean, others = values[: self.classes], values[self.classes :]
        if self.mean_only or len(others) == 0 or len(labels) == 0:
            return -functional.cross_entropy(mean.T, labels, reduction="sum") if len(labels) else values.sum()
        factors, log_diagonal = others[: -self.classes].unflatten(0, (RANK, self.classes)), others[-self.classes :]
        return log_likelihood(mean, factors, log_diagonal, labels)


class Stochastic(Trainer):
    """Mixed into a trainer, before it: a stochastic network and its loss, without Dice and without deep supervision.

    nnU-Net's prediction and validation see the mean only; :mod:`nnactive_ext.members.samples` draws samples.
    """

    stochastic = True
    loss: StochasticLoss

    def initialize(self) -> None:
        """nnU-Net's; regions, which are not exclusive classes, are an NnActiveError."""
        if self.label_manager.has_regions:
            raise NnActiveError(
                f"{type(self).__name__}: the classes of {self.plans_manager.dataset_name} are regions, and stochastic networks "
                "are for classes that exclude each other. Train with another trainer."
            )
        self.enable_deep_supervision = False
        super().initialize()

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = False,
    ) -> torch.nn.Module:
        """The network of the plans, with more outputs; ``num_output_channels``: the classes."""
        planned = (plans_manager, configuration_manager, num_input_channels)
        network = super().build_network_architecture(*planned, num_output_channels * (2 + RANK), False)
        return with_head(network, num_output_channels)

    def _build_loss(self) -> StochasticLoss:
        return StochasticLoss(self.label_manager.num_segmentation_heads, self.label_manager.ignore_label)

    def on_train_epoch_start(self) -> None:
        """Decides what this epoch trains."""
        self.loss.mean_only = self.current_epoch < min(MEAN_EPOCHS, self.num_epochs // 4)
        super().on_train_epoch_start()
