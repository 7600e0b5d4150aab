"""One member's logits in one pass: probabilities, entropy and energy of each voxel, moved into the means over members."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnactive_ext.engine.compiling import kernel
from nnactive_ext.engine.elementary import exp, fused, ln

# So many voxels at once stay in the first cache. Loops over all of them have no remainder, whose last bits could differ.
_WIDTH = 512
_INFINITE, _INFINITE_HALF = np.int32(0x7F800000), np.int32(0x7C00 << 13)
_SIZE, _SIZE_HALF, _SIGN_HALF = np.int32(0x7FFFFFFF), np.int32(0x7FFF), np.int32(0x8000)
_NONE = np.empty((0, 0), np.float32), np.empty((0, 0), np.int16)


class Means(NamedTuple):
    """The means over members, changed in place: ``mean`` (channel, voxel), ``entropy`` and ``energy`` (voxel), float32 in C
    order. Entropies and energies of length 0 are not computed."""

    mean: np.ndarray
    entropy: np.ndarray
    energy: np.ndarray


def add_member(
    logits: np.ndarray, at: int, means: Means, into: tuple[int, int], number: int, regions: bool, known: np.ndarray
) -> tuple[bool, np.ndarray]:
    """Move the means towards the ``number``-th member (from 1).

    Each voxel is worked on alone and in the same order, so a result depends neither on blocks nor on threads.

    Args:
        logits: (channel, voxel) in C order, float32 or float16; only voxels from ``at`` on are looked at.
        at: the first voxel in ``logits``.
        means: what is changed.
        into: the first and the last voxel (exclusive) in ``entropy`` and ``energy``; of ``mean``, too, unless it is as short
            as these are apart.
        number: 1 for the first member, whose values are copied.
        regions: sigmoids instead of a softmax, and sums of binary entropies.
        known: bool (channel,), channels that need not be looked for.

    Returns:
        Whether all logits are finite, and which channels not ``known`` are predicted: of equal ones the first, of regions all
        that are above 0.
    """
    half = logits.dtype == np.float16
    single, bits = (_NONE[0], logits.view(np.int16)) if half else (logits, _NONE[1])
    first, last = into
    there = 0 if means.mean.shape[1] == last - first else first
    work = _add_regions if regions else _add_classes
    weight = np.float32(1 / number)
    found = np.zeros(len(logits), np.bool_)
    finite = work(single, bits, half, at, *means, there, first, last - first, number == 1, weight, known, found)
    return bool(finite), found


@fused
def _load(target, single, bits, half, at, worst):
    """The numbers from ``at`` on as float32; the largest of ``worst`` and the bits of their sizes, to find infinite ones."""
    if half:
        line = bits[at : at + target.size]
        for x in range(target.size):
            size = np.int32((np.int32(line[x]) & _SIZE_HALF) << np.int32(13))
            number = np.int32(size).view(np.float32) * np.float32(2.0**112)  # exact; the exponents' biases differ by 112
            sign = (np.int32(line[x]) & _SIGN_HALF) << np.int32(16)
            target[x] = np.int32(np.float32(number).view(np.int32) | sign).view(np.float32)
            worst = max(worst, size)
    else:
        numbers = single[at : at + target.size]
        for x in range(target.size):
            target[x] = numbers[x]
            worst = max(worst, np.int32(np.float32(numbers[x]).view(np.int32) & _SIZE))
    return worst


@fused
def _move(mean, value, first, weight):
    """Move means towards values: a mean, unlike a sum, stays below 1."""
    if first:
        for x in range(mean.size):
            mean[x] = value[x]
    else:
        for x in range(mean.size):
            mean[x] += (value[x] - mean[x]) * weight


@fused
def _move_scaled(mean, value, scale, first, weight):
    if first:
        for x in range(mean.size):
            mean[x] = value[x] * scale[x]
    else:
        for x in range(mean.size):
            mean[x] += (value[x] * scale[x] - mean[x]) * weight


@kernel
def _predicted(values, highest, number, known, found):
    """Which channels are the first of the highest ones in one of the first ``number`` voxels."""
    for c in range(len(values)):
        if known[c] or found[c]:
            continue
        there = 0
        for x in range(_WIDTH):
            there += values[c, x] == highest[x]
        x = 0
        while there and x < number and not found[c]:
            if values[c, x] == highest[x]:
                before = 0
                while values[before, x] < highest[x]:
                    before += 1
                found[c] = before == c
            x += 1


@fused
def _add_classes(single, bits, half, at, mean, entropy, energy, there, start, voxels, first, weight, known, found):
    channels = len(mean)
    values = np.zeros((channels, _WIDTH), np.float32)
    highest, sums = np.empty(_WIDTH, np.float32), np.empty(_WIDTH, np.float32)
    weighted, logarithm = np.empty(_WIDTH, np.float32), np.empty(_WIDTH, np.float32)
    worst = np.int32(0)
    for begin in range(0, voxels, _WIDTH):
        number = min(_WIDTH, voxels - begin)
        for c in range(channels):
            line = values[c]
            row = 0 if half else c
            other = c if half else 0
            worst = _load(line[:number], single[row], bits[other], half, at + begin, worst)
            if c == 0:
                for x in range(_WIDTH):
                    highest[x] = line[x]
            else:
                for x in range(_WIDTH):
                    highest[x] = max(highest[x], line[x])
        if worst >= (_INFINITE_HALF if half else _INFINITE):
            return False
        _predicted(values, highest, number, known, found)
        for x in range(_WIDTH):
            sums[x] = 0
            weighted[x] = 0
        for c in range(channels):
            line = values[c]
            if entropy.size:
                for x in range(_WIDTH):
                    below = line[x] - highest[x]  # at most 0, so neither exp nor the entropy's terms lose precision
                    power = exp(below)
                    line[x] = power
                    sums[x] += power
                    weighted[x] += below * power
            else:
                for x in range(_WIDTH):
                    power = exp(line[x] - highest[x])
                    line[x] = power
                    sums[x] += power
        if entropy.size or energy.size:
            for x in range(_WIDTH):
                logarithm[x] = ln(sums[x])
        for x in range(_WIDTH):
            sums[x] = np.float32(1) / sums[x]
        for c in range(channels):
            line = mean[c]
            _move_scaled(line[there + begin : there + begin + number], values[c], sums, first, weight)
        if entropy.size:
            for x in range(_WIDTH):
                weighted[x] = logarithm[x] - weighted[x] * sums[x]
            _move(entropy[start + begin : start + begin + number], weighted, first, weight)
        if energy.size:
            for x in range(_WIDTH):
                logarithm[x] = -(logarithm[x] + highest[x])
            _move(energy[start + begin : start + begin + number], logarithm, first, weight)
    return True


@fused
def _add_regions(single, bits, half, at, mean, entropy, energy, there, start, voxels, first, weight, known, found):
    channels = len(mean)
    values = np.zeros(_WIDTH, np.float32)
    entropies, energies = np.empty(_WIDTH, np.float32), np.empty(_WIDTH, np.float32)
    worst = np.int32(0)
    for begin in range(0, voxels, _WIDTH):
        number = min(_WIDTH, voxels - begin)
        for x in range(_WIDTH):
            entropies[x] = 0
            energies[x] = 0
        for c in range(channels):
            row = 0 if half else c
            other = c if half else 0
            worst = _load(values[:number], single[row], bits[other], half, at + begin, worst)
            if worst >= (_INFINITE_HALF if half else _INFINITE):
                return False
            if not (known[c] or found[c]):
                above = 0
                for x in range(number):
                    above += values[x] > 0
                found[c] = above > 0
            for x in range(_WIDTH):
                size = abs(values[x])
                power = exp(-size)
                share = np.float32(1) / (np.float32(1) + power)
                less = power * share  # the less likely of two outcomes, so neither term of the entropy loses precision
                if entropy.size or energy.size:
                    logarithm = ln(np.float32(1) + power)
                    entropies[x] += size * less + logarithm
                    energies[x] -= logarithm + max(values[x], np.float32(0))
                values[x] = share if values[x] >= 0 else less
            line = mean[c]
            _move(line[there + begin : there + begin + number], values, first, weight)
        if entropy.size:
            _move(entropy[start + begin : start + begin + number], entropies, first, weight)
        if energy.size:
            _move(energy[start + begin : start + begin + number], energies, first, weight)
    return True
