"""Convolutions of single windows by oneDNN on the CPU, where torch takes it for batches or large layers only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def always_by_onednn(network: torch.nn.Module) -> None:
    """Let the float32 3D convolutions of a network that predicts on the CPU go through oneDNN, whatever their size.

    torch's own loop, which it takes for a batch of one and few features (``use_mkldnn`` in its Convolution.cpp), is slower.
    Results differ in the last bits. Gradients are not meant; where torch has no oneDNN nothing changes.
    """
    import torch

    if not torch.backends.mkldnn.is_available():
        return
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d) and module.padding_mode == "zeros":
            module._conv_forward = partial(_convolved, module)  # type: ignore[method-assign]


def _convolved(
    convolution: torch.nn.Conv3d, image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    import torch

    c = convolution
    if image.dtype != torch.float32 or isinstance(c.padding, str):
        return torch.nn.functional.conv3d(image, weight, bias, c.stride, c.padding, c.dilation, c.groups)
    return torch.mkldnn_convolution(image, weight, bias, c.padding, c.stride, c.dilation, c.groups)
