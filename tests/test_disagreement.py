"""Methods whose scores tell how much members disagree are refused with one member; all others work with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from fake_members import FakeEnsemble, fake_train
from fakes import CLASSES, from_members, shown_methods

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Query, RankedMethod, Ranking, Request, ScoredPatch
from nnactive_ext.query_methods.disagreement import check_members_needed, least_members
from nnactive_ext.query_methods.scores import SCORES, bald, expected_entropy, predictive_entropy
from nnactive_ext.query_methods.uncertainty import Uncertainty
from nnactive_ext.querying.query import query_cycle


def ratio(statistics):
    """How much of the entropy is disagreement."""
    return bald(statistics) / predictive_entropy(statistics)


def scaled(statistics, factor=1.0):
    return factor * bald(statistics)


def normalised(statistics):
    found = bald(statistics)
    return found / found.max()


def mixed(statistics):
    return bald(statistics) + expected_entropy(statistics)


def constant(statistics):
    return np.ones(statistics.mean.shape[1:], np.float32)


def broken(statistics):
    raise RuntimeError("needs real statistics")


NEEDS_TWO = [bald, ratio, partial(scaled, factor=100.0), normalised, lambda s: predictive_entropy(s) - s.expected_entropy]
NEEDS_ONE = [predictive_entropy, expected_entropy, mixed, constant, broken, SCORES["energy"], SCORES["margin"]]


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("channels", [2, 3, 9])
def test_it_is_derived_from_the_score(channels, regions):
    assert [least_members(score, channels, regions) for score in NEEDS_TWO] == [2] * len(NEEDS_TWO)
    assert [least_members(score, channels, regions) for score in NEEDS_ONE] == [1] * len(NEEDS_ONE)


@pytest.mark.parametrize("name", ["clasp_pe", "cla_pe_33", "power_pe", "predictive_entropy"])
def test_the_score_decides_whatever_the_methods_name(name):
    assert least_members(methods.get(name)) == 1
    assert least_members(methods.get(name, score="bald")) == 2
    assert least_members(methods.get("power_bald", score="margin")) == 1


def test_what_a_score_or_method_declares_counts():
    def asks_three(statistics):
        return predictive_entropy(statistics)

    asks_three.least_members = 3
    method = Uncertainty("mine", asks_three)
    assert least_members(method) == 3
    with pytest.raises(NnActiveError, match="needs 3"):
        check_members_needed(method, 2, Request(1, CLASSES), False, "folds 0 to 4")
    check_members_needed(method, 3, Request(1, CLASSES), False, "")


@dataclass(frozen=True)
class Whole:
    """A method that is no Uncertainty."""

    score: object
    name: str = "whole"
    needs_reference: bool = False

    def rank(self, case, request):
        values = self.score(case.statistics)
        picks = [(0, 0, 0), (2, 2, 2), (4, 4, 4)]
        from nnactive_ext.geometry.patch import Patch

        found = [ScoredPatch(Patch(case.name, at, case.patch_size), float(values[at]), 0.0, "all") for at in picks]
        return Ranking(tuple(found), frozenset())

    def merge(self, rankings, pool, request):
        return Query(())


def test_a_whole_method_of_ones_own_is_tried_too():
    assert isinstance(Whole(bald), RankedMethod)
    assert least_members(Whole(bald)) == 2
    assert least_members(Whole(mixed)) == 1
    assert least_members(Whole(broken)) == 1


def test_the_methods_of_the_page_work_with_one(tmp_path):
    assert least_members(methods.get(f"{shown_methods(tmp_path)}:gini_spread")) == 1


def ask(experiment, folds, **options):
    opened = []

    def open_ensemble(experiment, folds):
        opened.append(folds)
        return FakeEnsemble(experiment, classes=3)

    query = query_cycle(experiment, open_ensemble, folds, progress=False, **options)
    return query, opened


@pytest.mark.parametrize(
    ("method", "options"), [("bald", {}), ("softrank_bald", {}), ("clasp_pe", {"score": "bald"}), ("own", {})]
)
def test_one_member_is_refused_before_anything_is_scored(planned, tmp_path, method, options):
    if method == "own":
        file = tmp_path / "own.py"
        file.write_text(
            "from nnactive_ext.query_methods.scores import bald\n"
            "from nnactive_ext.query_methods.uncertainty import Uncertainty\n"
            "mine = Uncertainty('mine', lambda statistics: 3 * bald(statistics))\n"
        )
        method = f"{file}:mine"
    fake_train(planned, 0)
    with pytest.raises(NnActiveError, match="predictive_entropy") as caught:
        ask(planned, [0], method=method, options=options)
    assert "0, 1, 2" in str(caught.value)
    assert planned.last_loop == 0
    assert not (planned.results / "cycle_000").exists()


def test_two_members_are_enough_and_one_for_others(planned):
    for fold in planned.folds():
        fake_train(planned, fold)
    query, opened = ask(planned, [0, 2], method="bald")
    assert len(query.patches) == 4
    assert opened == [[0, 2]]
    (planned.raw / "loop_001.json").unlink()
    assert len(ask(planned, [1], method="margin")[0].patches) == 4


def test_one_member_has_scores_that_are_no_rounding():
    """The reason: what is left of the mutual information of one member is the rounding of two sums."""
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=(1, 8, 8, 8)).transpose(0, 4, 1, 2, 3)
    alone = from_members(p)
    assert bald(alone).max() < 1e-5
    for name, score in SCORES.items():
        if least_members(score) == 1 and name != "energy":
            assert np.ptp(score(alone)) > 1e-2, name
    assert least_members(bald) == 2
