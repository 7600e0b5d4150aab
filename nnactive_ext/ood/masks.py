"""How much members disagree about where the foreground of a case is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nnactive_ext.metrics.ambiguity import Disagreement


def disagreement(masks: Iterable[np.ndarray]) -> float:
    """1 - the mean pairwise Dice of the members' foreground (Zenk et al., MedIA 2025, as a score of failures).

    Args:
        masks: of each member bool (z, y, x), any foreground class; they are read one by one and kept as bits.

    Returns:
        0 (all alike, also all empty) to 1; NaN for fewer than two members.

    >>> round(1 - disagreement(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], bool)), 5)
    0.65556
    """
    members = Disagreement()
    for mask in masks:
        members.add(mask)
    return members.value
