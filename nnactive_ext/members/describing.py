"""Descriptors of patches: one pass of one network on a network patch around each, and what it says of the patch, pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.members.places import Place, padding, places
from nnactive_ext.members.taps import fitting, last_layer, plain, stages, tapped
from nnactive_ext.nnunet.stochastic_head import head_of
from nnactive_ext.query_methods.base import Description
from nnactive_ext.selection import badge_gradient, pooled, uniform_divergence

if TYPE_CHECKING:
    import torch


STOCK = "dynamic_network_architectures."
"""nnU-Net's own networks, whose forward pass begins with the encoder."""


@dataclass(frozen=True)
class Describer:
    """Describes patches by one network.

    ``network``: in evaluation mode, with its weights, on ``device``. ``window``: the network patch (z, y, x) or, of a 2D
    network, (y, x). ``patch``: the query patch in network voxels, to which the encoder stage is matched; all patches of an
    experiment are described by the same stage, whatever their own sizes. ``regions``: channels are regions that may overlap.
    """

    network: Any
    window: tuple[int, ...]
    patch: Triple
    device: torch.device
    regions: bool = False

    def describe(self, image: np.ndarray, boxes: Sequence[Patch], description: Description) -> np.ndarray:
        """The descriptors of boxes, each apart from what else is asked for: from the network patch around it.

        Boxes with the same place share its pass. See :func:`nnactive_ext.members.places.places` for boxes larger than the
        network patch; their parts are weighted by their voxels.

        Args:
            image: (channel, z, y, x), preprocessed.
            boxes: in voxels of ``image``, inside it.
            description: what descriptors are made of.

        Returns:
            float32 (boxes, D), layer after layer (:meth:`sections`).

        Raises:
            NnActiveError: the network has not the layers that are needed.
        """
        shape = triple(image.shape[1:])
        window = triple((1, *self.window)[-3:])
        wanted: dict[Triple, list[tuple[int, Place]]] = {}
        for number, box in enumerate(boxes):
            for place in places(box, window, shape):
                wanted.setdefault(place.start, []).append((number, place))
        padded, missing = np.asarray(image, np.float32), padding(shape, window)
        if np.any(missing):
            padded = np.pad(padded, [(0, 0), *missing])
        layers = description.features == "layers"
        total = np.zeros((len(boxes), sum(self.sections(description)) * (1 + layers)))
        with threadpool_limits(1, user_api="blas"):  # for numpy's sums; the network has its own threads
            for start, here in wanted.items():
                tile = padded[(slice(None), *(slice(a, a + n) for a, n in zip(start, window, strict=True)))]
                parts = self._described(tile, [place.within for _, place in here], description)
                for (number, place), vector in zip(here, parts, strict=True):
                    total[number] += vector * (place.part.voxels / boxes[number].voxels)
        if layers:  # pooled first, then multiplied
            activations, gradients = np.split(total, 2, axis=1)
            total = activations * gradients / np.array([[box.voxels] for box in boxes]).reshape(-1, 1)
        return total.astype(np.float32)

    def sections(self, description: Description) -> tuple[int, ...]:
        """How many of the D values belong to each layer."""
        network = plain(self.network)
        last = [] if description.features in ("encoder", "pretrained") else [last_layer(network)]
        if description.features == "gradient":
            head = head_of(network)  # the logits of a stochastic network are some of its outputs
            return (last[0].in_channels * (head.classes if head else last[0].out_channels),)
        widths = [int(network.encoder.output_channels[i]) for i in self._stages(description)]
        return (*widths, *(int(layer.in_channels) for layer in last))

    def _stages(self, description: Description) -> list[int]:
        """The encoder stages that are read, the shallowest first."""
        if description.features in ("decoder", "gradient"):
            return []
        deepest = fitting([stride for _, stride in stages(plain(self.network))], self.patch)
        if description.features == "layers":
            return list(range(max(0, deepest + 2 - description.layers), deepest + 1))
        return [deepest]

    def _described(self, tile: np.ndarray, parts: Sequence[Patch], description: Description) -> list[np.ndarray]:
        """The descriptors of parts of one network patch, float64 (D,) each."""
        import torch

        network, chosen = plain(self.network).requires_grad_(False), self._stages(description)
        known = stages(network) if chosen else []
        strides = [known[i][1] for i in chosen]
        reads_last = description.features in ("decoder", "gradient", "layers")
        layers = description.features == "layers"
        x = torch.from_numpy(np.ascontiguousarray(tile if len(self.window) == 3 else tile.squeeze(1)))[None].to(self.device)
        mixed = torch.autocast("cuda", enabled=True) if self.device.type == "cuda" else nullcontext()
        with (
            torch.set_grad_enabled(layers),
            mixed,
            tapped([known[i][0] for i in chosen], last_layer(network) if reads_last else None, layers) as taps,
        ):
            if reads_last or not type(network).__module__.startswith(STOCK):
                logits = self._spatial(network(x)[0])
            else:  # what comes after the encoder is not needed
                network.encoder(x)
            found = [self._spatial(one[0]) for one in taps.activations()]
            strides += [(1, 1, 1)] * reads_last
            if layers:
                return list(self._weighted(logits, taps.activations(), strides, parts))
        if description.features == "gradient":
            features = self._multiplied(taps.activations()[-1])
            return [self._gradient(logits, features, part) for part in parts]
        return [_pooled(found[0], strides[0], part) for part in parts]

    def _multiplied(self, features: torch.Tensor) -> torch.Tensor:
        """What the class weights are multiplied with: the input of the last layer, or, of AbeT's, that input divided by its
        length and temperature, where the gradient is that by the weights of unit length."""
        scaled = getattr(last_layer(plain(self.network)), "scaled", None)
        return self._spatial((scaled(features) if scaled else features)[0])

    def _gradient(self, logits: torch.Tensor, features: torch.Tensor, part: Patch) -> np.ndarray:
        here = logits[(slice(None), *part.slices)].float()
        p = here.sigmoid() if self.regions else here.softmax(0)
        phi = features[(slice(None), *part.slices)].float()
        return badge_gradient(p.cpu().numpy(), phi.cpu().numpy(), self.regions).astype(np.float64)

    def _weighted(
        self, logits: torch.Tensor, activations: Sequence[torch.Tensor], strides: Sequence[Triple], parts: Sequence[Patch]
    ) -> Iterator[np.ndarray]:
        """The pooled activations of all layers, then the pooled gradients by them of the divergence, summed over the part."""
        import torch

        for number, part in enumerate(parts):
            # A sum, because the gradients of the mean may vanish in half precision.
            loss = uniform_divergence(logits[(slice(None), *part.slices)].float(), self.regions).sum()
            gradients = torch.autograd.grad(loss, activations, retain_graph=number + 1 < len(parts))
            maps = [
                (self._spatial(one[0].detach()), s)
                for one, s in zip((*activations, *gradients), (*strides, *strides), strict=True)
            ]
            yield np.concatenate([_pooled(one, stride, part) for one, stride in maps])

    def _spatial(self, one: torch.Tensor) -> torch.Tensor:
        """(channels, z, y, x), also of a 2D network."""
        return one if len(self.window) == 3 else one[:, None]


