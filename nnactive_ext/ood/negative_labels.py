"""TANL: which words of a large vocabulary the strange images of a pool activate, and how little of an image is left for texts.

From embeddings of the user's; it orders cases and must not flag them by its own threshold, which splits any distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp

SCALE = 100.0
"""What CLIP multiplies cosines with."""
BETA = 1000
"""Negative labels that are kept."""
ROUNDS = 10
PREFIXES = 200
_COLUMNS = 5000
GRID = np.arange(100) / 100


@dataclass(frozen=True)
class Activated:
    """``score`` float64 (N,), -S; the ``negatives`` int64 (beta,), words, the most activated first, and their ``activation``.

    ``threshold``: of the last round. ``rounds``: how often negatives were chosen. Where nothing was split there are no
    negatives and the threshold is NaN.
    """

    score: np.ndarray
    negatives: np.ndarray
    activation: np.ndarray
    threshold: float
    rounds: int


def tanl(
    relevant: np.ndarray,
    corpus: np.ndarray,
    *,
    scale: float = SCALE,
    gap: float = 0.0,
    beta: int = BETA,
    gamma: int = 1,
) -> Activated:
    """Score a pool as one batch (transductive; TANL, whose queues are not needed then).

    1. S = the share of the relevant texts in the softmax over them and all words. 2. A threshold splits S. 3. The words whose
    softmax on the strange side exceeds that on the other by most are kept. 4. S = the mean share of the relevant texts against
    the first gamma, 2 gamma, .. beta of them. Steps 2 to 4 are repeated until a set of words comes back, at most 10 times.

    Args:
        relevant: float (N, K), cosines of the cases with the relevant texts.
        corpus: float (N, M), cosines with the words; float32 is enough, and is read in bits of 5,000 words.
        scale: of the logits.
        gap: 0 to 1: only S > t + gap (1 - t) and S < t - gap t are taken for sure.
        beta: words that are kept, at most M.
        gamma: words by which prefixes grow; at most 200 prefixes, evenly.

    Returns:
        :class:`Activated`. A side without a case, all S equal, or no word: S of step 1.

    Raises:
        ValueError: a cosine is not finite, or ``beta`` or ``gamma`` is below 1.
    """
    ids, words = np.asarray(relevant, np.float64), np.asarray(corpus)
    if not (np.isfinite(ids).all() and np.isfinite(words).all()):
        raise ValueError("cosines must be finite; an embedding of length 0 has none.")
    if beta < 1 or gamma < 1:
        raise ValueError(f"beta and gamma must be at least 1, given: {beta}, {gamma}")
    total = _log_total(ids, words, scale)
    first = share = np.exp(logsumexp(scale * ids, axis=1) - total)
    seen: list[frozenset[int]] = []
    while True:
        t = threshold(share)
        inside, outside = share > t + gap * (1 - t), share < t - gap * t
        if not inside.any() or not outside.any() or not words.shape[1]:
            return Activated(-first, np.empty(0, np.int64), np.empty(0), np.nan, len(seen))
        activation = _activation(words, total, scale, inside, outside)
        negatives = np.argsort(-activation, kind="stable")[:beta]
        share = activated_share(ids, words[:, negatives], scale=scale, gamma=gamma)
        seen.append(frozenset(negatives.tolist()))
        if seen[-1] in seen[:-1] or len(seen) == ROUNDS:
            return Activated(-share, negatives, activation[negatives], t, len(seen))


def activated_share(relevant: np.ndarray, negatives: np.ndarray, *, scale: float = SCALE, gamma: int = 1) -> np.ndarray:
    """S of step 4: the mean share of the relevant texts in the softmax over them and the first gamma, 2 gamma, .. negatives.

    At deployment images come one by one, and the negatives are those that :func:`tanl` chose on the pool.

    Args:
        relevant: float (N, K), cosines with the relevant texts.
        negatives: float (N, B), cosines with the negatives, B >= 1, the most activated first.
        scale: of the logits.
        gamma: words by which prefixes grow.

    Returns:
        float64 (N,), 0 to 1; the lower, the stranger.
    """
    own = logsumexp(scale * np.asarray(relevant, np.float64), axis=1)
    strange = np.logaddexp.accumulate(scale * np.asarray(negatives, np.float64), axis=1)
    lengths = np.arange(gamma, strange.shape[1] + 1, gamma)
    if not len(lengths):
        lengths = np.array([strange.shape[1]])
    if len(lengths) > PREFIXES:
        lengths = lengths[np.linspace(0, len(lengths) - 1, PREFIXES).round().astype(int)]
    return expit(own[:, None] - strange[:, lengths - 1]).mean(1)


def threshold(share: np.ndarray) -> float:
    """Of 0, .01 .. .99 the one that splits ``share`` (N,) with the smallest variance within the two sides (Otsu, 1979).

    It always splits, also one normal distribution, whose two halves explain 64 % of its variance. So it is no limit for flags.

    Args:
        share: float (N,), 0 to 1.

    Returns:
        The threshold, the middle one of equals; what is above it is the one side.
    """
    values = np.sort(np.asarray(share, np.float64))
    below = np.searchsorted(values, GRID, side="right")
    within = {n: sum(len(side) * side.var() for side in (values[:n], values[n:]) if len(side)) for n in set(below.tolist())}
    spread = np.array([within[n] for n in below.tolist()])
    best = np.flatnonzero(spread == spread.min())
    return float(GRID[best[(len(best) - 1) // 2]])


def _log_total(ids: np.ndarray, words: np.ndarray, scale: float) -> np.ndarray:
    """ln of the softmax's denominator over relevant texts and all words, (N,)."""
    total = logsumexp(scale * ids, axis=1)
    for start in range(0, words.shape[1], _COLUMNS):
        block = scale * words[:, start : start + _COLUMNS].astype(np.float64)
        total = np.logaddexp(total, logsumexp(block, axis=1))
    return np.asarray(total)


def _activation(words: np.ndarray, total: np.ndarray, scale: float, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Of each word, (M,): its mean softmax on the strange side minus that on the other."""
    found = np.empty(words.shape[1])
    for start in range(0, words.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        softmax = np.exp(scale * words[:, columns].astype(np.float64) - total[:, None])
        found[columns] = softmax[outside].mean(0) - softmax[inside].mean(0)
    return found
