"""Predicts an image slab by slab along its first axis, so that no array on the device is as large as the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NETWORK = 4e9
"""Bytes that are left to the network beside the arrays of a whole image; nnU-Net plans networks for 8 GB of training."""


@dataclass
class Member:
    """One member: its ``name``, the ``image`` that it sees (channel, z, y, x), what lets the predictor predict as it does (and
    names it in errors), and the sums of windows that reach into the next slab."""

    name: str
    image: torch.Tensor
    predicting: Callable[[], AbstractContextManager[None]]
    sums: torch.Tensor | None = None
    counts: torch.Tensor | None = None


def whole_fits(device: torch.device, channels: int, voxels: int) -> bool:
    """Whether a member's logits and all statistics of a whole image may be on the device.

    Logits take 2 bytes a voxel and channel, the image, the windows' weights and the network's input 16 a voxel; statistics 4 a
    voxel and channel and 8 a voxel, for which twice the room must be left, as memory comes in pieces.
    """
    if device.type != "cuda":
        return True
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (2 * channels + 16 + 2 * (4 * channels + 8)) * voxels + NETWORK < free + kept


def in_slabs(predictor: Any, members: Sequence[Member]) -> Iterator[tuple[slice, Iterator[tuple[str, torch.Tensor]]]]:
    """The planes (of the first axis) of each slab, and in them each member's name and logits (class, z, y, x), on the device.

    A slab ends where the next row of windows begins. Windows are predicted once, and each voxel's are added up in nnU-Net's
    order, so the logits are those of :meth:`nnUNetPredictor.predict_sliding_window_return_logits`. Between slabs a member keeps
    the sums of the planes that the next row covers, too. The members of a slab must all be taken before the next slab.
    """
    from acvl_utils.cropping_and_padding.padding import pad_nd_image

    size = predictor.configuration_manager.patch_size
    padded: dict[int, tuple[torch.Tensor, tuple]] = {}  # members see the same image, most of the time
    for member in members:
        if id(member.image) not in padded:
            padded[id(member.image)] = pad_nd_image(member.image, size, "constant", {"value": 0}, True, None)
    for member in members:
        member.image, inside = padded[id(member.image)]
    shape = tuple(members[0].image.shape[1:])
    rows = [
        list(row) for _, row in groupby(predictor._internal_get_sliding_window_slicers(shape), key=lambda slicer: slicer[1])
    ]
    begins = [*(_planes(row[0]).start for row in rows), shape[0]]
    for row, (begin, end) in zip(rows, pairwise(begins), strict=True):
        # Only an image of a single row is padded along the first axis.
        planes = slice(max(begin, inside[1].start), min(end, inside[1].stop))
        cut = (slice(None), slice(planes.start - begin, planes.stop - begin), *inside[2:])
        offset = inside[1].start
        yield slice(planes.start - offset, planes.stop - offset), _of_slab(predictor, members, row, end - begin, cut)


def _of_slab(
    predictor: Any, members: Sequence[Member], row: Sequence[tuple], planes: int, cut: tuple
) -> Iterator[tuple[str, torch.Tensor]]:
    for member in members:
        with member.predicting():
            logits = _logits(predictor, member, row, planes)
        yield member.name, logits[cut]
        del logits


def _logits(predictor: Any, member: Member, row: Sequence[tuple], planes: int) -> torch.Tensor:
    """The logits of the first ``planes`` planes that a row of windows covers; as nnU-Net computes them."""
    import torch
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian

    device, configuration = predictor.device, predictor.configuration_manager
    covered = _planes(row[0])
    shape = (covered.stop - covered.start, *member.image.shape[2:])
    with torch.inference_mode(), torch.autocast("cuda") if device.type == "cuda" else nullcontext():
        predictor.network = predictor.network.to(device).eval()
        sums = torch.zeros((predictor.label_manager.num_segmentation_heads, *shape), dtype=torch.half, device=device)
        counts = torch.zeros(shape, dtype=torch.half, device=device)
        if member.sums is not None and member.counts is not None:
            sums[:, : member.sums.shape[1]] = member.sums
            counts[: member.counts.shape[0]] = member.counts
        gaussian = compute_gaussian(tuple(configuration.patch_size), sigma_scale=1 / 8, value_scaling_factor=10, device=device)
        for slicer in row:
            tile = torch.clone(member.image[slicer][None], memory_format=torch.contiguous_format).to(device)
            prediction = predictor._internal_maybe_mirror_and_predict(tile)[0].to(device)
            prediction *= gaussian
            here = slicer[1] - covered.start if isinstance(slicer[1], int) else slice(0, shape[0])
            sums[(slicer[0], here, *slicer[2:])] += prediction
            counts[(here, *slicer[2:])] += gaussian
        member.sums, member.counts = sums[:, planes:].clone(), counts[planes:].clone()
        logits = torch.div(sums[:, :planes], counts[:planes])
        if torch.any(torch.isinf(logits)):
            raise RuntimeError("Encountered inf in predicted array")  # as nnU-Net says
        return logits


def _planes(slicer: tuple) -> slice:
    """The planes of a window; of a 2D network one."""
    return slice(slicer[1], slicer[1] + 1) if isinstance(slicer[1], int) else slicer[1]
