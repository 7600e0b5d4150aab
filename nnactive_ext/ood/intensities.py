"""Distances between the intensity distributions of cases, which are given as quantiles at even steps of probability."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist, pdist


def wasserstein(quantiles: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The 1-Wasserstein distance of two distributions: the mean absolute difference of their quantiles.

    Args:
        quantiles: float (..., Q), Q quantiles at the same even steps of probability as the others.
        others: float (..., Q), broadcast against them.

    Returns:
        float64 (...), in the unit of the intensities.

    >>> float(wasserstein(np.array([0, 1, 2, 3]), np.array([0, 1, 2, 5])))
    0.5
    """
    return np.abs(np.asarray(quantiles, np.float64) - np.asarray(others, np.float64)).mean(-1)


def histogram_distances(quantiles: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Distances to each case of the reference, per channel in units of the median distance within it, averaged over channels.

    The median is over all pairs of the reference; where it is 0 the smallest positive distance takes its place, and 1 where all
    are equal or there is one case. So the unit of the intensities drops out, and channels count alike.

    Args:
        quantiles: float (N, channels, Q).
        reference: float (R, channels, Q).

    Returns:
        float64 (N, R).
    """
    given, known = (np.asarray(values, np.float64) for values in (quantiles, reference))
    total = np.zeros((len(given), len(known)))
    for channel in range(given.shape[1]):  # the mean absolute difference is wasserstein, of all pairs
        distances = cdist(given[:, channel], known[:, channel], "cityblock") / given.shape[2]
        total += distances / _scale(known[:, channel])
    return total / given.shape[1]


def histogram_scores(quantiles: np.ndarray, in_reference: np.ndarray) -> np.ndarray:
    """``histogram``: the distance of a case's intensity distribution to that of the nearest case of the reference.

    It needs no network. The idea is the intensity histogram features of Vasiliuk et al. (J. Imaging 2023, 9(9):191).

    Args:
        quantiles: float (N, channels, Q), of all cases.
        in_reference: bool (N,), which of them are the reference. A case of it is compared with the others.

    Returns:
        float64 (N,); NaN where there is no case to compare with.
    """
    chosen = np.asarray(in_reference, bool)
    distances = histogram_distances(quantiles, np.asarray(quantiles)[chosen])
    distances[np.flatnonzero(chosen), np.arange(chosen.sum())] = np.inf
    nearest = distances.min(1, initial=np.inf)
    return np.where(np.isinf(nearest), np.nan, nearest)


def _scale(quantiles: np.ndarray) -> float:
    """The median distance of all pairs of one channel's quantiles (R, Q)."""
    distances = pdist(quantiles, "cityblock") / quantiles.shape[1] if len(quantiles) > 1 else np.empty(0)
    if len(distances) and (median := float(np.median(distances))) > 0:
        return median
    return float(distances[distances > 0].min(initial=np.inf)) if (distances > 0).any() else 1.0
