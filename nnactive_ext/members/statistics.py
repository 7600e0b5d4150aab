"""From members' logits to the ensemble's statistics, one member at a time; no array has both a member and a class axis."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import EllipsisType
from typing import TYPE_CHECKING

import numpy as np

from nnactive_ext.engine.member_means import Means, add_member
from nnactive_ext.errors import NnActiveError
from nnactive_ext.members.transfer import host_memory, to_host
from nnactive_ext.query_methods.base import ENERGY, EVERYTHING, EXPECTED_ENTROPY, Statistics

if TYPE_CHECKING:
    import torch

DIVERGED = "Look for a diverged training (NaN loss) or for NaN in the image."
"""What to do about logits that are no numbers."""

ACCUMULATORS = ("single", "half")
"""Of the mean probabilities: 4 or 2 bytes for each voxel and channel."""

# A block of so many logits is worked on at once: on the CPU it stays in the cache of a core, elsewhere it keeps the
# device busy. The blocks depend on the image alone, so the result does not depend on the number of threads.
_BLOCK_CPU, _BLOCK_DEVICE = 1 << 19, 1 << 24

Block = tuple[EllipsisType, slice, slice, slice]
"""An index of the last three axes."""
Member = tuple["torch.Tensor", "torch.Tensor | None", "torch.Tensor | None", set[int]]
"""Of one member in one block: probabilities (channel, z, y, x), entropy and energy (z, y, x), newly predicted channels."""


class RunningStatistics:
    """The means over members for one case: of the probabilities, of the entropies, and of the energies.

    ``regions``: channels are regions that may overlap, so probabilities are sigmoids instead of a softmax.
    ``accumulators``: ``"half"`` keeps the mean probabilities as float16, for images too large for float32 (an image of
    512^3 voxels and 16 classes takes 4.3 instead of 8.6 GB); docs/how-it-works.md says what that costs in accuracy.
    ``needs``: what is computed beside the mean (:func:`nnactive_ext.query_methods.base.needs_of`).
    """

    def __init__(self, regions: bool = False, accumulators: str = "single", needs: Collection[str] = EVERYTHING):
        if accumulators not in ACCUMULATORS:
            raise ValueError(f"accumulators must be one of {', '.join(ACCUMULATORS)}; got {accumulators!r}")
        self.regions, self.accumulators, self.needs = regions, accumulators, frozenset(needs)
        self.members = 0
        self.predicted: set[int] = set()
        self._mean: torch.Tensor
        self._entropy: torch.Tensor
        self._energy: torch.Tensor

    def add(self, logits: torch.Tensor, member: str = "a member") -> None:
        """Add one member's ``logits`` (channel, z, y, x), of any float type, which are left as they are.

        They are worked on where they lie. A NaN or an infinity is an NnActiveError that names the ``member``, and the
        statistics are then of no use.
        """
        import torch

        with torch.inference_mode():
            if self.members == 0:
                self._allocate(logits)
            self.members += 1
            if not all(self._each_block(logits)):
                raise NnActiveError(f"the logits of {member} hold NaN or infinite values. {DIVERGED}")

    def result(self) -> Statistics:
        """The statistics of the members added; at least one is needed, and none may be added afterwards."""
        return self.hand_over()()

    def hand_over(self) -> Callable[[], Statistics]:
        """Begin to copy the statistics from the device; what is returned waits for the copies, in any thread.

        At least one member must have been added, and none may be added afterwards.
        """
        gathered = Gathered()
        gathered.add(self)
        return gathered.hand_over()

    def release(self) -> list[torch.Tensor]:
        """Mean, entropy and energy, empty where they are not needed; no longer kept here, to make room for the next case."""
        arrays = [self._mean, self._entropy, self._energy]
        del self._mean, self._entropy, self._energy
        return arrays

    def _allocate(self, logits: torch.Tensor) -> None:
        import torch

        kind = torch.float16 if self.accumulators == "half" else torch.float32
        needed = logits.numel() * kind.itemsize + len(self.needs) * logits[0].numel() * torch.float32.itemsize
        device = logits.device if _has_room(logits.device, needed) else torch.device("cpu")
        # Not zeros: the first member is copied, not added. What is not needed has no voxels.
        self._mean = torch.empty(logits.shape, dtype=kind, device=device)
        shapes = [logits.shape[1:] if need in self.needs else (0, 0, 0) for need in (EXPECTED_ENTROPY, ENERGY)]
        self._entropy, self._energy = (torch.empty(shape, dtype=torch.float32, device=device) for shape in shapes)

    def _each_block(self, logits: torch.Tensor) -> list[bool]:
        """Which blocks are finite, once all are added."""
        import torch

        if not (_on_host(logits) and _on_host(self._mean)):
            return [self._add_on_device(logits, block) for block in _blocks(logits.shape, _BLOCK_DEVICE)]
        # Threads of ours with a block each, instead of torch's, which share every single operation: they need not wait
        # for each other, and no number depends on how many they are.
        blocks = list(_blocks(logits.shape, _BLOCK_CPU))
        if len(blocks) == 1:
            return [self._add_on_host(logits, blocks[0])]
        with _one_torch_thread(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(partial(self._add_on_host, logits), blocks))

    def _add_on_host(self, logits: torch.Tensor, block: Block) -> bool:
        """Whether the block is finite; one pass by a compiled loop."""
        import torch

        with torch.inference_mode():  # which holds for the thread that says so
            channels, _, height, width = logits.shape
            part = logits[block]
            first = (block[1].start * height + block[2].start) * width
            last = first + part[0].numel()
            values, at = logits, first
            if not logits.is_contiguous() or logits.dtype not in (torch.float16, torch.float32):
                kind = logits.dtype if logits.dtype == torch.float16 else torch.float32
                values, at = torch.empty(part.shape, dtype=kind).copy_(part), 0
            half = self._mean.dtype == torch.float16
            mean = self._mean[block].float() if half else self._mean
            arrays = mean.reshape(channels, -1), self._entropy.view(-1), self._energy.view(-1)
            means = Means(*(array.numpy() for array in arrays))
            known = np.isin(np.arange(channels), list(self.predicted))
            flat = values.reshape(channels, -1).numpy()
            finite, found = add_member(flat, at, means, (first, last), self.members, self.regions, known)
            self.predicted |= set(np.flatnonzero(found).tolist())
            if half:
                self._mean[block] = mean
            return finite

    def _add_on_device(self, logits: torch.Tensor, block: Block) -> bool:
        """The same by torch's operations, which run on any device."""
        import torch

        values = torch.empty(logits[block].shape, dtype=torch.float32, device=logits.device).copy_(logits[block])
        finite = bool(torch.isfinite(values.sum()))
        member = _of_regions if self.regions else _of_classes
        probabilities, entropy, energy, predicted = member(values, self.predicted, self.needs)
        self.predicted |= predicted
        self._accumulate(self._mean[block], probabilities)
        if entropy is not None:
            self._accumulate(self._entropy[block], entropy)
        if energy is not None:
            self._accumulate(self._energy[block], energy)
        return finite

    def _accumulate(self, mean: torch.Tensor, value: torch.Tensor) -> None:
        """Move the ``mean`` of the members before towards this member's value.

        A mean, unlike a sum, stays below 1, and so in the range where half is precise.
        """
        value = value.to(mean.device)
        if self.members == 1:
            mean.copy_(value)
        elif mean.dtype == value.dtype:
            mean.lerp_(value, 1 / self.members)
        else:
            mean.copy_(mean.float().lerp_(value, 1 / self.members))


