"""How well the annotators of one task agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from nnactive_ext.metrics.overlap import dice_per_case


def agreement(answers: Sequence[np.ndarray], classes: Mapping[str, Sequence[int]], ignore: int) -> dict[str, float]:
    """Dice per class between annotators, mean over pairs, on the voxels that both of a pair annotated; NaN for a class
    that no pair has there, empty for fewer than two answers."""
    pairs = []
    for first, second in combinations(answers, 2):
        compared = np.where(first == ignore, ignore, second)
        pairs.append(dice_per_case(first, compared, classes, ignore))
    if not pairs:
        return {}
    values = {name: [pair[name] for pair in pairs if not np.isnan(pair[name])] for name in classes}
    return {name: float(np.mean(found)) if found else float("nan") for name, found in values.items()}
