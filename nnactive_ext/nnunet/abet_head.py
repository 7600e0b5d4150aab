"""The last layer of AbeT: cosines of features and class weights, divided by a temperature that is learned for each voxel."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn import functional

from nnactive_ext.errors import NnActiveError

EPSILON = 1e-4
"""Added to both lengths, as in the published code for segmentation."""
COLDEST = 0.01
"""The lowest temperature. nnU-Net's sliding windows add logits of up to 1 / COLDEST, times up to 10, over up to 8 tiles in half
precision, whose largest number is 65,504: 8,000 fits, and the 1e-12 of the published code does not."""
_CONVOLVE = {4: functional.conv2d, 5: functional.conv3d}
_NORM = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
"""By the number of axes of a batch."""


class TemperatureHead(nn.Module):
    """Stands in for a 1 x 1 convolution to logits: (batch, F, ...) -> (batch, C, ...), between -1 / COLDEST and 1 / COLDEST.

    The logit of class c is ``cos(w_c, phi) / T`` with ``T = max(sigmoid(norm(a . phi)), COLDEST)``; there is no bias. Minus the
    log of the sum of their exponentials, the ``energy`` of such a network, is the score of AbeT. All is computed in float32,
    outside autocast.

    Source: Ablated Learned Temperature Energy (arXiv 2401.12129) and its code for semantic segmentation.

    Args:
        layer: the convolution that it replaces, whose weights it begins with.
    """

    def __init__(self, layer: nn.Conv2d | nn.Conv3d):
        super().__init__()
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.temperature = type(layer)(layer.in_channels, 1, 1, bias=False)  # the norm would take a bias away
        self.norm = _NORM[layer.weight.ndim](1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        with _exact(features):
            phi = features.float()
            products = _CONVOLVE[phi.ndim](phi, self.directions)
            return products / (_length(phi) * self._temperatures(phi))

    @property
    def directions(self) -> torch.Tensor:
        """The class weights, divided by their lengths: (C, F, 1, ...)."""
        weight = self.weight.float()
        return weight / _length(weight)

    def temperatures(self, features: torch.Tensor) -> torch.Tensor:
        """T of each voxel: (batch, F, ...) -> (batch, 1, ...), COLDEST to 1."""
        with _exact(features):
            return self._temperatures(features.float())

    def scaled(self, features: torch.Tensor) -> torch.Tensor:
        """Features of which the logits are linear: their products with :attr:`directions`. (batch, F, ...), float32."""
        with _exact(features):
            phi = features.float()
            return phi / (_length(phi) * self._temperatures(phi))

    def _temperatures(self, phi: torch.Tensor) -> torch.Tensor:
        heat: torch.Tensor = self.norm(self.temperature(phi))
        return heat.sigmoid().clamp(min=COLDEST)


def with_temperature(network: nn.Module) -> nn.Module:
    """Replace the layer that makes the logits of full resolution; the layers for deep supervision stay.

    Raises:
        NnActiveError: the network has no ``decoder.seg_layers`` of convolutions.
    """
    layers = getattr(getattr(network, "decoder", None), "seg_layers", None)
    if not layers or not isinstance(layers[-1], (nn.Conv2d, nn.Conv3d)):
        raise NnActiveError(
            f"nnActiveTrainer_AbeT replaces the last layer of nnU-Net's networks (decoder.seg_layers), and "
            f"{type(network).__name__} has none. Choose another planner (-pl) or trainer (-tr)."
        )
    layers[-1] = TemperatureHead(layers[-1])
    return network


def _length(vectors: torch.Tensor) -> torch.Tensor:
    """Along axis 1, which is kept; above 0."""
    return torch.linalg.vector_norm(vectors, dim=1, keepdim=True) + EPSILON


def _exact(tensor: torch.Tensor) -> torch.autocast | nullcontext[None]:
    """Without the half precision that autocast would take; nnU-Net uses it on CUDA only."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if device in ("cuda", "cpu") else nullcontext()
