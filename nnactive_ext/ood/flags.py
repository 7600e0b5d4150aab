"""From a score to a flag: how far a case stands above the reference, in robust units and as a conformal p."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIMIT = 3.5
"""Robust z above which a case is flagged."""
FEWEST = 3
"""Cases of the reference below which nothing is flagged."""
NORMAL = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""


@dataclass(frozen=True)
class Judgement:
    """What the reference says about a score: ``z`` and ``p`` float64 (N,), NaN where unknown, and ``flagged`` bool (N,)."""

    z: np.ndarray
    p: np.ndarray
    flagged: np.ndarray


def judge(scores: np.ndarray, in_reference: np.ndarray, limit: float = LIMIT) -> Judgement:
    """Compare each case's score with those of the reference; flagged is robust z > ``limit``, on the high side only.

    Median and MAD are those of the whole reference also for a case of it: with few cases, leaving it out doubles false flags
    (normal scores, 5 cases: 2.5 % against 6.7 %). Only where the MAD is 0 is a case of the reference left out of the scale, and
    it is always left out of its own p. A case that is not in a reference of 5 is flagged by chance with 6 %, of 22 with .4 %;
    scores with long tails are flagged more often (exponential, 22: 6 %).

    Args:
        scores: float (N,), of all cases; those of the reference leave-one-out.
        in_reference: bool (N,).
        limit: robust z above which a case is flagged.

    Returns:
        :class:`Judgement`. Fewer than three cases in the reference that have a score: z is NaN and nothing is flagged.
    """
    values, chosen = np.asarray(scores, np.float64), np.asarray(in_reference, bool)
    known = values[chosen]
    z, p = robust_z(values, known), conformal_p(values, known)
    for case in np.flatnonzero(chosen):
        others = values[chosen & (np.arange(len(values)) != case)]
        p[case] = conformal_p(values[case], others)
        if _mad(known) == 0:
            z[case] = _z(values[case], known, others)
    return Judgement(z, p, z > limit)


def robust_z(scores: np.ndarray, reference_scores: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """(s - median) / (1.4826 MAD) of the reference's scores, MAD their median absolute deviation from the median.

    MAD 0: the smallest positive deviation takes its place; without any, z is 0 where s is the median, and infinite elsewhere.

    Args:
        scores: float, of any shape.
        reference_scores: float (R,); NaN are left out.
        floor: the smallest divisor. Where it is positive and MAD is 0, it is the divisor.

    Returns:
        float64, of the shape of ``scores``; NaN for NaN, and for all where fewer than three of the reference have a score.

    >>> robust_z(np.array([2.5]), np.array([1, 1.2, 0.9, 1.1, 1, 1.3])).round(3)
    array([9.78])
    """
    known = np.asarray(reference_scores, np.float64)
    return _z(scores, known, known, floor)


def conformal_p(scores: np.ndarray, reference_scores: np.ndarray) -> np.ndarray:
    """(1 + number of the reference with a score >= s) / (R + 1): the share of normal cases that score as high, at most.

    It holds whatever the distribution, for one case drawn as the reference was, and cannot fall below 1 / (R + 1).

    Args:
        scores: float, of any shape.
        reference_scores: float (R,), without the case itself; NaN are left out.

    Returns:
        float64, of the shape of ``scores``; NaN for NaN.

    >>> conformal_p(np.array([2.5, 1.1]), np.array([1, 1.2, 0.9, 1.1, 1, 1.3])).round(4)
    array([0.1429, 0.5714])
    """
    values, known = np.asarray(scores, np.float64), np.asarray(reference_scores, np.float64)
    known = np.sort(known[~np.isnan(known)])
    reached = len(known) - np.searchsorted(known, values, side="left")
    return np.where(np.isnan(values), np.nan, (1 + reached) / (len(known) + 1))


def _z(scores: np.ndarray, known: np.ndarray, stepping: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Robust z by the median and MAD of ``known``; where that is 0, by the smallest deviation of ``stepping``."""
    values, known = np.asarray(scores, np.float64), known[~np.isnan(known)]
    if len(known) < FEWEST:
        return np.full(values.shape, np.nan)
    median, mad = np.median(known), _mad(known)
    if mad == 0 and not floor:
        steps = np.abs(stepping - median)
        mad = steps[steps > 0].min(initial=np.inf) if (steps > 0).any() else 0.0
    scale = max(NORMAL * mad, floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values == median, 0.0, (values - median) / scale)


def _mad(scores: np.ndarray) -> float:
    known = scores[~np.isnan(scores)]
    return float(np.median(np.abs(known - np.median(known)))) if len(known) else 0.0
