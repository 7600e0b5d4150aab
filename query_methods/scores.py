"""Voxel scores: what each voxel is worth, from the statistics of the ensemble.

Every score takes :class:`Statistics` and returns a (z, y, x) float32 map, the higher the more uncertain. Logarithms are
natural and 0 ln 0 = 0. Regions may overlap, so each is a class of its own against its absence: their scores are the
sums over regions of the binary forms. Probabilities are clipped to [0, 1] first, because a float mean may leave it by one
rounding. NaN passes through; :func:`check` turns it into an error that names the case.

All but ``energy`` are never negative, which noise on the logarithm of a patch score and weights p_c need (:data:`SIGNED`).
The first line of each docstring is what ``nnactive_query --list_methods`` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nnactive_ext.engine import add_entropy
from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods.base import ENERGY, EXPECTED_ENTROPY, ScoredCase, Statistics, needs_of

Score = Callable[[Statistics], np.ndarray]
"""Statistics -> (z, y, x) float32. No temporary should be as large as the probabilities: go through them by channel."""


def predictive_entropy(statistics: Statistics) -> np.ndarray:
    """H[p] = -sum_c p_c ln p_c of the members' mean p (thesis Eq 3.1).

    In nat, at most ln(channels). For regions the sum of the binary entropies, at most channels x ln 2.
    """
    entropy = np.zeros(statistics.mean.shape[1:], dtype=np.float32)
    for channel in statistics.mean:
        add_entropy(entropy, channel, binary=statistics.regions)
    return entropy


def expected_entropy(statistics: Statistics) -> np.ndarray:
    """mean_m H[p_m], the mean of the members' entropies (thesis Eq 2.10).

    In nat, at most ln(channels); for regions the sum of the binary entropies.
    """
    return np.maximum(_expected(statistics), 0).astype(np.float32, copy=False)


def bald(statistics: Statistics) -> np.ndarray:
    """H[p] - mean_m H[p_m], the mutual information of class and member (thesis Eq 3.2; Houlsby 2011).

    In nat, 0 where the members agree. Clamped at 0, which it can only leave by rounding.
    """
    return np.maximum(predictive_entropy(statistics) - _expected(statistics), 0)


def least_confidence(statistics: Statistics) -> np.ndarray:
    """1 - max_c p_c of the members' mean p (Settles 2009, 3.1).

    At most 1 - 1/channels. For regions the sum of min(p, 1 - p), at most channels / 2.
    """
    if statistics.regions:
        return _summed(statistics, lambda p: np.minimum(p, 1 - p))
    top = np.zeros(statistics.mean.shape[1:], dtype=np.float32)
    for p in _channels(statistics):
        np.maximum(top, p, out=top)
    return np.subtract(1, top, out=top)


def margin(statistics: Statistics) -> np.ndarray:
    """1 - (p_(1) - p_(2)), how close the two likeliest classes of the members' mean p are (Settles 2009, 3.1).

    1 where they are equally likely, 0 where one is certain. For regions the sum of ``1 - |2p - 1|``.
    """
    if statistics.regions:
        return _summed(statistics, lambda p: 1 - np.abs(2 * p - 1))
    first = np.zeros(statistics.mean.shape[1:], dtype=np.float32)
    second = first.copy()
    for p in _channels(statistics):
        np.maximum(second, np.minimum(first, p), out=second)
        np.maximum(first, p, out=first)
    first -= second
    return np.subtract(1, first, out=first)


def energy(statistics: Statistics) -> np.ndarray:
    """mean_m -ln sum_c exp(logit_c), the members' mean free energy (SISOM; Liu 2020).

    Unlike the others it may be, and mostly is, negative. For regions the sum of -ln(1 + exp(logit)). NnActiveError where
    the statistics came without energies.
    """
    if statistics.energy is None:
        raise NnActiveError(
            "score=energy needs the members' logits, and the ensemble gave statistics without energies. Choose another "
            f"score: {', '.join(name for name in SCORES if name != 'energy')}."
        )
    return statistics.energy


def check(case: ScoredCase) -> None:
    """NnActiveError with the case's name if a probability, an entropy or an energy is NaN or infinite."""
    stats = case.statistics
    for what, values in (("probabilities", stats.mean), ("entropies", stats.expected_entropy), ("energies", stats.energy)):
        # Sums tell without a temporary as large as the probabilities; what is finite is far too small to overflow.
        if values is not None and not np.isfinite(values.sum(dtype=np.float32)):
            raise NnActiveError(
                f"{case.name}: the members' {what} hold NaN or infinite values. Look for a diverged training "
                "(NaN loss) or for NaN in the image."
            )


SCORES: dict[str, Score] = {
    score.__name__: score for score in (predictive_entropy, expected_entropy, bald, least_confidence, margin, energy)
}

SIGNED: tuple[Score, ...] = (energy,)
"""Scores that may be negative: they have no logarithm, and a weight p_c would prefer the voxels it makes smallest."""


_NEEDS: Sequence[tuple[Score, frozenset[str]]] = (
    (predictive_entropy, frozenset()),
    (least_confidence, frozenset()),
    (margin, frozenset()),
    (expected_entropy, frozenset({EXPECTED_ENTROPY})),
    (bald, frozenset({EXPECTED_ENTROPY})),
    (energy, frozenset({ENERGY})),
)


def score_needs(score: Score) -> frozenset[str]:
    """What a voxel score needs beside the mean; one that does not say so (:func:`needs_of`) gets everything."""
    return next((needs for one, needs in _NEEDS if one is score), needs_of(score))


def _expected(statistics: Statistics) -> np.ndarray:
    if statistics.expected_entropy is None:
        raise NnActiveError(
            "The score needs the members' entropies, which were not computed because the method's attribute needs does not "
            f"name {EXPECTED_ENTROPY!r}. Add it, or leave needs out."
        )
    return statistics.expected_entropy


def _channels(statistics: Statistics) -> Iterator[np.ndarray]:
    return (np.clip(channel, 0, 1, dtype=np.float32) for channel in statistics.mean)


def _summed(statistics: Statistics, binary: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    total = np.zeros(statistics.mean.shape[1:], dtype=np.float32)
    for p in _channels(statistics):
        total += binary(p)
    return total
