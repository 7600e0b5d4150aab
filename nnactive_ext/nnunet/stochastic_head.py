"""What a stochastic segmentation network returns: all outputs in training, the mean, or the mean and the factors, later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

RANK = 5
"""Factors of the covariance, as in the thesis (appendix B.3.2 of T in docs/methods.md)."""
_NAME = "nnactive_head"


class Head:
    """Which outputs a network returns when it predicts: the mean (class, ...), as nnU-Net expects, or also the ``factors``.

    The network has (2 + RANK) x class outputs: the mean of all classes, then each factor of all classes, then the logarithm of
    the diagonal, which is for training only.
    """

    def __init__(self, classes: int):
        self.classes, self.factors = classes, False

    @property
    def channels(self) -> int:
        """Outputs where the factors are among them."""
        return self.classes * (1 + RANK)

    def __call__(self, network: torch.nn.Module, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        if network.training:
            return output
        return output[:, : self.channels if self.factors else self.classes]


def head_of(network: torch.nn.Module) -> Head | None:
    """The head of a stochastic network, compiled or not; None for other networks."""
    return getattr(getattr(network, "_orig_mod", network), _NAME, None)


def with_head(network: torch.nn.Module, classes: int) -> torch.nn.Module:
    """Let a network of (2 + RANK) x ``classes`` outputs return what its :class:`Head` says."""
    head = Head(classes)
    setattr(network, _NAME, head)
    network.register_forward_hook(head)
    return network
