"""Other ways to the same candidates: as published, with scipy and a full sort, and with torch pooling at stride 8."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.inputs import Inputs
from nnactive_ext.geometry.patch import Triple

STRIDE = 8
"""Of the pooling rivals; the stride with which the published experiments on large images were run."""


@dataclass
class _Box:
    file: str
    coords: Triple
    size: Triple


def published(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int) -> list[list[Triple]]:
    """The way of the published implementation (MIC-DKFZ/nnActive), written anew, at its stride of 1.

    Reproduced: the mean as ``scipy.signal.convolve`` of the float32 map with a float64 box (which chooses the FFT), "valid"
    positions only; ``log`` of it plus Gumbel noise for every window, NaN where the FFT left a zero slightly negative; a full
    ``argsort``, turned round, so that NaN comes first; lists of all scores and positions; a dict with position, size
    and score for every window of every stratum, all of them in memory before the choice begins; then a walk
    down the list that makes a box object of each entry and compares it with all boxes chosen so far, in Python.

    Kinder than the original: no progress bars, no validation of each box by pydantic, and the walk counts an index up
    where the original removes the first entry of the list each time, which moves all others (0.4 ms for a 128-cube, each time).
    Different on purpose: each stratum chooses on its own, as everywhere here, while the original hands what one class
    has chosen to the next.
    """
    from scipy.signal import convolve

    box = np.ones(size) / np.prod(size)
    return _as_published(inputs, lambda voxel_map: convolve(voxel_map, box, mode="valid"), size, 1, picks, beta, seed)


def published_strided(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int) -> list[list[Triple]]:
    """The same at :data:`STRIDE`, where the original convolves with torch's conv3d."""
    import torch

    box = torch.full((1, 1, *size), 1 / float(np.prod(size)))

    def means(voxel_map: np.ndarray) -> np.ndarray:
        means = torch.nn.functional.conv3d(torch.from_numpy(voxel_map)[None, None], box, stride=STRIDE)
        return np.asarray(means[0, 0])

    return _as_published(inputs, means, size, STRIDE, picks, beta, seed)


def _as_published(
    inputs: Inputs,
    means: Callable[[np.ndarray], np.ndarray],
    size: Triple,
    stride: int,
    picks: int,
    beta: float | None,
    seed: int,
) -> list[list[Triple]]:
    rng = np.random.default_rng(seed)
    strata = []
    for voxel_map in _maps(inputs):
        scores = means(voxel_map)
        if beta is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                scores = np.log(scores) + rng.gumbel(0, 1 / beta, scores.shape)
        flat = scores.flatten()
        order = np.flip(np.argsort(flat))
        ranked = zip(flat[order].tolist(), order.tolist(), strict=True)
        strata.append([{"coords": _position(at, scores.shape, stride), "size": size, "score": score} for score, at in ranked])
    return [_walk_down(windows, picks) for windows in strata]


def _position(index: int, shape: tuple[int, ...], stride: int) -> Triple:
    z, y, x = np.unravel_index(index, shape)
    return z.item() * stride, y.item() * stride, x.item() * stride


def _walk_down(windows: list[dict], picks: int) -> list[Triple]:
    chosen: list[_Box] = []
    for window in windows:
        box = _Box("case.nii.gz", window["coords"], window["size"])
        if not any(_overlap(box, other) for other in chosen):
            chosen.append(box)
        if len(chosen) >= picks:
            break
    return [box.coords for box in chosen]


def _overlap(a: _Box, b: _Box) -> bool:
    return all(a.coords[i] < b.coords[i] + b.size[i] and b.coords[i] < a.coords[i] + a.size[i] for i in range(3))


def sort(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int) -> list[list[Triple]]:
    """What a good numpy and scipy program does: running means, noise in float32, one full sort, an occupancy mask."""
    from scipy.ndimage import uniform_filter

    rng = np.random.default_rng(seed)
    valid = tuple(slice(s // 2, s // 2 + n - s + 1) for s, n in zip(size, inputs.entropy.shape, strict=True))
    chosen = []
    for voxel_map in _maps(inputs):
        means = np.maximum(uniform_filter(voxel_map, size)[valid], 0)
        chosen.append(_sorted_choice(_noisy(means, beta, rng), size, 1, picks))
    return chosen


def pool(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int) -> list[list[Triple]]:
    """Average pooling at stride 8 on all threads, the strata as channels (twice as fast as one after the other)."""
    from torch.nn.functional import avg_pool3d

    return _pooled(inputs, size, picks, beta, seed, lambda maps: avg_pool3d(maps, size, STRIDE))


def pool_axes(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int) -> list[list[Triple]]:
    """The same numbers as :func:`pool` for a fraction of the additions: three poolings, one per axis, x first."""
    from torch.nn.functional import avg_pool3d

    def means(maps):
        for axis in (2, 1, 0):
            kernel, stride = [1, 1, 1], [1, 1, 1]
            kernel[axis], stride[axis] = size[axis], STRIDE
            maps = avg_pool3d(maps, kernel, stride)
        return maps

    return _pooled(inputs, size, picks, beta, seed, means)


def _pooled(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int, means) -> list[list[Triple]]:
    import torch

    entropy = torch.from_numpy(inputs.entropy)
    maps = torch.empty(inputs.mean.shape)
    maps[0] = entropy
    torch.mul(torch.from_numpy(inputs.mean[1:]), entropy, out=maps[1:])
    rng = np.random.default_rng(seed)
    return [_sorted_choice(_noisy(m, beta, rng), size, STRIDE, picks) for m in means(maps[None])[0].numpy()]


def _maps(inputs: Inputs) -> Iterator[np.ndarray]:
    yield inputs.entropy
    for p in inputs.mean[1:]:
        yield p * inputs.entropy


def _noisy(means: np.ndarray, beta: float | None, rng: np.random.Generator) -> np.ndarray:
    """ln(mean) + Gumbel(0, 1/beta); minus the logarithm of an exponential number is a Gumbel number."""
    if beta is None:
        return means
    with np.errstate(divide="ignore"):
        noise = np.log(rng.standard_exponential(means.shape, dtype=np.float32))
        noise /= -beta
        noise += np.log(means)
    return noise


def _sorted_choice(keys: np.ndarray, size: Triple, stride: int, picks: int) -> list[Triple]:
    """Sort all windows once; go down the list, and after each pick drop what it overlaps from the part in hand."""
    reach = [-(-s // stride) for s in size]  # windows this many grid steps apart do not overlap
    order = np.argsort(-keys, axis=None)
    taken = np.zeros(keys.shape, dtype=bool)
    flat = taken.reshape(-1)
    chosen: list[Triple] = []
    at, length = 0, 1024
    while at < len(order) and len(chosen) < picks:
        free = order[at : at + length]
        free = free[~flat[free]]
        while len(free) and len(chosen) < picks:
            z, y, x = (int(i) for i in np.unravel_index(free[0], keys.shape))
            chosen.append((z * stride, y * stride, x * stride))
            taken[tuple(slice(max(i - r + 1, 0), i + r) for i, r in zip((z, y, x), reach, strict=True))] = True
            free = free[~flat[free]]
        at, length = at + length, 2 * length
    return chosen
