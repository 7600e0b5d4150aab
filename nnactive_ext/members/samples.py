"""Draws members from a stochastic network: samples of the logits of a whole image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.stochastic_head import RANK, head_of

if TYPE_CHECKING:
    import torch

_BYTES = 2
"""Of a value of nnU-Net's predictions."""


@contextmanager
def with_factors(predictor: Any) -> Iterator[None]:
    """Let nnU-Net's predictor return the mean and the factors of a stochastic network, in which it sees only channels."""
    head, labels = head_of(predictor.network), predictor.label_manager
    assert head is not None
    head.factors, predictor.label_manager = True, SimpleNamespace(num_segmentation_heads=head.channels)
    try:
        yield
    finally:
        head.factors, predictor.label_manager = False, labels


def sample(maps: torch.Tensor, z: np.ndarray) -> torch.Tensor:
    """One sample of the logits (class, z, y, x), float32.

    Args:
        maps: ((1 + RANK) x class, z, y, x): the mean and each factor, see :class:`nnactive_ext.nnunet.stochastic_head.Head`.
        z: standard normal, of each factor, the same for all voxels; the diagonal is left out, so voxels vary together.
    """
    import torch

    mean, *factors = maps.unflatten(0, (1 + RANK, -1))
    drawn = mean.to(torch.float32, copy=True)
    for factor, along in zip(factors, z.tolist(), strict=True):
        drawn.add_(factor, alpha=along)
    return drawn


def check_memory(predictor: Any, shape: tuple[int, ...]) -> None:
    """Maps that do not fit into the free memory are an NnActiveError.

    Args:
        predictor: nnU-Net's; on a GPU without room it keeps its maps in the memory of the machine.
        shape: (z, y, x) of the image on the network's grid.
    """
    head = head_of(predictor.network)
    assert head is not None
    needed, free = head.channels * int(np.prod(shape)) * _BYTES, _free(predictor.device)
    if free is not None and needed > free:
        raise NnActiveError(
            f"the maps of a stochastic network ({head.classes} classes x (1 mean + {RANK} factors)) need "
            f"{needed / 2**30:.1f} GiB for {' x '.join(map(str, shape))} voxels, and {free / 2**30:.1f} GiB are free. Free "
            "memory, or ask the networks for their mean only: -members folds."
        )


def _free(device: torch.device) -> int | None:
    """Free bytes where predictions go; None where the system does not say."""
    free = free_here()
    if device.type != "cuda":
        return free
    import torch

    return max(free or 0, torch.cuda.mem_get_info(device)[0])


def free_here() -> int | None:
    """Free bytes in this machine's memory; None where the system does not say."""
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
