"""Our side: the engine called as a library, and the query method that is built on it."""

from __future__ import annotations

import numpy as np

from benchmarks.inputs import Inputs
from nnactive_ext.engine import box_means, select
from nnactive_ext.geometry.patch import Triple


def engine(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int) -> list[list[Triple]]:
    """Exact at stride 1, one stratum after the other; p_c H is never stored."""
    return [
        _choice(box_means(inputs.entropy, size, weight), size, picks, beta, np.random.default_rng([seed, stratum]))
        for stratum, weight in enumerate([None, *inputs.mean[1:]])
    ]


def _choice(scores: np.ndarray, size: Triple, picks: int, beta: float | None, rng: np.random.Generator) -> list[Triple]:
    return [pick.start for pick in select(scores, size, picks, beta=beta, rng=rng, overwrite_scores=True)]


def method(inputs: Inputs, size: Triple, picks: int, beta: float | None, seed: int) -> list[list[Triple]]:
    """What ``nnactive_query`` calls for one case: also checks the probabilities and computes the entropy from them."""
    from nnactive_ext.query_methods import methods
    from nnactive_ext.query_methods.base import Request, ScoredCase, Statistics

    classes = {channel: f"class {channel}" for channel in range(1, len(inputs.mean))}
    # The expected entropy is not used by this method; any map of its shape will do.
    statistics = Statistics(inputs.mean, inputs.entropy, frozenset(range(len(inputs.mean))))
    clasp_pe = methods.get("clasp_pe", beta=str(beta), patches_per_case=str(picks))
    ranking = clasp_pe.rank(ScoredCase("case", statistics, size), Request(picks, classes, seed))
    strata = ["all", *classes.values()]
    return [[c.patch.start for c in ranking.candidates if c.stratum == stratum] for stratum in strata]
