"""Draws the test set: whole groups of cases, as near to a quarter of all cases as the groups allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.intake.groups import members
from nnactive_ext.planning.grouping import LEAST_GROUPS, TOO_MUCH
from nnactive_ext.planning.sizes import SHARE_OF_TEST_CASES
from nnactive_ext.randomness import generator
from nnactive_ext.words import count


def draw_test_set(names: Sequence[str], groups: Mapping[str, str]) -> list[str]:
    """The test cases among ``names``; the same for every seed and method, so that all experiments share them.

    The groups are put into a drawn order. Of all choices of whole groups that leave at least two for the pool, those count
    whose number of cases is nearest to a quarter of all, the lower of two equally near numbers. Of these the first one in the
    drawn order is taken: each group in turn, if the rest can still reach the number with those after it.

    Args:
        names: all cases.
        groups: case -> group; where it is empty, each case is a group of its own.

    Raises:
        NnActiveError: there are too few cases or groups.
    """
    if len(names) < 4:
        raise NnActiveError(f"{len(names)} case(s) are too few: at least 4 are needed for a pool and a test set.")
    together = members({name: groups[name] if groups else name for name in names})
    if len(together) <= LEAST_GROUPS:
        raise NnActiveError(
            f"-groups: {len(names)} cases in {count(len(together), 'group')} ({', '.join(together)}). At least 3 "
            f"groups are needed, one to test on, one to train on and one to validate. {TOO_MUCH}"
        )
    units = list(together)
    order = [units[i] for i in generator(0, 0, "pool and test").permutation(len(units))]
    wanted = round(SHARE_OF_TEST_CASES * len(names))
    sizes = [len(together[unit]) for unit in order]
    # Without groups of several cases the choice is known, and its table may be too large for the memory.
    chosen = range(wanted) if max(sizes) == 1 else _choose(sizes, wanted, len(order) - LEAST_GROUPS)
    return sorted(case for i in chosen for case in together[order[i]])


def _choose(sizes: Sequence[int], wanted: int, most: int) -> list[int]:
    """The first of the choices of at least one and at most ``most`` of ``sizes`` whose sum is nearest to ``wanted``."""
    # No sum above this is nearer than the smallest size alone.
    top = max(2 * wanted, min(sizes))
    fewest = np.full((len(sizes) + 1, top + 1), len(sizes) + 1, np.int32)
    """Row i: how many of the sizes from i on make each sum, at the least."""
    fewest[len(sizes), 0] = 0
    for i in reversed(range(len(sizes))):
        fewest[i] = fewest[i + 1]
        if sizes[i] <= top:
            with_this = fewest[i + 1, : top + 1 - sizes[i]] + 1
            fewest[i, sizes[i] :] = np.minimum(fewest[i, sizes[i] :], with_this)
    sums = [int(s) for s in np.flatnonzero(fewest[0] <= most) if s > 0]
    left = min(sums, key=lambda s: (abs(s - wanted), s))
    chosen: list[int] = []
    for i, size in enumerate(sizes):
        if size <= left and fewest[i + 1, left - size] <= most - len(chosen) - 1:
            chosen.append(i)
            left -= size
    return chosen
