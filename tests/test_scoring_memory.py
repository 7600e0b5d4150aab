"""Scoring a case takes less than five float32 maps of it beyond its statistics, for each stratum that is ranked at once."""

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
def test_it_takes_less_than_five_maps(case, options, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    method = methods.get("clasp_pe", **dict(option.split("=") for option in options.split()))
    request = Request(20, {1: "a", 2: "b", 3: "c"})
    method.rank(case, request)  # compiles
    tracemalloc.start()
    method.rank(case, request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * case.statistics.expected_entropy.nbytes


def test_strata_that_are_ranked_at_once_are_ranked_as_one_after_another(case, monkeypatch):
    method, request = methods.get("clasp_pe"), Request(20, {1: "a", 2: "b", 3: "c"})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = method.rank(case, request)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert method.rank(case, request) == alone
    tracemalloc.start()
    method.rank(case, request)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 5 * case.statistics.expected_entropy.nbytes
