"""nnU-Net plans made small enough for a machine without a GPU."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from nnactive_ext.errors import NnActiveError

# Three stages of 8, 16 and 32 features on this patch take about 0.1 s an iteration on two cores.
_VOXELS = 32 * 48 * 32
_FEATURES = (8, 16, 32)
BLOCKS = {"PlainConvUNet": ("n_conv_per_stage", 2), "ResidualEncoderUNet": ("n_blocks_per_stage", 1)}
"""The architectures that nnU-Net's planners plan -> what one stage of the encoder is made of, and how many of it the preset
has: two convolutions either way, because a residual block has two."""


def shrink_for_cpu(plans: dict[str, Any], configuration: str, iterations: int = 50) -> dict[str, Any]:
    """A copy of ``plans`` in which ``configuration`` has three stages, few features, batch size 2, a small network
    patch, ``iterations`` per epoch and less momentum. Strides and kernels stay those nnU-Net planned for the data's
    anisotropy. An architecture that nnU-Net's planners do not plan is an :class:`NnActiveError`."""
    plans = deepcopy(plans)
    changed = plans["configurations"][configuration]
    architecture = changed["architecture"]["network_class_name"].rpartition(".")[2]
    if architecture not in BLOCKS:
        raise NnActiveError(
            f"--preset cpu cannot shrink the architecture {architecture} that the planner chose, only {' and '.join(BLOCKS)}. "
            "Choose another planner (-pl), or leave out --preset cpu."
        )
    network = changed["architecture"]["arch_kwargs"]
    stages = min(len(_FEATURES), network["n_stages"])
    network["n_stages"] = stages
    network["features_per_stage"] = list(_FEATURES[:stages])
    for key in ("kernel_sizes", "strides"):
        network[key] = network[key][:stages]
    blocks, number = BLOCKS[architecture]
    network[blocks] = [number] * stages
    network["n_conv_per_stage_decoder"] = [1] * (stages - 1)
    divisor = [1] * len(changed["patch_size"])
    for strides in network["strides"]:
        divisor = [d * s for d, s in zip(divisor, strides, strict=True)]
    changed["patch_size"] = _smaller(changed["patch_size"], divisor, _VOXELS)
    changed["batch_size"] = 2
    changed["nnactive"] = cpu_schedule(iterations)
    return plans


def cpu_schedule(iterations: int = 50) -> dict[str, Any]:
    """The ``"nnactive"`` of a configuration of nnU-Net's plans that is trained on a CPU."""
    return {
        "iterations_per_epoch": iterations,
        "val_iterations_per_epoch": max(1, iterations // 10),
        # nnU-Net's 0.99 has hardly got going after a few hundred iterations: small classes are not found in time.
        "momentum": 0.9,
    }


def _smaller(size: list[int], divisor: list[int], voxels: int) -> list[int]:
    """``size`` with its longest sides shortened, in steps of ``divisor``, until it holds at most ``voxels``."""
    size = [max(d, s - s % d) for s, d in zip(size, divisor, strict=True)]

    def product() -> int:
        result = 1
        for s in size:
            result *= s
        return result

    while product() > voxels:
        shrinkable = [axis for axis in range(len(size)) if size[axis] > 2 * divisor[axis]]
        if not shrinkable:
            break
        longest = max(shrinkable, key=lambda axis: size[axis])
        size[longest] -= divisor[longest]
    return size
