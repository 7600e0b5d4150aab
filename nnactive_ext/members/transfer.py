"""Copies between an accelerator and this machine's memory that do not hold up the accelerator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def to_host(tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], Callable[[], None]]:
    """Begin to copy tensors of one device into this machine's memory.

    From CUDA they go into pinned memory, which torch keeps for the next ones of that size, behind the work that is queued and
    beside what is queued later. From other devices they are there at once; those in this machine's memory are not copied.

    Returns:
        The copies, and what waits until they are whole.
    """
    import torch

    if not tensors or tensors[0].device.type != "cuda":
        return [tensor.cpu() for tensor in tensors], lambda: None
    device = tensors[0].device
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    copies = []
    with torch.cuda.stream(beside):
        for tensor in tensors:
            copies.append(torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True))
            tensor.record_stream(beside)  # its memory is not given to others before it is copied
        done = torch.cuda.Event()
        done.record(beside)
    return copies, done.synchronize
