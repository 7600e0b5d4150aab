"""Boxes between the image's voxels and the voxels the network works in: transpose, crop, spacing; no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnactive_ext.geometry.patch import Patch, Triple, clipped_size, triple

# Box edges that should be whole numbers come out of a division a little off; a thousandth of a voxel is none.
_EPSILON = 1e-3


@dataclass(frozen=True)
class Grid:
    """How one case went through nnU-Net's preprocessing: transposed by ``transpose``, then cut to ``crop_start`` and
    ``crop_size``, then resampled to ``network_shape`` (all three along the transposed axes)."""

    image_shape: Triple
    transpose: Triple
    crop_start: Triple
    crop_size: Triple
    network_shape: Triple

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any], transpose: Sequence[int], network_shape: Sequence[int]) -> Grid:
        """From the ``.pkl`` nnU-Net writes for a preprocessed case."""
        box = properties["bbox_used_for_cropping"]
        before = properties["shape_before_cropping"]
        image_shape = [0, 0, 0]
        for axis, source in enumerate(transpose):
            image_shape[source] = int(before[axis])
        return cls(
            triple(image_shape),
            triple(transpose),
            triple([low for low, _ in box]),
            triple([high - low for low, high in box]),
            triple(network_shape),
        )

    @property
    def scale(self) -> tuple[float, float, float]:
        """Network voxels per image voxel along the transposed axes."""
        z, y, x = (n / c for n, c in zip(self.network_shape, self.crop_size, strict=True))
        return z, y, x

    def network_size(self, image_size: Sequence[int]) -> Triple:
        """The size of an image patch in network voxels, at least 1 and at most the network's image."""
        moved = [image_size[source] for source in self.transpose]
        size = [max(1, round(n * s)) for n, s in zip(moved, self.scale, strict=True)]
        return clipped_size(size, self.network_shape)

    def image_windows(self, size: Triple) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where the windows of ``size`` network voxels start and stop along the image's axis that each network axis is, in
        (continuous) image voxels."""
        found = []
        for axis, scale in enumerate(self.scale):
            starts = np.arange(self.network_shape[axis] - size[axis] + 1, dtype=float)
            found.append((self.crop_start[axis] + starts / scale, self.crop_start[axis] + (starts + size[axis]) / scale))
        return found

    def to_network(self, patch: Patch) -> Patch | None:
        """The smallest network box that covers ``patch``; None where nothing of it survived the crop."""
        start, stop = [], []
        for axis, source in enumerate(self.transpose):
            low = (patch.start[source] - self.crop_start[axis]) * self.scale[axis]
            high = (patch.stop[source] - self.crop_start[axis]) * self.scale[axis]
            start.append(max(0, math.floor(low + _EPSILON)))
            stop.append(min(self.network_shape[axis], math.ceil(high - _EPSILON)))
        if any(a >= b for a, b in zip(start, stop, strict=True)):
            return None
        return Patch(patch.case, triple(start), triple([b - a for a, b in zip(start, stop, strict=True)]))

    def to_image(self, patch: Patch, image_size: Sequence[int]) -> Patch:
        """The image box of ``image_size`` with the same centre as the network box ``patch``, moved inside the image."""
        start, size = [0, 0, 0], clipped_size(image_size, self.image_shape)
        for axis, source in enumerate(self.transpose):
            centre = (patch.start[axis] + patch.size[axis] / 2) / self.scale[axis] + self.crop_start[axis]
            # Half a voxel is rounded down whichever the parity, so equal boxes always come back equal.
            low = math.ceil(centre - size[source] / 2 - 0.5 - _EPSILON)
            start[source] = min(max(low, 0), self.image_shape[source] - size[source])
        return Patch(patch.case, triple(start), size)
