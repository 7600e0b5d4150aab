"""Scoring a case takes less than five float32 maps of it beyond its statistics."""

import tracemalloc

import numpy as np
import pytest

from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Request, ScoredCase, Statistics

SHAPE = (64, 64, 64)
OPTIONS = ("", "score=bald", "score=margin", "aggregation=max:4", "aggregation=threshold", "stride=2", "blocking=image")


@pytest.fixture(scope="module")
def case():
    mean = np.random.default_rng(0).dirichlet([0.3] * 4, SHAPE).astype(np.float32)
    mean = np.ascontiguousarray(np.moveaxis(mean, -1, 0))
    entropy = np.full(SHAPE, 0.1, np.float32)
    return ScoredCase("case", Statistics(mean, entropy, frozenset(range(4))), (16, 16, 16))


@pytest.mark.parametrize("options", OPTIONS)
def test_it_takes_less_than_five_maps(case, options):
    method = methods.get("clasp_pe", **dict(option.split("=") for option in options.split()))
    request = Request(20, {1: "a", 2: "b", 3: "c"})
    method.rank(case, request)  # compiles
    tracemalloc.start()
    method.rank(case, request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * case.statistics.expected_entropy.nbytes
