"""How similarity to texts and the detector become one relevance: what counts how much, from query to query."""

from __future__ import annotations

import numpy as np

STEP = 0.1
"""By so much the detector counts more after each query (LaSeR, 4.1)."""


def scheduled_delta(queries: int) -> float:
    """The detector's weight delta after so many queries: min(0.1 t, 1).

    Args:
        queries: t, the queries made before; 0 at the first one.

    Returns:
        A number from 0 to 1.
    """
    return min(STEP * max(queries, 0), 1.0)


def precision_above_median(score: np.ndarray, relevant: np.ndarray) -> float:
    """The share of relevant cases among those whose score is at least the median.

    Args:
        score: float (N,), one for each answered case of a query.
        relevant: bool (N,), what the answers say.

    Returns:
        A number from 0 to 1; 0 without cases.
    """
    score, relevant = np.asarray(score, np.float64), np.asarray(relevant, bool)
    return float(relevant[score >= np.median(score)].mean()) if score.size else 0.0


def delta_by_precision(detector: float, texts: float) -> float | None:
    """The detector's weight by how precise it was: P_det / (P_det + P_vlm).

    Args:
        detector: P_det, from :func:`precision_above_median`.
        texts: P_vlm.

    Returns:
        A number from 0 to 1; None where both are 0, and the schedule decides.

    >>> round(delta_by_precision(0.8, 0.6), 4)
    0.5714
    """
    return detector / (detector + texts) if detector + texts > 0 else None


def mixed(texts: np.ndarray, detector: np.ndarray, delta: float, standardise: bool = False) -> np.ndarray:
    """S = (1 - delta) S_vlm + delta S_det (LaSeR, Eq 5).

    Args:
        texts: S_vlm, float (N,), or (N, K) of each relevant text.
        detector: S_det, float (N,).
        delta: the detector's weight, from 0 to 1.
        standardise: bring both to mean 0 and standard deviation 1 over the cases first (a standard deviation of 0 counts as
            1; of several texts, those of the largest). Cosines differ by hundredths, S_det by up to 2, so as published the
            detector rules as soon as its weight is not 0.

    Returns:
        float64, of the shape of ``texts``.

    >>> mixed(np.array([0.1, 0.0]), np.array([0.9772, 0.36418]), 0.1).round(5)
    array([0.18772, 0.03642])
    """
    texts, detector = np.asarray(texts, np.float64), np.asarray(detector, np.float64)
    if standardise and detector.size:
        best = texts if texts.ndim == 1 else texts.max(axis=1)
        texts = (texts - best.mean()) / _scale(best)
        detector = (detector - detector.mean()) / _scale(detector)
    return (1 - delta) * texts + delta * (detector if texts.ndim == 1 else detector[:, None])


def _scale(scores: np.ndarray) -> float:
    """The standard deviation; 1 where all are equal but for rounding."""
    sd = float(scores.std())
    return sd if sd > 1e-12 * float(np.abs(scores).max()) else 1.0
