"""TypiClust: from each of many clusters the candidate in the densest place."""

from __future__ import annotations

from itertools import chain

import numpy as np
from scipy.spatial.distance import cdist

from nnactive_ext.selection.degenerate import at_random, warn
from nnactive_ext.selection.distances import ROWS, points
from nnactive_ext.selection.k_means import clusters as clusters_of

SMALL = 5
"""Clusters of fewer points are passed over unless nothing else is left."""


def typicality(cluster: np.ndarray, neighbours: int) -> np.ndarray:
    """1 / mean distance to the nearest others of the cluster.

    Args:
        cluster: float64 (k, D), the points of one cluster.
        neighbours: to how many others; all where there are fewer.

    Returns:
        float64 (k,), infinite where the neighbours coincide with the point, and for a cluster of one.
    """
    neighbours = min(neighbours, len(cluster) - 1)
    if neighbours < 1:
        return np.full(len(cluster), np.inf)
    means = np.empty(len(cluster))
    for start in range(0, len(cluster), ROWS):
        part = slice(start, min(start + ROWS, len(cluster)))
        distances = cdist(cluster[part], cluster)
        distances[np.arange(part.stop - start), np.arange(start, part.stop)] = np.inf
        means[part] = np.partition(distances, neighbours - 1, 1)[:, :neighbours].mean(1)
    with np.errstate(divide="ignore"):
        return 1 / means


def typiclust(
    candidates: np.ndarray,
    annotated: np.ndarray,
    n: int,
    rng: np.random.Generator,
    *,
    clusters: int = 500,
    neighbours: int = 20,
) -> np.ndarray:
    """The most typical candidates of clusters in which least is annotated (Hacohen et al., ICML 2022).

    k-means groups candidates and annotated into min(M + n, ``clusters``) clusters. These take turns, those with the fewest
    annotated first, then the largest, then the lowest index. Each gives its most typical candidate that is not taken yet;
    clusters of fewer than 5 give theirs when the others have none left. The annotated count and lend density.

    Typicality is 1 / mean distance to the min(``neighbours``, size // 2) nearest of the cluster, at least one. The published
    code takes the mean of *squared* distances, ends on used-up clusters and leaves out clusters of up to 5.

    Args:
        candidates: float (N, D), of unit length as published.
        annotated: float (M, D).
        n: how many to choose.
        rng: seeds k-means, and draws where all descriptors are equal; a :class:`SelectionWarning` says so.
        clusters: the largest number of clusters.
        neighbours: the largest number of neighbours.

    Returns:
        int64 (min(n, N),), indices of candidates in the order of choice.

    Raises:
        ValueError: a descriptor is not finite.
    """
    u = np.concatenate([points(candidates), points(annotated)])
    n = min(n, len(candidates))
    if not n:
        return np.empty(0, np.int64)
    if len(u) > 1 and not np.ptp(u, axis=0).any():
        warn(f"{n} patches are drawn at random: the descriptors of all patches are equal.")
        return at_random(np.ones(len(candidates), bool), n, rng)
    cluster = clusters_of(u, min(len(annotated) + n, clusters), rng)
    given: list[tuple[tuple[bool, int, int, int], np.ndarray]] = []
    for c in range(int(cluster.max()) + 1):
        members = np.flatnonzero(cluster == c)
        open_ = members < len(candidates)
        if open_.any():
            typical = typicality(u[members], max(1, min(neighbours, len(members) // 2)))
            best_first = members[open_][np.argsort(-typical[open_], kind="stable")]
            given.append(((len(members) < SMALL, int((~open_).sum()), -len(members), c), best_first))
    given.sort(key=lambda each: each[0])
    large, small = ([best for key, best in given if key[0] is wanted] for wanted in (False, True))
    return np.fromiter(chain(_in_turns(large), _in_turns(small)), np.int64)[:n]


def _in_turns(lists: list[np.ndarray]) -> list[int]:
    """The first of each list, the second of each that has one, and so on."""
    longest = max(map(len, lists), default=0)
    return [int(each[turn]) for turn in range(longest) for each in lists if turn < len(each)]
