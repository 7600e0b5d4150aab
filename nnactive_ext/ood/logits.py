"""Scores of voxels or images from a network's logits or probabilities: energy, largest logit, largest probability, entropy.

Arrays have the classes first, (C, ...), and scores the shape of the rest. Regions (``regions=True``) may overlap, so each is a
class of its own against its absence. A query's voxel maps of the same scores come from ``query_methods/scores.py``, which reads
the members' statistics instead of logits.
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, logsumexp


def energy(logits: np.ndarray, regions: bool = False) -> np.ndarray:
    """The free energy -ln sum_c exp(logit_c); of regions the sum of -ln(1 + exp(logit_r)) (Liu et al., NeurIPS 2020; AbeT).

    Args:
        logits: float (C, ...).
        regions: whether classes overlap.

    Returns:
        float64 (...), of any sign. A constant c added to all logits lowers it by c.

    >>> energy(np.array([[2.0, 7.0], [0.0, 5.0], [-1.0, 4.0]])).round(5).tolist()
    [-2.16985, -7.16985]
    """
    values = np.asarray(logits, np.float64)
    return -np.logaddexp(0, values).sum(0) if regions else -np.asarray(logsumexp(values, axis=0))


def max_logit(logits: np.ndarray) -> np.ndarray:
    """-max_c logit_c, of classes or of regions (Hendrycks et al., ICML 2022).

    Args:
        logits: float (C, ...), the mean over members.

    Returns:
        float64 (...), of any sign.
    """
    return -np.asarray(logits, np.float64).max(0)


def msp(probabilities: np.ndarray, regions: bool = False) -> np.ndarray:
    """1 - max_c p_c; of regions the sum of min(p_r, 1 - p_r) (maximum softmax probability; Hendrycks and Gimpel, ICLR 2017).

    Args:
        probabilities: float (C, ...), the mean over members.
        regions: whether classes overlap.

    Returns:
        float64 (...), at most 1 - 1/C, of regions C/2. A constant added to the logits changes nothing.
    """
    p = np.asarray(probabilities, np.float64)
    return np.minimum(p, 1 - p).sum(0) if regions else 1 - p.max(0)


def entropy(probabilities: np.ndarray, regions: bool = False) -> np.ndarray:
    """-sum_c p_c ln p_c; of regions the sum of the binary entropies.

    Args:
        probabilities: float (C, ...), the mean over members.
        regions: whether classes overlap.

    Returns:
        float64 (...) in nat, at most ln C, of regions C ln 2.
    """
    p = np.clip(np.asarray(probabilities, np.float64), 0, 1)
    return (entr(p) + entr(1 - p)).sum(0) if regions else entr(p).sum(0)
