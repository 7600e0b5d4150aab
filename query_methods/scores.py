"""Voxel scores: what each voxel is worth, from the statistics of the ensemble.

Every score takes :class:`Statistics` and returns a (z, y, x) float32 map that is never negative; logarithms are natural
and 0 ln 0 = 0. Probabilities are clipped to [0, 1] first, because a float mean may leave it by one rounding. NaN passes
through; :func:`check` turns it into an error that names the case.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import entr

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods.base import ScoredCase, Statistics

Score = Callable[[Statistics], np.ndarray]
"""Statistics -> (z, y, x) float32."""


def predictive_entropy(statistics: Statistics) -> np.ndarray:
    """H[p] = -sum_c p_c ln p_c in nat, at most ln(channels) (thesis Eq 3.1).

    For regions, which may overlap, the sum of the binary entropies, at most channels x ln 2.
    """
    entropy = np.zeros(statistics.mean.shape[1:], dtype=np.float32)
    for channel in statistics.mean:
        p = np.clip(channel, 0, 1)
        entropy += entr(p)
        if statistics.regions:
            entropy += entr(1 - p)
    return entropy


def expected_entropy(statistics: Statistics) -> np.ndarray:
    """The mean of the members' entropies in nat (thesis Eq 2.10)."""
    return np.maximum(statistics.expected_entropy, 0).astype(np.float32, copy=False)


def bald(statistics: Statistics) -> np.ndarray:
    """Mutual information H[p] - mean_m H[p_m] in nat, 0 where the members agree (thesis Eq 3.2).

    Clamped at 0, which it can only leave by rounding.
    """
    return np.maximum(predictive_entropy(statistics) - statistics.expected_entropy, 0)


def class_weighted(statistics: Statistics, channel: int, voxel_score: np.ndarray) -> np.ndarray:
    """u_c = p_c u: a voxel score weighted by the probability of one class or region.

    With the predictive entropy as u it is the class-specific entropy of thesis Eq 8.1 and D.1.
    """
    return np.clip(statistics.mean[channel], 0, 1) * voxel_score


def check(case: ScoredCase) -> None:
    """NnActiveError with the case's name if a probability or an entropy is NaN or infinite."""
    # Sums tell without a temporary as large as the probabilities.
    for what, values in (("probabilities", case.statistics.mean), ("entropies", case.statistics.expected_entropy)):
        if not np.isfinite(values.sum(dtype=np.float64)):
            raise NnActiveError(
                f"{case.name}: the members' {what} hold NaN or infinite values. Look for a diverged training "
                "(NaN loss) or for NaN in the image."
            )


SCORES: dict[str, Score] = {score.__name__: score for score in (predictive_entropy, expected_entropy, bald)}
