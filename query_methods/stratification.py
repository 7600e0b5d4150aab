"""Stratification: a share of a query is spread equally over the classes, each by its own scores (thesis 8.2, Algorithm 3).

The scores of class c are those of the map u_c = p_c u, with u the method's voxel score and p_c the members' mean
probability; for the predictive entropy that is the class-specific entropy (thesis Eq 8.1, D.1). The rest goes by u.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def class_shares(n: int, alpha: float, classes: Iterable[int], rng: np.random.Generator) -> dict[int, int]:
    """Patches for each class, n_s = round(alpha n) in all; the other n - n_s are left to the unstratified part.

    Every class gets the same number, and classes drawn at random one more where it does not divide; with more classes
    than patches some get 0. Halves are rounded to even (n_s = 2 for alpha n = 2.5). Without classes: an empty dict.

    >>> class_shares(10, 0.6, [1, 2, 3], np.random.default_rng(0))
    {1: 2, 2: 2, 3: 2}
    """
    classes = sorted(classes)
    if not classes:
        return {}
    each, rest = divmod(round(alpha * n), len(classes))
    lucky = set(rng.permutation(classes)[:rest].tolist())
    return {c: each + (c in lucky) for c in classes}


def earned_shares(shares: Mapping[int, int], earned: Mapping[int, float], rng: np.random.Generator) -> dict[int, int]:
    """What the classes keep of their equal ``shares`` (:func:`class_shares`): the share ``earned``, 0 to 1, of each.

    Rounded at random so that the mean is right, because equal shares of many classes are one or two patches each. A class that
    ``earned`` does not name keeps its share. Values above 1 count as 1, those below 0 as 0.

    >>> earned_shares({1: 4, 2: 4, 3: 4}, {1: 1.0, 2: 0.5}, np.random.default_rng(0))
    {1: 4, 2: 2, 3: 4}
    """
    return {
        c: min(share, int(share * min(max(earned.get(c, 1.0), 0.0), 1.0) + draw))
        for (c, share), draw in zip(sorted(shares.items()), rng.random(len(shares)).tolist(), strict=True)
    }
