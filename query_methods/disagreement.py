"""Whether a query method needs members that disagree: its scores say nothing where there is only one."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods.base import RankedMethod, Request, ScoredCase, Statistics
from nnactive_ext.query_methods.scores import SCORES, Score, predictive_entropy
from nnactive_ext.query_methods.uncertainty import Uncertainty
from nnactive_ext.words import enumerated, plural

_SHAPE = (6, 6, 6)
_SIZE = (2, 2, 2)
_ROUNDING = 1e-5
"""Of float32 sums over a few channels; what scores differ by is larger by orders of magnitude in the probe."""


def least_members(part: RankedMethod | Score, channels: int = 3, regions: bool = False) -> int:
    """The members that a method or a voxel score needs: 2 where its scores tell how much members disagree, else 1.

    A method, or its score, says so with an attribute ``least_members``. Without one it is tried on made-up statistics: it
    needs 2 members if its scores are equal (or NaN) everywhere for one member, but not for two that disagree. Scores that
    are equal for both, or that cannot be computed, need 1.

    Args:
        part: a method, or a score of voxels.
        channels: of the probabilities, background included unless ``regions``.
        regions: whether channels are regions that may overlap.
    """
    score = part.score if isinstance(part, Uncertainty) else None
    for one in (part, score):
        if isinstance(declared := getattr(one, "least_members", None), int):
            return declared
    tried = score or part
    alone, together = (_scores(tried, _statistics(members, max(channels, 2 - regions), regions)) for members in (1, 2))
    return 2 if alone is not None and together is not None and _flat(alone) and not _flat(together) else 1


def check_members_needed(method: RankedMethod, members: int, request: Request, regions: bool, those_there: str) -> None:
    """A method that needs more members than are asked is an error; ``those_there`` tells which folds there are."""
    channels = len(request.classes) + (0 if regions else 1)
    needed = least_members(method, channels, regions)
    if members >= needed:
        return
    others = [name for name, score in SCORES.items() if least_members(score, channels, regions) <= members]
    instead = f", such as --method {others[0]}, or score={others[0]} (also {enumerated(others[1:])})" if others else ""
    raise NnActiveError(
        f"The query method {method.name} scores how much members disagree and needs {needed} of them or more; {members} "
        f"{plural(members, 'is', 'are')} asked, and its scores would be rounding errors. Ask more members ({those_there}), or "
        f"choose a method whose score works with {members}{instead}."
    )


def _statistics(members: int, channels: int, regions: bool) -> Statistics:
    """Of members that are unsure in all voxels, each in other ones; a single one has no disagreement to the last bit."""
    logits = 2 * np.random.default_rng(0).normal(size=(members, channels, *_SHAPE))
    exponentials = np.exp(logits)
    p = exponentials / (1 + exponentials) if regions else exponentials / exponentials.sum(axis=1, keepdims=True)
    energy = -(np.log1p(exponentials).sum(axis=1) if regions else np.log(exponentials.sum(axis=1))).mean(axis=0)

    def of(mean: np.ndarray) -> Statistics:
        zero = np.zeros(_SHAPE, np.float32)
        return Statistics(mean.astype(np.float32), zero, frozenset(range(channels)), regions, energy.astype(np.float32))

    entropies = np.mean([predictive_entropy(of(one)) for one in p], axis=0)
    return replace(of(p.mean(axis=0)), expected_entropy=entropies.astype(np.float32))


def _scores(part: Any, statistics: Statistics) -> np.ndarray | None:
    """The voxel scores, or a method's patch scores by place; None where they cannot be computed from these statistics."""
    channels = range(len(statistics.mean))
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if callable(part):
                return np.asarray(part(statistics), dtype=float)
            classes = {c: f"class {c}" for c in (channels if statistics.regions else channels[1:])}
            found = part.rank(ScoredCase("a case", statistics, _SIZE), Request(8, classes))
            return np.array([candidate.score for candidate in found.candidates], dtype=float)
    except Exception:  # somebody's own code, which the real statistics may suit better
        return None


def _flat(scores: np.ndarray) -> bool:
    finite = scores[np.isfinite(scores)]
    return finite.size < 2 or float(np.ptp(finite)) < _ROUNDING
