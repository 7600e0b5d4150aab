"""The pairwise penalty matrix: how often one method beats another by a paired test over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

Runs = Mapping[int, Sequence[float]]
"""Seed -> the Dice of each of its cycles; shorter where cycles are missing at the end, NaN where one has no Dice."""

FEWEST = 3
"""Seeds below which there is no test: two have one degree of freedom, and t must exceed 12.7."""
_NOISE = 1e-12
"""Differences that vary by less than this share of the values are equal: 0.3 - 0.2 is not quite 0.1 in floating point."""


@dataclass(frozen=True)
class Penalties:
    """Row i, column j: what happened when method i met method j."""

    methods: tuple[str, ...]
    """In order of first appearance."""
    wins: np.ndarray
    """Integers, (M, M): tests that the row's method won."""
    tests: np.ndarray
    """Integers, (M, M), symmetric, 0 on the diagonal: tests that were possible."""
    seeds: tuple[int, int]
    """Fewest and most seeds that a test had; (0, 0) where there was none."""

    @property
    def share(self) -> np.ndarray:
        """Wins / tests, (M, M); NaN where no test was possible, as on the diagonal."""
        return np.divide(self.wins, self.tests, out=np.full(self.wins.shape, np.nan), where=self.tests > 0)


def pairwise_penalties(settings: Sequence[Mapping[str, Runs]], skip_first: bool = True, alpha: float = 0.05) -> Penalties:
    """Test every two methods against each other in every setting and cycle: two-sided paired t-test over seeds.

    A method wins where p < ``alpha`` and its mean is higher. The values of a test are paired by seed; seeds that only
    one of the two has, that lack the cycle, or whose Dice is NaN are left out of it. With fewer than three seeds there
    is no test. Equal differences, even if far from 0, have no variance to test against: the test counts, nobody wins. Few
    seeds win little: with three, t must exceed 4.3. The p-values are not corrected for the number of tests.

    Args:
        settings: for each setting, method -> seed -> Dice of each cycle.
        skip_first: leave out cycle 0, where all methods share the starting budget; the number of tests shrinks, too.
        alpha: the level of each test.

    Returns:
        Wins and tests, (M, M), and the methods in order of first appearance.

    >>> runs = {"a": {1: [0.5, 0.71], 2: [0.5, 0.82], 3: [0.4, 0.93]}, "b": {3: [0.4, 0.72], 2: [0.5, 0.6], 1: [0.5, 0.5]}}
    >>> penalties = pairwise_penalties([runs])
    >>> penalties.share, penalties.seeds
    (array([[nan,  1.],
           [ 0., nan]]), (3, 3))
    """
    methods = tuple(dict.fromkeys(method for setting in settings for method in setting))
    wins = np.zeros((len(methods), len(methods)), int)
    tests = np.zeros_like(wins)
    by_seeds: dict[int, list[tuple[int, int, np.ndarray]]] = {}  # tests of as many seeds are done in one go
    for setting in settings:
        for (i, first), (j, second) in combinations(enumerate(methods), 2):
            for values in _paired(setting.get(first, {}), setting.get(second, {}), skip_first):
                by_seeds.setdefault(len(values), []).append((i, j, values))
    for found in by_seeds.values():
        one, other, values = (np.array(column) for column in zip(*found, strict=True))
        better = compare_pairs(values[..., 0], values[..., 1], alpha)
        np.add.at(tests, (one, other), 1)
        np.add.at(tests, (other, one), 1)
        np.add.at(wins, (one[better > 0], other[better > 0]), 1)
        np.add.at(wins, (other[better < 0], one[better < 0]), 1)
    return Penalties(methods, wins, tests, (min(by_seeds, default=0), max(by_seeds, default=0)))


def compare_pairs(first: np.ndarray, second: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """For each test (row), 1 where ``first`` is better by the two-sided paired t-test, -1 where ``second`` is, else 0.

    Both are (tests, seeds), paired by column, with at least two seeds and without NaN; the answer is (tests,).

    >>> compare_pairs(np.array([[0.81, 0.79, 0.85], [0.3, 0.8, 0.9]]), np.array([[0.71, 0.68, 0.76], [0.2, 0.7, 0.8]]))
    array([1, 0])
    """
    from scipy.stats import ttest_rel

    differences = first - second
    verdict = np.zeros(len(first), int)
    vary = np.ptp(differences, axis=1) > _NOISE * np.maximum(np.abs(first), np.abs(second)).max(axis=1)
    if vary.any():
        significant = ttest_rel(first[vary], second[vary], axis=1).pvalue < alpha
        verdict[vary] = np.where(significant, np.sign(differences[vary].mean(axis=1)), 0)
    return verdict


def _paired(first: Runs, second: Runs, skip_first: bool) -> list[np.ndarray]:
    """For each cycle that at least :data:`FEWEST` seeds of both have, the values of both, (seeds, 2)."""
    common = sorted(first.keys() & second.keys())
    cycles = max((min(len(first[s]), len(second[s])) for s in common), default=0)
    pairs = []
    for cycle in range(int(skip_first), cycles):
        both = [(first[s][cycle], second[s][cycle]) for s in common if cycle < min(len(first[s]), len(second[s]))]
        values = np.array(both, float).reshape(-1, 2)
        values = values[np.isfinite(values).all(axis=1)]
        if len(values) >= FEWEST:
            pairs.append(values)
    return pairs
