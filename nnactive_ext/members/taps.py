"""Reads activations inside a network while it predicts: of the encoder stage that fits a patch, and before the last layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Triple, triple

if TYPE_CHECKING:
    import torch

_INSTEAD = "Give descriptors of your own (features=file:FOLDER, docs/representations.md)."


def plain(network: Any) -> Any:
    """The network itself: hooks on one that torch.compile or several GPUs wrap are not called."""
    network = getattr(network, "_orig_mod", network)
    return getattr(network, "module", network)


def stages(network: Any) -> list[tuple[Any, Triple]]:
    """Each encoder stage with its cumulative stride along (z, y, x); that along z of a 2D network is 1.

    Raises:
        NnActiveError: the network has no ``encoder.stages`` with strides.
    """
    encoder = getattr(network, "encoder", None)
    found, strides = getattr(encoder, "stages", None), getattr(encoder, "strides", None)
    if found is None or strides is None or len(found) != len(strides):
        raise NnActiveError(f"{type(network).__name__} has no encoder.stages to take features of. {_INSTEAD}")
    cumulative, each = np.ones(3, int), []
    for stage, stride in zip(found, strides, strict=True):
        axes = [stride] * 3 if isinstance(stride, int) else stride
        cumulative = cumulative * [1, *axes][-3:]
        each.append((stage, triple(cumulative)))
    return each


def fitting(strides: Sequence[Triple], patch: Sequence[int]) -> int:
    """The stage for patches of this size in network voxels: the deepest whose stride is at most half of it along every axis;
    none such: the deepest whose stride is at most it; none such: the first.

    >>> fitting([(1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8), (16, 16, 16), (32, 32, 32)], (64, 64, 64))
    5
    >>> fitting([(1, 1, 1), (1, 2, 2), (2, 4, 4), (4, 8, 8)], (4, 40, 40))
    2
    """
    for share in (2, 1):
        good = [i for i, stride in enumerate(strides) if all(share * s <= n for s, n in zip(stride, patch, strict=True))]
        if good:
            return good[-1]
    return 0


def last_layer(network: Any) -> Any:
    """The layer that makes the logits of full resolution.

    Raises:
        NnActiveError: the network has no ``decoder.seg_layers``.
    """
    layers = getattr(getattr(network, "decoder", None), "seg_layers", None)
    if not layers:
        raise NnActiveError(
            f"{type(network).__name__} has no decoder.seg_layers, whose input or gradient is needed. {_INSTEAD}"
        )
    return layers[-1]


@dataclass
class Taps:
    """What the modules gave in the last pass: (channels, z, y, x) each, in the order of the modules; and the logits."""

    found: dict[int, torch.Tensor] = field(default_factory=dict)

    def activations(self) -> list[torch.Tensor]:
        return [self.found[i] for i in sorted(self.found)]


@contextmanager
def tapped(outputs: Sequence[Any], last: Any = None, gradients: bool = False) -> Iterator[Taps]:
    """Read the outputs of modules, and after them the input of the module ``last`` if there is one.

    ``gradients``: the graph begins at the first module that is reached, whose ``outputs`` come in the order in which the
    network computes them, so that what comes before keeps no memory. The hooks are removed whatever happens.
    """
    taps = Taps()
    handles = []

    def begun(value: torch.Tensor) -> torch.Tensor:
        return value.detach().requires_grad_() if gradients and not value.requires_grad else value

    def output_of(number: int) -> Any:
        def hook(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            taps.found[number] = begun(output)
            return taps.found[number]

        return hook

    def input_of(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        taps.found[len(outputs)] = begun(inputs[0])
        return (taps.found[len(outputs)], *inputs[1:])

    try:
        handles += [module.register_forward_hook(output_of(number)) for number, module in enumerate(outputs)]
        if last is not None:
            handles.append(last.register_forward_pre_hook(input_of))
        yield taps
    finally:
        for handle in handles:
            handle.remove()