def _pooled(features: torch.Tensor, stride: Triple, part: Patch) -> np.ndarray:
    """Only the cells that the part touches leave the device."""
    cells = [slice(a // s, -(-b // s)) for a, b, s in zip(part.start, part.stop, stride, strict=True)]
    inside = features[(slice(None), *cells)].float().cpu().numpy()
    start = [a - c.start * s for a, c, s in zip(part.start, cells, stride, strict=True)]
    return pooled(inside, start, part.size, stride).astype(np.float64)


def network_size(patch_mm: Sequence[float], transpose: Sequence[int], spacing: Sequence[float]) -> Triple:
    """The query patch in network voxels, for a patch in mm along (z, y, x) of the image.

    Args:
        patch_mm: of the plan.
        transpose: nnU-Net's ``transpose_forward``.
        spacing: of the configuration, in mm; a 2D one has two numbers, and resamples no slices: the patch then has the same
            voxels along z as along y, where the stride along z is 1 whatever they are.
    """
    moved = [patch_mm[source] for source in transpose]
    voxels = [max(1, round(mm / s)) for mm, s in zip(moved[-len(spacing) :], spacing, strict=True)]
    return triple([voxels[0], *voxels][-3:])


def undescribed(case: str, description: Description, error: BaseException) -> NnActiveError:
    """The error of a case whose descriptors could not be made."""
    short = isinstance(error, MemoryError) or "memory" in str(error).lower()
    less = " layers=2 needs less." if short and description.features == "layers" and description.layers > 2 else ""
    return NnActiveError(f"{case}: its patches cannot be described: {error or 'not enough memory.'}{less}")