class Gathered:
    """The statistics of slabs of an image, in this machine's memory; of a whole image as one slab, too."""

    def __init__(self) -> None:
        self._arrays: list[torch.Tensor] = []
        self._waits: list[Callable[[], None]] = []
        self._predicted: set[int] = set()
        self._regions = False

    def add(self, slab: RunningStatistics, planes: slice = slice(None), depth: int | None = None) -> None:
        """Begin to copy a slab's statistics, to which no member may be added afterwards.

        Args:
            slab: at least one member must have been added.
            planes: where it lies along the first axis of the image.
            depth: planes of the image; None: those of the slab.
        """
        if slab.members == 0:
            raise ValueError("no member has been added")
        arrays = slab.release()
        if not self._arrays and depth is None and arrays[0].device.type == "cpu":
            self._arrays = arrays  # they are where they belong
        else:
            if not self._arrays:
                self._arrays = [host_memory(_deep(array.shape, depth), array) for array in arrays]
            into = [
                whole[..., planes, :, :] if array.numel() else whole for whole, array in zip(self._arrays, arrays, strict=True)
            ]
            self._waits.append(to_host(arrays, into))
        self._predicted |= slab.predicted
        self._regions = slab.regions

    def hand_over(self) -> Callable[[], Statistics]:
        """What waits for all copies, in any thread."""

        def wait() -> Statistics:
            for arrived in self._waits:
                arrived()
            mean, entropy, energy = (array.numpy() for array in self._arrays)
            return Statistics(mean, _or_none(entropy), frozenset(self._predicted), self._regions, _or_none(energy))

        return wait


