"""The grey values of blocks, by which a whole volume is normalised everywhere alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.images.volumes import Block, open_volume

Z_SCORE, TO_01 = "ZScoreNormalization", "RescaleTo01Normalization"
_FIXED = ("CTNormalization", "NoNormalization", "RGBTo01Normalization")
"""nnU-Net's schemes that treat a voxel alike in every image."""


@dataclass(frozen=True)
class GreyValues:
    """Of one channel in a typical block: mean, standard deviation, lowest and highest value."""

    mean: float
    std: float
    low: float
    high: float


def grey_values_of(fact: Mapping[str, Any]) -> GreyValues:
    """The values in one of :meth:`Normalisation.facts`."""
    return GreyValues(*(float(fact[name]) for name in GreyValues.__dataclass_fields__))


def grey_values(blocks: Sequence[Block], channels: int, masked: bool) -> list[GreyValues]:
    """Average the blocks of a volume.

    nnU-Net normalises each image by itself, and the members were trained on blocks. So a volume is normalised as a typical
    block of it was: the mean of the blocks' means, and the root of the mean of their variances. The values of the whole volume
    would be those of the empty space around a specimen.

    Args:
        blocks: read one after another.
        channels: how many the volume has.
        masked: leave out voxels that are 0 in all channels, as nnU-Net does for images that are mostly 0.
    """
    rows = []
    for block in blocks:
        volume = open_volume(block.volume, block.level, block.time, block.spacing)
        voxels = np.stack([volume.read(channel, block.start, block.size) for channel in range(channels)]).astype(np.float32)
        kept = voxels.any(axis=0) if masked else np.ones(voxels.shape[1:], bool)
        if kept.any():
            rows.append([_described(one[kept]) for one in voxels])
    if not rows:
        raise NnActiveError(f"{blocks[0].volume}: all voxels of its blocks are 0.")
    mean, variance, low, high = np.mean(rows, axis=0).T
    return [GreyValues(*map(float, values)) for values in zip(mean, np.sqrt(variance), low, high, strict=True)]


def _described(values: np.ndarray) -> tuple[float, ...]:
    return float(values.mean(dtype=np.float64)), float(values.var(dtype=np.float64)), float(values.min()), float(values.max())


@dataclass(frozen=True)
class Normalisation:
    """nnU-Net's normalisation of each channel, with the grey values that stand for those of an image.

    ``schemes`` and ``masked`` are of nnU-Net's configuration, ``intensities`` of its plans.
    """

    schemes: Sequence[str]
    masked: Sequence[bool]
    intensities: Mapping[str, Any]
    values: Sequence[GreyValues]

    def facts(self) -> list[dict[str, Any]]:
        """What a prediction says of how it was normalised."""
        return [{"scheme": scheme, **asdict(value)} for scheme, value in zip(self.schemes, self.values, strict=True)]

    def __call__(self, voxels: np.ndarray) -> np.ndarray:
        """Normalise voxels (channel, z, y, x) of any part of the volume, in place; float32."""
        kept = voxels.any(axis=0) if any(self.masked) else None
        for channel, value in enumerate(self.values):
            voxels[channel] = self._channel(voxels[channel], channel, value)
            if kept is not None and self.masked[channel] and self.schemes[channel] == Z_SCORE:
                voxels[channel] *= kept
        return voxels

    def _channel(self, voxels: np.ndarray, channel: int, value: GreyValues) -> np.ndarray:
        scheme = self.schemes[channel]
        if scheme == Z_SCORE:
            return (voxels - np.float32(value.mean)) / np.float32(max(value.std, 1e-8))
        if scheme == TO_01:
            return (voxels - np.float32(value.low)) / np.float32(max(value.high - value.low, 1e-8))
        from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes

        if scheme not in _FIXED:
            raise NnActiveError(
                f"The normalisation {scheme} of nnU-Net's plans depends on the whole image and is not supported here."
            )
        return getattr(schemes, scheme)(self.masked[channel], self.intensities[str(channel)]).run(voxels, None)
