"""Perturbation: noise on patch scores, so that a query is spread over more than the very best windows.

The strength is beta, a number or a :class:`Schedule`; the larger, the closer to no noise. ``None`` is no noise. With it, the
keys that patches are ranked by are, with e ~ Gumbel(0, 1/beta) drawn apart for each patch, stratum and cycle:

* ``power``: ln s + e for every window of score s (thesis Eq 3.3, 7.1, D.2); the best is then drawn with probability
  proportional to s^beta, and windows of score 0 come last. :func:`nnactive_ext.engine.select` draws it.
* ``softrank``: -ln r + e for the r-th best candidate of the whole pool (thesis Eq 3.5), proportional to r^-beta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PERTURBATIONS = ("power", "softrank")
KINDS = ("exponential", "linear", "sigmoid")
STEEPNESS = 10.0
"""Of the sigmoid schedule: the logistic curve's argument goes from -5 to 5 over the planned queries."""


@dataclass(frozen=True)
class Schedule:
    """beta from ``first`` in the first query to ``last`` when all planned queries are over (thesis Eq 8.2, D.4).

    With x = t / T, the share of the planned queries that are over:

    * ``exponential``: ln beta grows evenly, beta = first (last / first)^x;
    * ``sigmoid``: beta = first (last / first)^s(x), s(x) = (f(x) - f(0)) / (f(1) - f(0)), f(x) = 1 / (1 + exp(-10 (x - 1/2))),
      so that it stays near either end longer, and is exact at both;
    * ``linear``: beta = first + x (last - first).

    >>> [round(Schedule().at(t, queries=4), 2) for t in range(6)]
    [1.0, 3.16, 10.0, 31.62, 100.0, 100.0]
    """

    first: float = 1.0
    last: float = 100.0
    kind: str = KINDS[0]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a schedule is one of {', '.join(KINDS)}, not {self.kind!r}")
        check_beta(self.first)
        check_beta(self.last)

    def at(self, cycle: int, queries: int) -> float:
        """beta of the query of ``cycle`` (0 for the first) when ``queries`` are planned.

        From ``queries`` on it stays at ``last``, so an experiment may be extended (thesis D.5).
        """
        if cycle >= queries:
            return self.last
        done = cycle / queries
        if self.kind == "linear":
            return (1 - done) * self.first + done * self.last
        if self.kind == "sigmoid":
            start, here, end = (float(1 / (1 + np.exp(-STEEPNESS * (x - 0.5)))) for x in (0.0, done, 1.0))
            done = (here - start) / (end - start)
        return self.first * (self.last / self.first) ** done

    def __str__(self) -> str:
        return f"{self.first:g} to {self.last:g} over the planned queries ({self.kind})"


Beta = float | Schedule | None
"""A constant, a schedule, or None for no noise."""


def parse_beta(text: str) -> Beta:
    """``none``, a number, or a schedule ``first:last`` (exponential) or ``KIND:first:last``; else ValueError.

    >>> parse_beta("10"), parse_beta("1:100")
    (10.0, Schedule(first=1.0, last=100.0, kind='exponential'))
    """
    if text.lower() == "none":
        return None
    if ":" not in text:
        return check_beta(float(text))
    *kind, first, last = text.split(":")
    return Schedule(float(first), float(last), ":".join(kind) or KINDS[0])


def check_beta(beta: float) -> float:
    """``beta``; ValueError unless it is a positive number."""
    if not 0 < beta < np.inf:
        raise ValueError(f"beta must be a positive number, not {beta}")
    return beta


def beta_at(beta: Beta, cycle: int, queries: int) -> float | None:
    """The strength in this cycle: a number, or None for no noise."""
    return beta.at(cycle, queries) if isinstance(beta, Schedule) else beta


def softrank_keys(candidates: int, beta: float, rng: np.random.Generator) -> np.ndarray:
    """-ln r + e, e ~ Gumbel(0, 1/beta), for the ranks r = 1 (the best) to ``candidates`` (thesis Eq 3.5)."""
    return rng.gumbel(0, 1 / beta, candidates) - np.log(np.arange(1, candidates + 1))
