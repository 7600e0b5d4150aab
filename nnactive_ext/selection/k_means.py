"""k-means: clusters, by scikit-learn, and the draws of k-means++ by which BADGE chooses."""

from __future__ import annotations

import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from nnactive_ext.selection.degenerate import at_random, warn
from nnactive_ext.selection.distances import nearest_centre, points

FULL = 50
"""Up to so many clusters, k-means runs ten times on all points; above, once on mini-batches."""


def k_means_plus_plus(candidates: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """The longest candidate, then draws with probability proportional to the squared distance to the nearest choice.

    This is the seeding of k-means (Arthur and Vassilvitskii, SODA 2007) as BADGE uses it (ICLR 2020; thesis Eq 3.7).
    scikit-learn's draws the first centre at random and keeps the best of several draws for each other.

    Args:
        candidates: float (N, D).
        n: how many to choose.
        rng: each choice after the first takes one number in [0, 1).

    Returns:
        int64 (min(n, N),), indices of candidates in the order of choice. Where all candidates left coincide with chosen ones,
        or all descriptors are 0, they are drawn uniformly; a :class:`SelectionWarning` says so.

    Raises:
        ValueError: a descriptor is not finite.
    """
    u = points(candidates)
    n = min(n, len(u))
    chosen = np.empty(n, np.int64)
    free = np.ones(len(u), bool)
    lengths = np.einsum("ij,ij->i", u, u)
    squared = lengths
    for k in range(n):
        if not squared.any():
            why = "equal chosen ones" if k else "are 0: the member is certain everywhere"
            warn(f"{n - k} of {n} patches are drawn at random: the descriptors of all candidates left {why}.")
            chosen[k:] = at_random(free, n - k, rng)
            break
        if k == 0:
            pick, squared = int(np.argmax(lengths)), np.full(len(u), np.inf)
        else:
            cumulated = np.cumsum(squared)
            pick = int(np.searchsorted(cumulated / cumulated[-1], rng.random(), side="right"))
        chosen[k], free[pick] = pick, False
        squared = np.minimum(squared, nearest_centre(u, u[pick : pick + 1]))
    return chosen


def clusters(u: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """The cluster of each point, int (N,) in 0 .. k - 1; fewer clusters where fewer points differ.

    k-means++ start; 10 restarts up to 50 clusters, 1 and mini-batches of 5,000 above. One thread: the last bits of sums depend
    on the number of threads.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans  # takes a second, which commands that do not cluster need not spend
    from sklearn.exceptions import ConvergenceWarning

    seed = int(rng.integers(2**31))
    k = min(k, len(u))
    if k <= FULL:
        model = KMeans(k, n_init=10, random_state=seed)
    else:
        model = MiniBatchKMeans(k, n_init=1, batch_size=5000, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different points than clusters
        return np.asarray(model.fit_predict(u), np.int64)
