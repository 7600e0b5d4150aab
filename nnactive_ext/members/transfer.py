"""Copies between an accelerator and this machine's memory that do not hold up the accelerator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHARE_OF_WEIGHTS = 0.1
"""Of an accelerator's free memory, the most that weights of members may take beside the network that predicts."""


def host_memory(shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """An array in this machine's memory, pinned where it is to come from CUDA; torch keeps pinned memory for the next one."""
    import torch

    return torch.empty(tuple(shape), dtype=like.dtype, pin_memory=like.device.type == "cuda")


def to_host(tensors: Sequence[torch.Tensor], into: Sequence[torch.Tensor]) -> Callable[[], None]:
    """Begin to copy tensors of one device ``into`` this machine's memory.

    From CUDA the copies run behind the work that is queued and beside what is queued later; from other devices they are made
    at once.

    Returns:
        What waits until the copies are whole, in any thread.
    """
    import torch

    device = tensors[0].device
    if device.type != "cuda":
        _copy(tensors, into)
        return lambda: None
    beside = torch.cuda.Stream(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        _copy(tensors, into)
        for tensor in tensors:
            tensor.record_stream(beside)  # its memory is not given to others before it is copied
        done = torch.cuda.Event()
        done.record(beside)
    return done.synchronize


def _copy(tensors: Sequence[torch.Tensor], into: Sequence[torch.Tensor]) -> None:
    for tensor, target in zip(tensors, into, strict=True):
        if target.is_contiguous():
            target.copy_(tensor, non_blocking=True)
            continue
        # A part of an image lies apart in each channel; only what lies together is copied without waiting.
        for channel, values in zip(target, tensor, strict=True):
            channel.copy_(values, non_blocking=True)


def nearby(states: Sequence[Mapping[str, torch.Tensor]], device: torch.device) -> list[Mapping[str, torch.Tensor]]:
    """The weights of networks where a network on ``device`` takes them from without delay.

    On CUDA they stay on the device if all of them take at most :data:`SHARE_OF_WEIGHTS` of its free memory; otherwise in pinned
    memory, from where 120 MB take about 5 ms. Elsewhere they are left where they are.
    """
    import torch

    if device.type != "cuda":
        return list(states)
    size = sum(tensor.nbytes for state in states for tensor in state.values())
    if size <= SHARE_OF_WEIGHTS * torch.cuda.mem_get_info(device)[0]:
        return [{name: tensor.to(device) for name, tensor in state.items()} for state in states]
    return [{name: tensor.cpu().pin_memory() for name, tensor in state.items()} for state in states]
