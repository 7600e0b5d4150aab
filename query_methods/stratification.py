"""Stratification: a share of a query is spread equally over the classes, each by its own scores (thesis 8.2, Algorithm 3).

The scores of class c are those of the map u_c = p_c u, with u the method's voxel score and p_c the members' mean
probability; for the predictive entropy that is the class-specific entropy (thesis Eq 8.1, D.1). The rest goes by u.
"""

from __future__ import annotations

from collections.abc import Iterable

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
