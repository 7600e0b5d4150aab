"""The partial loss: nnU-Net's compound loss over annotated voxels, with a Dice that is not smoothed."""

from __future__ import annotations

from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import nn


def without_smoothing(loss: nn.Module) -> nn.Module:
    """Set the Dice smoothing of nnU-Net's loss to 0, in place, and return the loss.

    ``loss`` is what ``nnUNetTrainer._build_loss`` makes: Dice and cross-entropy, or binary cross-entropy for regions,
    which mask the ignore label themselves, with or without deep supervision and ``torch.compile``.

    smooth = 0 is the published choice. nnU-Net clips the denominator at 1e-8, so all of it stays finite: a class
    that is not among the annotated voxels contributes a Dice of 0 with exactly no gradient (smooth = 1e-5 gives it a
    gradient of up to 1e5 as its prediction vanishes), and so does a batch or scale without an annotated voxel. A
    class that is there has a denominator of at least 1, hence gradients of at most 2 per voxel. The value of the loss
    is therefore up to 1 higher than nnU-Net's when classes are absent; only its gradient means something then.
    """
    compound = loss.loss if isinstance(loss, DeepSupervisionWrapper) else loss
    dice = getattr(compound.dc, "_orig_mod", compound.dc)  # beneath torch.compile
    if not hasattr(dice, "smooth"):
        raise TypeError(f"expected a Dice loss of nnU-Net with an attribute 'smooth', got {type(dice).__name__}")
    dice.smooth = 0.0
    return loss
