"""Distances of a case's windows to those of the reference: to the k-th nearest, and Mahalanobis'."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nnactive_ext.ood.gaussian import Gaussian

K = 5
"""The neighbour whose distance counts."""
FEWEST_WINDOWS, FEWEST_CASES = 30, 3
"""What the reference needs for scores over windows."""
_ROWS = 256

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Windows (M, D), reference (N, D) -> float64 (M,)."""


class TooFew(ValueError):
    """The reference is too small for a score; the message says what it has and what it needs."""


def window_scores(
    windows: Sequence[np.ndarray], in_reference: np.ndarray, distance: Distance | None = None, worst: bool = False
) -> np.ndarray:
    """``knn`` and ``mahalanobis``: the mean over a case's windows of their distance to the windows of the reference.

    Args:
        windows: of each case float (windows, D); a case may have none.
        in_reference: bool (N,). A case of the reference is compared with the windows of the others.
        distance: :func:`knn_distances` (default), :func:`mahalanobis_squared`, or any other.
        worst: the largest distance instead of the mean, for artefacts and implants.

    Returns:
        float64 (N,); NaN for a case without windows.

    Raises:
        TooFew: fewer than 30 windows or 3 cases are in the reference.
        ValueError: a descriptor is not finite, or descriptors differ in length.
    """
    chosen = [i for i in np.flatnonzero(np.asarray(in_reference, bool)).tolist() if len(windows[i])]
    number = sum(len(windows[i]) for i in chosen)
    if number < FEWEST_WINDOWS or len(chosen) < FEWEST_CASES:
        raise TooFew(
            f"The reference has {number} windows of {len(chosen)} cases; distances need {FEWEST_WINDOWS} of {FEWEST_CASES}. "
            "Annotate more cases, call some relevant, or compare with the whole pool (-reference all)."
        )
    values = [_points(given) for given in windows]
    whole = np.concatenate([values[i] for i in chosen])
    scores = np.full(len(values), np.nan)
    for case, own in enumerate(values):
        if len(own):
            others = np.concatenate([values[i] for i in chosen if i != case]) if case in chosen else whole
            found = (distance or knn_distances)(own, others)
            scores[case] = found.max() if worst else found.mean()
    return scores


def knn_distances(windows: np.ndarray, reference: np.ndarray, k: int = K) -> np.ndarray:
    """The Euclidean distance of each window to its k-th nearest of the reference (Sun et al., ICML 2022).

    Woodland et al. (MELBA 2024:020) found it better than Mahalanobis' distance on medical images.

    Descriptors are compared as they are: at unit length, what is only weak (a dimmed image) would look like the rest.

    Args:
        windows: float (M, D).
        reference: float (N, D).
        k: at most N; a larger one is N.

    Returns:
        float64 (M,); exactly 0 where k windows of the reference are equal. NaN where the reference has none.

    Raises:
        ValueError: a descriptor is not finite.

    >>> reference = np.array([[0, 0], [2, 0], [0, 2], [2, 2], [1, 1]])
    >>> [knn_distances(np.array([[3, 1]]), reference, k).round(4).tolist() for k in (1, 3)]
    [[1.4142], [2.0]]
    """
    u, known = _points(windows), _points(reference)
    k = min(k, len(known))
    if not k:
        return np.full(len(u), np.nan)
    centre = known.mean(0)  # |a|^2 + |b|^2 - 2ab loses digits far from the origin
    shifted, lengths = known - centre, ((known - centre) ** 2).sum(1)
    distances = np.empty(len(u))
    for start in range(0, len(u), _ROWS):
        rows = slice(start, start + _ROWS)
        near = np.argpartition(lengths - 2 * ((u[rows] - centre) @ shifted.T), k - 1, axis=1)[:, :k]
        # By differences, so that equal descriptors are at distance 0 and the number of threads does not matter.
        distances[rows] = np.sqrt(np.stack([((known[near[:, j]] - u[rows]) ** 2).sum(1) for j in range(k)]).max(0))
    return distances


def mahalanobis_squared(
    windows: np.ndarray, reference: np.ndarray, *, shrinkage: float | None = None, components: int | None = None
) -> np.ndarray:
    """The squared Mahalanobis distance of each window to one Gaussian over the reference.

    After Lee et al. (NeurIPS 2018); for nnU-Net González et al. (MICCAI 2021), for medical images Anthony and Kamnitsas
    (UNSURE 2023). One Gaussian, not one per class, because a window holds several classes.

    Args:
        windows: float (M, D).
        reference: float (N, D), N >= 1.
        shrinkage: of :meth:`Gaussian.fitted`, as the next.
        components: how many principal components are kept.

    Returns:
        float64 (M,).

    Raises:
        ValueError: the reference is empty, or a descriptor is not finite.
    """
    return Gaussian.fitted(_points(reference), shrinkage, components).squared(_points(windows))


def _points(descriptors: np.ndarray) -> np.ndarray:
    values = np.asarray(descriptors, np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"descriptors need to be finite and of two axes (windows, dimensions); these are {values.shape}.")
    return values
