"""Core-Set: k-center greedy, the candidate that is farthest from everything annotated or chosen so far."""

from __future__ import annotations

from typing import Literal

import numpy as np

from nnactive_ext.selection.degenerate import at_random, warn
from nnactive_ext.selection.distances import nearest_centre, points


def k_center(
    candidates: np.ndarray,
    annotated: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    first: Literal["mean", "longest"] = "mean",
) -> np.ndarray:
    """Choose the candidate with the largest distance to its nearest centre, again and again (Sener and Savarese, ICLR 2018).

    The largest distance that is left is at most twice the smallest that any choice could leave. The choice does not change
    under rotations, translations and a common scale, and the chosen distances never increase.

    Args:
        candidates: float (N, D).
        annotated: float (M, D), the centres at the start. M = 0: the first choice is by ``first``.
        n: how many to choose.
        rng: draws only where all candidates left coincide with centres; a :class:`SelectionWarning` says so.
        first: ``mean``: the candidate nearest to the mean of all; ``longest``: the one of greatest length, as nnActive does.

    Returns:
        int64 (min(n, N),), indices of candidates in the order of choice.

    Raises:
        ValueError: a descriptor is not finite.

    >>> points = np.array([[1, 0], [4, 0], [4, 3], [0, 5], [10, 0]], np.float32)
    >>> k_center(points, np.zeros((1, 2), np.float32), 3, np.random.default_rng(0)).tolist()
    [4, 2, 3]
    """
    u, centres = points(candidates), points(annotated)
    n = min(n, len(u))
    chosen = np.empty(n, np.int64)
    free = np.ones(len(u), bool)
    squared = nearest_centre(u, centres)
    for k in range(n):
        if k == 0 and not len(centres):
            pick = np.argmin(nearest_centre(u, u.mean(0)[None])) if first == "mean" else np.argmax(np.einsum("ij,ij->i", u, u))
        else:
            pick = np.argmax(np.where(free, squared, -1))
            if squared[pick] == 0:
                warn(f"{n - k} of {n} patches are drawn at random: the descriptors of all candidates left equal chosen ones.")
                chosen[k:] = at_random(free, n - k, rng)
                return chosen
        chosen[k], free[pick] = pick, False
        np.minimum(squared, nearest_centre(u, u[pick : pick + 1]), out=squared)
    return chosen
