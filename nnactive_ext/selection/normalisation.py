"""Descriptors brought to one scale before they are compared."""

from __future__ import annotations

from typing import Literal

import numpy as np


def normalised(
    candidates: np.ndarray, annotated: np.ndarray, how: Literal["none", "unit", "standard"]
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates and annotated, brought to one scale.

    Args:
        candidates: float (N, D).
        annotated: float (M, D).
        how: ``unit``: each vector is divided by its length; zero stays zero. ``standard``: each dimension is divided by
            its standard deviation over candidates and annotated, by 1 where that is 0, and not centred, as nnActive does.
            ``none``: as they are.

    Returns:
        Both as float32.

    Raises:
        ValueError: another word.
    """
    both = np.concatenate([candidates, annotated]).astype(np.float64)
    if how == "unit":
        length = np.linalg.norm(both, axis=1, keepdims=True)
        both /= np.where(length > 0, length, 1)
    elif how == "standard":
        deviation = both.std(0)
        # The deviation of equal values is rounding, not 0.
        both /= np.where(deviation > 1e-12 * np.abs(both).max(0, initial=0), deviation, 1)
    elif how != "none":
        raise ValueError(f"normalise={how} is not known. Choose none, unit or standard.")
    both = both.astype(np.float32)
    return both[: len(candidates)], both[len(candidates) :]
