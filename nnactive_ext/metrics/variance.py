"""How far paired results lie apart: differences of methods over seeds, and trainings within and between starting budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_DRAWS = 2000
"""Tables that are drawn to judge whether pairs of methods differ in their deviations."""


@dataclass(frozen=True)
class PairedSpread:
    """Standard deviation of the paired difference of two methods, pooled over all pairs.

    ``worst``: the same of the pair with the largest one, with its degrees of freedom and its two methods. ``p``: of John's test
    of sphericity, which is small where the pairs of methods differ in their standard deviations.
    """

    sd: float
    df: int
    worst: tuple[float, int, tuple[str, str]]
    p: float


def paired_spread(values: Mapping[str, Mapping[int, float]], rng: np.random.Generator) -> PairedSpread | None:
    """Standard deviation of the paired differences between methods.

    Values are taken as the sum of a method, a seed and a rest; the difference of two methods with the same seed then has twice
    the variance of the rest. Where all methods have all seeds, that is the mean over all pairs of methods of the sample
    variances of their differences, with (methods - 1)(seeds - 1) degrees of freedom.

    Args:
        values: method -> seed -> value, NaN where there is none; seeds of a single method say nothing and are left out.
        rng: draws the normal tables of the same layout that John's statistic is compared with (S. John, Biometrika 58, 1971).

    Returns:
        The spread, in the unit of the values; None where no two methods share two seeds.

    >>> found = paired_spread({"a": {1: 1.0, 2: 2.0, 3: 4.0}, "b": {1: 0.0, 2: 2.0, 3: 2.0}}, np.random.default_rng(0))
    >>> round(found.sd, 6), found.df  # the differences are 1, 0 and 2
    (1.0, 2)
    """
    table = _table(values)
    there = ~np.isnan(table)
    if min(table.shape) < 2:
        return None
    basis = _basis(there)
    df = int(there.sum()) - basis.shape[1]
    pairs = _pairs(there)
    if df < 1 or not pairs:
        return None
    methods = list(values)
    each = [float((table[i] - table[j])[there[i] & there[j]].std(ddof=1)) for i, j in pairs]
    i, j = pairs[int(np.argmax(each))]
    worst = (max(each), int((there[i] & there[j]).sum()) - 1, (methods[i], methods[j]))
    rest = _rest(table[None], there, basis)[0]
    return PairedSpread(math.sqrt(2 * float((rest**2).sum()) / df), df, worst, _sphericity(rest, there, basis, rng))


def _table(values: Mapping[str, Mapping[int, float]]) -> np.ndarray:
    """(methods, seeds); without the seeds that fewer than two methods have."""
    seeds = sorted({seed for of in values.values() for seed in of})
    table = np.full((len(values), len(seeds)), np.nan)
    for row, of in zip(table, values.values(), strict=True):
        row[:] = [of.get(seed, math.nan) for seed in seeds]
    return table[:, (~np.isnan(table)).sum(0) >= 2]


def _basis(there: np.ndarray) -> np.ndarray:
    """Orthonormal columns (values, rank) for all that is explained by the method and the seed of a value."""
    methods, seeds = np.nonzero(there)
    design = np.hstack([np.eye(there.shape[0])[methods], np.eye(there.shape[1])[seeds]])
    vectors, sizes, _ = np.linalg.svd(design, full_matrices=False)
    return vectors[:, sizes > 1e-9 * sizes.max()]


def _pairs(there: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of methods that share as many seeds as any, and at least two."""
    n = len(there)
    shared = {(i, j): int((there[i] & there[j]).sum()) for i in range(n) for j in range(i)}
    most = max(shared.values(), default=0)
    return [(j, i) for (i, j), number in shared.items() if number == most >= 2]


def _rest(tables: np.ndarray, there: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What methods and seeds do not explain, of tables (n, methods, seeds); 0 where there is no value."""
    cells = tables[:, there]
    rest = np.zeros(tables.shape)
    rest[:, there] = cells - (cells @ basis) @ basis.T
    return rest


def _sphericity(rest: np.ndarray, there: np.ndarray, basis: np.ndarray, rng: np.random.Generator) -> float:
    """Share of normal tables of equal deviations whose statistic is not below that of ``rest``; 1 where nothing is left."""
    if len(there) < 3 or not rest.any():
        return 1.0
    drawn = _john(_rest(rng.standard_normal((_DRAWS, *there.shape)), there, basis))
    return float((1 + np.sum(drawn >= _john(rest[None]))) / (1 + _DRAWS))


def _john(rest: np.ndarray) -> np.ndarray:
    """tr(S^2) / tr(S)^2 of the sums of products S of methods: least where all contrasts of methods vary alike."""
    products = rest @ rest.transpose(0, 2, 1)
    return (products**2).sum((1, 2)) / np.trace(products, axis1=1, axis2=2) ** 2


@dataclass(frozen=True)
class Components:
    """Standard deviations ``within`` groups (trainings on equal labels) and ``between`` them (starting budgets).

    ``between`` is 0 where its estimated variance was ``negative``, which chance does where groups differ little.
    """

    within: float
    within_df: int
    between: float
    between_df: int
    negative: bool


def variance_components(groups: Sequence[Sequence[float]]) -> Components | None:
    """Variance within and between groups, by analysis of variance of the one-way layout with random effects.

    The mean square within estimates the variance within; the mean square between exceeds it by n0 times the variance between,
    where n0 is the size of the groups, or (N - sum n_i^2 / N) / (a - 1) for a groups of unequal sizes n_i, N in all (Searle,
    Casella and McCulloch, Variance Components, chapter 3).

    Args:
        groups: the values of each group; empty groups do not count.

    Returns:
        The components, in the unit of the values; None with fewer than two groups, or without a group of two values.

    >>> found = variance_components([[1.0, 3.0], [5.0, 7.0]])  # mean squares: 2 within, 16 between
    >>> round(found.within**2, 6), round(found.between**2, 6), found.within_df, found.between_df
    (2.0, 7.0, 2, 1)
    """
    sizes = np.array([len(group) for group in groups if len(group)])
    number, total = len(sizes), int(sizes.sum())
    if number < 2 or total == number:
        return None
    means = np.array([np.mean(group) for group in groups if len(group)])
    inside = math.fsum((value - np.mean(group)) ** 2 for group in groups for value in group) / (total - number)
    overall = float((sizes * means).sum() / total)
    outside = float((sizes * (means - overall) ** 2).sum()) / (number - 1)
    size = (total - float((sizes**2).sum()) / total) / (number - 1)
    between = (outside - inside) / size
    return Components(math.sqrt(inside), total - number, math.sqrt(max(between, 0.0)), number - 1, between < 0)
