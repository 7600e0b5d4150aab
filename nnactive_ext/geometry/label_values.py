"""Counts the voxels of each value of a label map."""

from __future__ import annotations

import numpy as np

_BLOCK = 1 << 20
_MOST = 1 << 16


def voxels_per_value(labels: np.ndarray) -> dict[int, int]:
    """The values of a label map and their numbers of voxels, by ascending value.

    Args:
        labels: any shape and any real type. Whole numbers from 0 to 65,535 are counted in one pass without sorting.

    Returns:
        Value -> voxels. Values that are not whole numbers, as in a damaged label map, stay as they are.

    >>> voxels_per_value(np.array([[2.0, 0.0], [2.0, 5.0]]))
    {0: 1, 2: 2, 5: 1}
    """
    counts = np.zeros(0, np.int64)
    # In blocks, because bincount makes 64-bit numbers of all that it is given.
    for block in _blocks(labels):
        whole = block
        if block.dtype.kind not in "iub":
            with np.errstate(invalid="ignore"):
                whole = block.astype(np.intp)
        if not (whole.min() >= 0 and whole.max() < _MOST and (whole is block or np.array_equal(whole, block))):
            values, numbers = np.unique(labels, return_counts=True)
            return {value: number for value, number in zip(values.tolist(), numbers.tolist(), strict=True)}
        found = np.bincount(whole, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _blocks(labels: np.ndarray) -> list[np.ndarray]:
    flat = labels.ravel(order="K")  # a view of any contiguous array; the order of voxels does not matter
    return [flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK)]
