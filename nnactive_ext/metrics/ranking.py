"""Which method is better over many settings: ranks, and the tests that tell how much they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEVEL = 0.05
"""Friedman's test is significant below it."""


def ranks(values: np.ndarray | Sequence[Sequence[float]], higher_is_better: bool = True) -> np.ndarray:
    """Rank of each method in each setting, from ``values`` (settings, methods): best = 1, ties share their mean rank.

    A setting in which a method has no value (NaN) has no ranks: its whole row is NaN, because the ranks of fewer methods
    are not comparable.

    >>> ranks([[0.7, 0.9, 0.8], [0.5, 0.5, 0.4], [0.1, 0.2, math.nan]])
    array([[3. , 1. , 2. ],
           [1.5, 1.5, 3. ],
           [nan, nan, nan]])
    """
    from scipy.stats import rankdata

    table = _table(values)
    return rankdata(-table if higher_is_better else table, axis=1, nan_policy="propagate")


def mean_ranks(values: np.ndarray | Sequence[Sequence[float]], higher_is_better: bool = True) -> np.ndarray:
    """Mean rank of each method over settings (see :func:`ranks`), over the settings in which every method has a value.

    Args:
        values: (settings, methods).
        higher_is_better: rank 1 is the highest value, else the lowest.

    Returns:
        (methods,); NaN for all where no setting has values of all methods.

    >>> mean_ranks([[0.7, 0.9, 0.8], [0.5, 0.5, 0.4], [0.1, 0.2, math.nan]])
    array([2.25, 1.25, 2.5 ])
    """
    complete = _complete(_table(values))
    return ranks(complete, higher_is_better).mean(axis=0) if len(complete) else np.full(complete.shape[1], np.nan)


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of the hypothesis that all methods rank alike."""

    statistic: float
    p: float
    settings: int
    """Settings in which every method has a value; the others are left out."""
    methods: int
    refusal: str | None
    """One sentence where there is no test (the statistic and p are NaN then), or one that could not be significant."""


def friedman(values: np.ndarray | Sequence[Sequence[float]]) -> Friedman:
    """Friedman's test on ``values`` (settings, methods), by scipy; a setting with a NaN is left out.

    Needs three methods, two settings, and one setting in which not all methods tie. Its p is from the chi-squared
    distribution, which is only rough for few settings (fewer than about ten). Where even settings that all agree (a
    statistic of N (k - 1)) would have p of 0.05 or more, there is a refusal beside the numbers.

    >>> test = friedman([[0.7, 0.8, 0.9], [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]])
    >>> test.statistic, round(test.p, 4), test.settings, test.refusal
    (6.0, 0.0498, 3, None)
    >>> friedman([[0.7, 0.8], [0.4, 0.5]]).refusal
    'A test over ranks needs at least 3 methods, not 2.'
    """
    from scipy.stats import friedmanchisquare

    complete = _complete(_table(values))
    settings, methods = complete.shape
    refusal = _no_test(complete)
    statistic, p = (math.nan, math.nan) if refusal else friedmanchisquare(*complete.T)
    return Friedman(float(statistic), float(p), settings, methods, refusal or _too_few(settings, methods))


@dataclass(frozen=True)
class Nemenyi:
    """Nemenyi's test of every two methods, after Friedman's."""

    p: np.ndarray
    """(methods, methods), 1 on the diagonal; NaN where there is no test."""
    critical_difference: float
    """Mean ranks that differ by more differ significantly; NaN where there is no test."""
    refusal: str | None
    """One sentence where there is no test."""


def nemenyi(values: np.ndarray | Sequence[Sequence[float]], alpha: float = 0.05) -> Nemenyi:
    """Nemenyi's test on ``values`` (settings, methods), by scikit-posthocs; a setting with a NaN is left out.

    It is meant for where Friedman's test is significant, and refused, without numbers, where that is. It accounts for the
    number of pairs, so its p-values need no further correction.

    >>> test = nemenyi([[0.7, 0.8, 0.9], [0.4, 0.5, 0.6], [0.1, 0.2, 0.3], [0.2, 0.5, 0.6]])
    >>> test.p.round(3)[0], round(test.critical_difference, 3)
    (array([1.   , 0.333, 0.013]), 1.657)
    """
    complete = _complete(_table(values))
    settings, methods = complete.shape
    refusal = _no_test(complete) or _too_few(settings, methods)
    if refusal:
        return Nemenyi(np.full((methods, methods), np.nan), math.nan, refusal)
    from scikit_posthocs import posthoc_nemenyi_friedman  # slow: it imports pandas and matplotlib

    p = posthoc_nemenyi_friedman(complete).to_numpy(float)
    return Nemenyi(p, critical_difference(methods, settings, alpha), None)


def critical_difference(methods: int, settings: int, alpha: float = 0.05) -> float:
    """Of Nemenyi's test: q sqrt(k (k + 1) / (6 N)), q from the studentised range / sqrt(2) (Demsar 2006).

    Fewer than two methods or no setting are a ValueError.

    >>> round(critical_difference(4, 14), 2), round(critical_difference(4, 14, alpha=0.1), 2)
    (1.25, 1.12)
    """
    from scipy.stats import studentized_range

    if methods < 2 or settings < 1:
        raise ValueError(f"two methods and a setting are needed, given: {methods} methods, {settings} settings")
    q = studentized_range.ppf(1 - alpha, methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * settings)))


def cliques(mean_ranks: Sequence[float] | np.ndarray, critical_difference: float) -> list[tuple[int, ...]]:
    """Largest groups of methods whose mean ranks do not differ significantly: the bars of a critical difference diagram.

    Each is the indices of its methods, best first; groups start from the best. A method that differs from all others is
    in none. Methods with a NaN rank are left out, and a NaN difference gives no group.

    >>> cliques([3.1, 1.0, 2.0, 2.2], critical_difference=1.15)
    [(1, 2), (2, 3, 0)]
    """
    rank = np.asarray(mean_ranks, float)
    order = [int(i) for i in np.argsort(rank, kind="stable") if not math.isnan(rank[i])]
    groups: list[tuple[int, ...]] = []
    end = 0
    for start, best in enumerate(order):
        within = sum(rank[i] - rank[best] <= critical_difference for i in order[start:])
        if within > 1 and start + within > end:
            end = start + within
            groups.append(tuple(order[start:end]))
    return groups


@dataclass(frozen=True)
class Kendall:
    """How alike two settings rank the methods."""

    tau: float
    """Tau-b, from -1 (reversed) through 0 (unrelated) to 1 (the same); NaN where a setting ties all of them."""
    p: float
    n: int
    """Methods that both settings have."""


def kendall(values_a: Sequence[float] | np.ndarray, values_b: Sequence[float] | np.ndarray) -> Kendall:
    """Kendall's tau-b between the values of the same methods in two settings, by scipy.

    A method with a NaN in either is left out; with fewer than two, or where all tie in one setting, tau and p are NaN.
    Different lengths are a ValueError.

    >>> kendall([0.7, 0.8, 0.9, 0.5], [0.1, 0.2, 0.4, math.nan])
    Kendall(tau=1.0, p=0.3333333333333333, n=3)
    """
    from scipy.stats import kendalltau

    a, b = np.asarray(values_a, float), np.asarray(values_b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"both settings need one value for each method, given: {a.shape} and {b.shape}")
    both = ~(np.isnan(a) | np.isnan(b))
    a, b = a[both], b[both]
    tau, p = kendalltau(a, b) if len(a) > 1 else (math.nan, math.nan)
    return Kendall(float(tau), float(p), len(a))


def _table(values: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
    table = np.asarray(values, float)
    if table.ndim != 2:
        raise ValueError(f"a table of settings times methods is needed, given an array of shape {table.shape}")
    return table


def _complete(table: np.ndarray) -> np.ndarray:
    """The settings in which every method has a value."""
    return table[~np.isnan(table).any(axis=1)]


def _no_test(complete: np.ndarray) -> str | None:
    """Why there is no test over ranks, or None."""
    settings, methods = complete.shape
    if methods < 3:
        return f"A test over ranks needs at least 3 methods, not {methods}."
    if settings < 2:
        return f"A test over ranks needs at least 2 settings in which every method has a value, not {settings}."
    if (complete == complete[:, :1]).all():
        return "All methods tie in every setting."
    return None


def _too_few(settings: int, methods: int) -> str | None:
    """Why Friedman's test cannot come out below 0.05, whatever the ranks, or None."""
    from scipy.stats import chi2

    smallest = float(chi2.sf(settings * (methods - 1), methods - 1))
    if smallest < _LEVEL:
        return None
    return (
        f"There are too few settings for this test: with {settings} settings and {methods} methods p would be "
        f"{smallest:.2f} even if all settings agreed."
    )
