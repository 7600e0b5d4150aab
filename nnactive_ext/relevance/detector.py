"""A detector of what does not belong: logistic regression on descriptors, learned from verdicts and annotated patches."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax
from threadpoolctl import threadpool_limits

TEMPERATURE = 0.5
"""T of LaSeR's Eq 3: below 1, so that small differences of logits tell cases apart."""
IRRELEVANT = -1
"""The class of examples that somebody called irrelevant; others are 0 for background, and i + 1 for the i-th class."""
UNLABELLED = 1 << 16
"""The class of windows of relevant cases, whose content nobody labelled."""


def margins(logits: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """S_det of logits: the largest probability of a relevant class minus that of the irrelevant one (LaSeR, Eq 3-4).

    Args:
        logits: float (N, C), of C - 1 relevant classes and, last, the irrelevant one; a constant added to a row changes
            nothing.
        temperature: the logits are divided by it.

    Returns:
        float64 (N,), from -1 to 1; the higher, the more relevant.

    >>> margins(np.array([[2.0, 0, -1], [0, 0, 0]])).round(4)
    array([0.9772, 0.    ])
    """
    q = softmax(np.asarray(logits, np.float64) / temperature, axis=1)
    return q[:, :-1].max(axis=1) - q[:, -1]


def can_learn(classes: np.ndarray) -> bool:
    """Whether a detector can be learned: some examples are irrelevant, and some are not.

    Args:
        classes: int (L,), as for :func:`detected`.

    Returns:
        False where nobody gave a verdict "irrelevant" yet, or only such verdicts are known.
    """
    return bool((classes == IRRELEVANT).any() and (classes != IRRELEVANT).any())


def detected(vectors: np.ndarray, examples: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """S_det: multinomial logistic regression (C = 1) on descriptors, in place of LaSeR's second network.

    Dimensions are standardised by the examples' mean and standard deviation (0: 1). Sums run in one thread, so that equal
    input gives equal output.

    Args:
        vectors: float (N, D), the descriptors of N cases.
        examples: float (L, D), the descriptors of annotated patches, of windows of relevant cases, and of patches and windows
            that are irrelevant.
        classes: int (L,), the class of each example by its labels, :data:`UNLABELLED` or :data:`IRRELEVANT`.

    Returns:
        float64 (N,), from -1 to 1, by :func:`margins`; 0 everywhere if nothing can be learned (:func:`can_learn`).
    """
    if not len(vectors) or not can_learn(classes):
        return np.zeros(len(vectors))
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    examples, classes = np.asarray(examples, np.float64), np.asarray(classes)
    rows = np.lexsort((*examples.T[::-1], classes))  # so that the order of cases changes no bit
    examples, classes = examples[rows], classes[rows]
    mean, sd = examples.mean(axis=0), examples.std(axis=0)
    sd[sd == 0] = 1
    with threadpool_limits(1):
        model = LogisticRegression(C=1.0, max_iter=1000).fit((examples - mean) / sd, classes)
        logits = model.decision_function((np.asarray(vectors, np.float64) - mean) / sd)
    if logits.ndim == 1:  # of two classes, the irrelevant one first: how much more the other one is likely
        return margins(np.stack([logits, np.zeros_like(logits)], axis=1))
    return margins(np.roll(logits, -1, axis=1))