def _deep(shape: Sequence[int], depth: int | None) -> list[int]:
    return [*shape[:-3], shape[-3] if depth is None or not shape[-1] else depth, *shape[-2:]]


def _or_none(array: np.ndarray) -> np.ndarray | None:
    return array if array.size else None


def _of_classes(logits: torch.Tensor, known: Container[int], needs: Container[str]) -> Member:
    """Softmax and what follows from it, for one member; the block of float32 ``logits`` is used up."""
    highest = logits.amax(0)
    logits -= highest  # now at most 0, so neither exp nor the two terms of the entropy, both >= 0, lose precision
    predicted = {c for c in _channels(logits.flatten(1).amax(1) == 0) if c not in known}
    if predicted:  # or only as high as a class before it, which is then the one predicted; this is slow and rarely needed
        predicted &= set(_channels(logits.argmax(0).flatten().bincount(minlength=len(logits)) > 0))
    exponentials = logits.exp()
    sums = exponentials.sum(0)
    inverse = sums.reciprocal()
    weighted = logits.mul_(exponentials).sum(0) if EXPECTED_ENTROPY in needs else None
    probabilities = exponentials.mul_(inverse)
    if not (EXPECTED_ENTROPY in needs or ENERGY in needs):
        return probabilities, None, None, predicted
    log_sums = sums.log_()
    entropy = None if weighted is None else log_sums - weighted.mul_(inverse)
    return probabilities, entropy, log_sums.add_(highest).neg_() if ENERGY in needs else None, predicted


def _of_regions(logits: torch.Tensor, known: Container[int], needs: Container[str]) -> Member:
    """Sigmoids and what follows from them, for one member; the block of float32 ``logits`` is used up."""
    predicted = {c for c in _channels(logits.flatten(1).amax(1) > 0) if c not in known}
    probabilities = logits.sigmoid()
    if not (EXPECTED_ENTROPY in needs or ENERGY in needs):
        return probabilities, None, None, predicted
    size = logits.abs()
    less_likely = size.neg().sigmoid_()  # of the two outcomes; at most 1/2, so neither term of the entropy loses precision
    log_sums = less_likely.neg().add_(1).log_().neg_()  # log(1 + exp(-size))
    entropy = size.mul_(less_likely).add_(log_sums).sum(0) if EXPECTED_ENTROPY in needs else None
    energy = log_sums.add_(logits.clamp_(min=0)).sum(0).neg_() if ENERGY in needs else None
    return probabilities, entropy, energy, predicted


def _channels(flags: torch.Tensor) -> list[int]:
    return [channel for channel, flag in enumerate(flags.tolist()) if flag]


def _on_host(logits: torch.Tensor) -> bool:
    return logits.device.type == "cpu"


def _blocks(shape: Sequence[int], size: int) -> Iterator[Block]:
    """Blocks of about ``size`` logits that together are the image: whole planes, or rows of one plane."""
    channels, depth, height, width = shape
    rows = max(1, size // max(1, channels * width))
    planes = max(1, rows // max(1, height))
    for z in range(0, depth, planes):
        for y in range(0, height, rows):
            yield ..., slice(z, z + planes), slice(y, y + rows), slice(None)


def _has_room(device: torch.device, needed: int) -> bool:
    """Whether so many bytes may be taken of an accelerator that has to predict the next member too."""
    if device.type != "cuda":
        return device.type == "cpu"
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    # What would be left beside the largest prediction so far; half of it, because memory comes in pieces.
    left = free + torch.cuda.memory_reserved(device) - torch.cuda.max_memory_reserved(device)
    return needed < left / 2


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Operations of this thread, and of those it starts, are not shared among torch's threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
