"""How well a case's confidence ranks its failures, and how well a score tells out-of-distribution cases from others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

KEPT = 0.95
"""The share of positive cases that FPR95 keeps."""


def aurc(risks: Sequence[float], confidences: Sequence[float]) -> float:
    """Area under the risk-coverage curve: the mean over cases of the selective risk at the coverage at which a case enters.

    Cases enter in the order of falling confidence, those of equal confidence together; the selective risk is the mean risk of
    the cases that have entered (thesis B.3-B.6). Only the order of the confidences matters. It is a mean of means, so the
    perfect order of a set of failures is not 0; see :func:`excess_aurc`.

    Args:
        risks: of each case, such as 1 - mean Dice; at least one, none NaN.
        confidences: of each case, such as the negative uncertainty; none NaN.

    Returns:
        The area, in the unit of the risks.

    Raises:
        ValueError: no case, a NaN, or lengths that differ.

    >>> round(aurc([0.1, 0.4, 0.2, 0.3], [0.9, 0.1, 0.8, 0.2]), 6), round(aurc([0.1, 0.4, 0.2, 0.3], [1, 1, 1, 1]), 6)
    (0.175, 0.25)
    """
    risk, confidence = _cases(risks, confidences)
    order = np.argsort(-confidence, kind="stable")
    selective = np.cumsum(risk[order]) / np.arange(1, len(risk) + 1)
    # The last case of each group of equal confidence: all of the group enter with it.
    last = np.searchsorted(-confidence[order], -confidence[order], side="right") - 1
    return float(selective[last].mean())


def best_aurc(risks: Sequence[float]) -> float:
    """The smallest AURC that any confidence has: cases enter one by one, in the order of rising risk.

    >>> best_aurc([0.0, 1.0, 1.0])
    0.38888888888888884
    """
    return aurc(np.sort(_cases(risks, risks)[0]).tolist(), range(len(risks), 0, -1))


def excess_aurc(risks: Sequence[float], confidences: Sequence[float]) -> float:
    """E-AURC: the AURC minus that of the perfect order (thesis B.7); never negative, 0 for the perfect order.

    The perfect order takes cases of equal risk one by one. With them together, as equal confidences enter, an order that tells
    these cases apart would be better than the perfect one.

    Args:
        risks: of each case, as in :func:`aurc`.
        confidences: of each case.

    Returns:
        The difference, in the unit of the risks.

    >>> excess_aurc([0.1, 0.4, 0.2, 0.3], [0.9, 0.1, 0.8, 0.2])
    0.0
    """
    return max(0.0, aurc(risks, confidences) - best_aurc(risks))


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """The probability that a positive case scores higher than a negative one; equal scores count half.

    Args:
        positives: the scores of the positive cases, here the out-of-distribution ones; the higher, the stranger.
        negatives: the scores of the others.

    Returns:
        0 to 1; 0.5 where scores tell nothing.

    Raises:
        ValueError: a side is empty, or a score is NaN.

    >>> auroc([2.5, 5, 6, 7], [1, 2, 3, 4])
    0.875
    """
    from scipy.stats import rankdata  # takes a second to load, and most commands rank nothing

    positive, negative = _sides(positives, negatives)
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    n = len(positive)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * len(negative)))


def fpr95(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """The share of negative cases at or above the largest threshold that keeps at least 95 % of the positive ones.

    It depends on which side is positive: with the negative scores of both sides swapped, ``fpr95(-ID, -OoD)``, in-distribution
    cases are, as some publications have it.

    Args:
        positives: the scores of the positive cases, as in :func:`auroc`.
        negatives: the scores of the others.

    Returns:
        0 to 1; the smaller, the better.

    Raises:
        ValueError: a side is empty, or a score is NaN.

    >>> fpr95([2.5, 5, 6, 7], [1, 2, 3, 4]), fpr95([-1, -2, -3, -4], [-2.5, -5, -6, -7])
    (0.5, 0.25)
    """
    positive, negative = _sides(positives, negatives)
    kept = int(np.ceil(KEPT * len(positive) - 1e-9))
    threshold = np.sort(positive)[len(positive) - kept]
    return float((negative >= threshold).mean())


def _cases(risks: Sequence[float], confidences: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    risk, confidence = np.asarray(risks, float), np.asarray(confidences, float)
    if risk.ndim != 1 or risk.shape != confidence.shape or not len(risk):
        raise ValueError(f"each case needs a risk and a confidence, given: {risk.shape} risks, {confidence.shape} confidences")
    if np.isnan(risk).any() or np.isnan(confidence).any():
        raise ValueError("a risk or a confidence is NaN")
    return risk, confidence


def _sides(positives: Sequence[float], negatives: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    positive, negative = np.asarray(positives, float), np.asarray(negatives, float)
    if not len(positive) or not len(negative):
        raise ValueError(f"both sides need a case, given: {len(positive)} positive, {len(negative)} negative")
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise ValueError("a score is NaN")
    return positive, negative
