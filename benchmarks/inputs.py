"""Made-up predictions that look like an ensemble's: sure of the background, unsure along the borders of smooth organs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from nnactive_ext.geometry.patch import Triple

MEMBERS = 5
FOREGROUND = 0.15
"""About this share of the voxels is not background, whatever the number of classes."""
LARGEST_LOGIT = 20.0
"""Networks are not surer than this; exp(-20) is also far from the float32 numbers that are slow to compute with."""
_SLAB = 8


@dataclass(frozen=True)
class Inputs:
    """What every contender is given: ``mean`` (channels, z, y, x) and ``entropy`` (z, y, x), both float32."""

    mean: np.ndarray
    entropy: np.ndarray


def make(shape: Triple, channels: int, seed: int, folder: Path) -> None:
    """Write ``mean.npy`` and ``entropy.npy`` of one image to ``folder``: five members' mean softmax and its entropy.

    Logits are gaussian-filtered noise on a coarse grid, different for each class and a little for each member, and are
    interpolated and turned into probabilities a slab of planes at a time, so that 512^3 with 16 channels fits anywhere.
    The same anatomy at every resolution: structures grow with the image, the borders stay about four voxels wide.
    """
    import torch

    # Files as arrays: nothing of the image's size is held in memory here.
    mean = np.lib.format.open_memmap(folder / "mean.npy", mode="w+", dtype=np.float32, shape=(channels, *shape))
    entropy = np.lib.format.open_memmap(folder / "entropy.npy", mode="w+", dtype=np.float32, shape=shape)
    coarse = _members_logits(shape, channels, np.random.default_rng(seed))
    for start in range(0, shape[0], _SLAB):
        planes = slice(start, min(start + _SLAB, shape[0]))
        p = torch.zeros((channels, planes.stop - planes.start, *shape[1:]))
        for member in coarse:
            logits = torch.from_numpy(_interpolated_planes(member, np.arange(planes.start, planes.stop), shape[0]))
            p += torch.softmax(torch.nn.functional.interpolate(logits, shape[1:], mode="bilinear"), 0)
        p /= len(coarse)
        mean[:, planes] = p.numpy()
        entropy[planes] = torch.special.entr(p).sum(0).numpy()
    mean.flush()  # so that writing to the disk does not run beside the measurements
    entropy.flush()


def members_logits(shape: Triple, channels: int, seed: int) -> list[np.ndarray]:
    """The members' logits behind the statistics of :func:`make`: (channels, z, y, x) float16 each, as nnU-Net returns them."""
    import torch

    members = []
    for coarse in _members_logits(shape, channels, np.random.default_rng(seed)):
        logits = np.empty((channels, *shape), np.float16)
        for start in range(0, shape[0], _SLAB):
            planes = np.arange(start, min(start + _SLAB, shape[0]))
            part = torch.from_numpy(_interpolated_planes(coarse, planes, shape[0]))
            logits[:, planes] = torch.nn.functional.interpolate(part, shape[1:], mode="bilinear").numpy()
        members.append(logits)
    return members


def load(folder: Path) -> Inputs:
    """What :func:`make` has written, read into memory."""
    return Inputs(np.load(folder / "mean.npy"), np.load(folder / "entropy.npy"))


def _members_logits(shape: Triple, channels: int, rng: np.random.Generator) -> np.ndarray:
    """(members, channels, *coarse grid) float32; the background's logit is 0."""
    spacing = max(2, min(shape) // 32)
    grid = [-(-n // spacing) + 1 for n in shape]
    width = 3 * spacing  # of the structures, in voxels
    threshold = norm.isf(FOREGROUND / (channels - 1))
    logits = np.zeros((MEMBERS, channels, *grid), dtype=np.float32)
    for channel in range(1, channels):
        anatomy = _smooth_noise(grid, 3, rng)
        for member in range(MEMBERS):
            signal = width * (anatomy - threshold)
            logits[member, channel] = LARGEST_LOGIT * np.tanh(signal / LARGEST_LOGIT) + _smooth_noise(grid, 1, rng)
    return logits


def _smooth_noise(grid: list[int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    noise = gaussian_filter(rng.standard_normal(grid), sigma, mode="nearest")
    return (noise - noise.mean()) / noise.std()


def _interpolated_planes(coarse: np.ndarray, planes: np.ndarray, extent: int) -> np.ndarray:
    """The ``planes`` of an image that is ``extent`` deep, linear along z: (channels, z, y, x) -> (channels, planes, y, x)."""
    position = planes / max(extent - 1, 1) * (coarse.shape[1] - 1)
    below = np.minimum(position.astype(int), coarse.shape[1] - 2)
    share = (position - below).astype(np.float32)[:, None, None]
    return (1 - share) * coarse[:, below] + share * coarse[:, below + 1]
