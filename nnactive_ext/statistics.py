"""From members' logits to the ensemble's statistics, one member at a time; no array has both a member and a class axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnactive_ext.query_methods.base import Statistics

if TYPE_CHECKING:
    import torch

# Slabs of about this many logits are turned into probabilities at once, so temporaries stay small beside the image.
_SLAB = 1 << 22


class RunningStatistics:
    """Running sums over members for one case: of the probabilities, and of the members' entropies."""

    def __init__(self, regions: bool = False):
        self.regions = regions
        self.members = 0
        self._mean: torch.Tensor | None = None
        self._entropy: torch.Tensor | None = None
        self._predicted: set[int] = set()

    def add(self, logits: torch.Tensor) -> None:
        """Add one member's ``logits`` (channel, z, y, x), of any float type."""
        import torch

        if self._mean is None or self._entropy is None:
            self._mean = torch.zeros(logits.shape, dtype=torch.float32)
            self._entropy = torch.zeros(logits.shape[1:], dtype=torch.float32)
        step = max(1, _SLAB // max(1, logits[:, 0].numel()))
        for start in range(0, logits.shape[1], step):
            part = slice(start, start + step)
            block = logits[:, part].float()
            if self.regions:
                probabilities = torch.sigmoid(block)
                entropy = -(torch.xlogy(probabilities, probabilities) + torch.xlogy(1 - probabilities, 1 - probabilities))
                present = (block > 0).flatten(1).any(1)
                self._predicted.update(torch.nonzero(present).flatten().tolist())
            else:
                probabilities = torch.softmax(block, 0)
                entropy = -torch.xlogy(probabilities, probabilities)
                self._predicted.update(torch.unique(block.argmax(0)).tolist())
            self._mean[:, part] += probabilities
            self._entropy[part] += entropy.sum(0)
        self.members += 1

    def result(self) -> Statistics:
        """The means over the members added so far; at least one is needed."""
        if self._mean is None or self._entropy is None:
            raise ValueError("no member has been added")
        mean: np.ndarray = (self._mean.div_(self.members)).numpy()
        entropy: np.ndarray = (self._entropy.div_(self.members)).numpy()
        return Statistics(mean, entropy, frozenset(self._predicted), self.regions)
