"""Perturbation: noise on patch scores, so that a query is spread over more than the very best windows.

The strength is beta, a number or a :class:`Schedule`; the larger, the closer to no noise. ``None`` is no noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("exponential", "linear")


@dataclass(frozen=True)
class Schedule:
    """beta from ``first`` in the first query to ``last`` when all planned queries are over (thesis Eq 8.2, D.4).

    ``exponential``: ln beta grows evenly; ``linear``: beta does.

    >>> [round(Schedule().at(t, queries=4), 2) for t in range(6)]
    [1.0, 3.16, 10.0, 31.62, 100.0, 100.0]
    """

    first: float = 1.0
    last: float = 100.0
    kind: str = "exponential"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a schedule is one of {', '.join(KINDS)}, not {self.kind!r}")
        _check_beta(self.first)
        _check_beta(self.last)

    def at(self, cycle: int, queries: int) -> float:
        """beta of the query of ``cycle`` (0 for the first) when ``queries`` are planned.

        From ``queries`` on it stays at ``last``, so an experiment may be extended (thesis D.5).
        """
        if cycle >= queries:
            return self.last
        done = cycle / queries
        if self.kind == "linear":
            return (1 - done) * self.first + done * self.last
        return float(np.exp((1 - done) * np.log(self.first) + done * np.log(self.last)))


Beta = float | Schedule | None
"""A constant, a schedule, or None for no noise."""


def parse_beta(text: str) -> Beta:
    """``none``, a number, or a schedule ``first:last`` (exponential) or ``linear:first:last``; else ValueError.

    >>> parse_beta("10"), parse_beta("1:100")
    (10.0, Schedule(first=1.0, last=100.0, kind='exponential'))
    """
    if text.lower() == "none":
        return None
    if ":" not in text:
        return _check_beta(float(text))
    *kind, first, last = text.split(":")
    return Schedule(float(first), float(last), ":".join(kind) or KINDS[0])


def beta_at(beta: Beta, cycle: int, queries: int) -> float | None:
    """The strength in this cycle: a number, or None for no noise."""
    return beta.at(cycle, queries) if isinstance(beta, Schedule) else beta


def perturbed(scores: np.ndarray, beta: float | None, rng: np.random.Generator) -> np.ndarray:
    """Keys to rank patches by, of the shape of ``scores`` (at least 0).

    Without ``beta`` the scores themselves. With it ln s + e, e ~ Gumbel(0, 1/beta) for each window (power perturbation,
    thesis Eq 3.3, 7.1, D.2): the best key is then drawn with probability proportional to s^beta. A score of 0 gives
    -inf, whatever the noise.
    """
    if beta is None:
        return scores
    keys = rng.gumbel(0, 1 / beta, scores.shape)
    with np.errstate(divide="ignore"):
        keys += np.log(scores, dtype=np.float64)
    return keys


def _check_beta(beta: float) -> float:
    if not 0 < beta < np.inf:
        raise ValueError(f"beta must be a positive number, not {beta}")
    return beta
