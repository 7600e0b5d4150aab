"""What selections say about degenerate input, and what they do when nothing tells candidates apart."""

from __future__ import annotations

import warnings

import numpy as np


class SelectionWarning(UserWarning):
    """The descriptors left a selection without its usual criterion; the message says what was done instead."""


def warn(message: str) -> None:
    warnings.warn(message, SelectionWarning, stacklevel=3)


def at_random(free: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` different indices, int64, among those that are True in ``free`` (N,), uniformly; all of them if there are fewer."""
    indices = np.flatnonzero(free)
    return rng.choice(indices, min(n, len(indices)), replace=False)
