"""Shares of the classes, and what merging does with them."""

from collections import Counter

import numpy as np
import pytest
from fakes import CLASSES, World, from_members, run, world
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from nnactive_ext.patch import Patch
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import PoolCase, Ranking, Request, ScoredPatch
from nnactive_ext.query_methods.selection import merge
from nnactive_ext.query_methods.stratification import class_shares


@given(st.integers(0, 200), st.floats(0, 1), st.integers(1, 20), st.integers(0, 100))
def test_shares_are_equal_up_to_one_and_sum_up(n, alpha, classes, seed):
    shares = class_shares(n, alpha, range(1, classes + 1), np.random.default_rng(seed))
    assert list(shares) == list(range(1, classes + 1))
    assert sum(shares.values()) == round(alpha * n) <= n
    assert max(shares.values()) - min(shares.values()) <= 1


def test_the_remainder_goes_to_random_classes():
    counts = Counter()
    for seed in range(600):
        shares = class_shares(5, 1, [3, 1, 2], np.random.default_rng(seed))
        counts[min(shares, key=shares.get)] += 1
    assert chisquare([counts[c] for c in (1, 2, 3)]).pvalue > 1e-3


def test_no_class_no_share():
    assert class_shares(5, 0.66, [], np.random.default_rng(0)) == {}


def line(*candidates, predicted=(1, 2), case="a"):
    """A ranking along x of 1x1x2 patches: (x, key, stratum)."""
    return Ranking(
        tuple(ScoredPatch(Patch(case, (0, 0, x), (1, 1, 2)), key, key, stratum) for x, key, stratum in candidates),
        frozenset(predicted),
    )


def pool(*names, annotated=()):
    return {
        name: PoolCase(name, (1, 1, 40), (1, 1, 2), [Patch(name, (0, 0, x), (1, 1, 2)) for x in annotated]) for name in names
    }


def chosen(query):
    return [(p.patch.case, p.patch.start[2], p.stratum) for p in query.patches]


def test_best_first_over_all_cases_and_ties_by_name_then_position():
    rankings = {
        "b": line((9, 5, "all"), (4, 3, "all"), (2, 3, "all"), case="b"),
        "a": line((7, 3, "all"), (20, 1, "all")),
    }
    query = merge(rankings, pool("b", "a"), Request(4, CLASSES))
    assert chosen(query) == [("b", 9, "all"), ("a", 7, "all"), ("b", 2, "all"), ("b", 4, "all")]


def test_annotated_places_are_skipped():
    query = merge({"a": line((4, 2, "all"), (8, 1, "all"))}, pool("a", annotated=[5]), Request(1, CLASSES))
    assert chosen(query) == [("a", 8, "all")]


def test_strata_give_way_to_what_was_chosen_before():
    rankings = {"a": line((0, 9, "all"), (10, 8, "all"), (20, 7, "all"), (1, 5, "liver"), (11, 5, "tumour"))}
    query = merge(rankings, pool("a"), Request(3, CLASSES), alpha=0.66)
    assert sorted(chosen(query)) == [("a", 1, "liver"), ("a", 11, "tumour"), ("a", 20, "all")]
    assert query.missing == 0


def test_the_order_of_classes_is_random_and_decides_conflicts():
    rankings = {"a": line((0, 1, "liver"), (1, 1, "tumour"), (10, 1, "all"))}
    first = Counter(chosen(merge(rankings, pool("a"), Request(2, CLASSES, seed), alpha=1))[0] for seed in range(60))
    assert set(first) == {("a", 0, "liver"), ("a", 1, "tumour")}


def test_a_dry_class_is_topped_up_from_the_rest():
    rankings = {"a": line((0, 1, "liver"), (10, 9, "all"), (20, 8, "all"), (30, 7, "all"), (2, 1, "tumour"))}
    query = merge(rankings, pool("a"), Request(4, CLASSES), alpha=1)
    assert Counter(stratum for _, _, stratum in chosen(query)) == {"liver": 1, "tumour": 1, "all": 2}


def test_classes_help_out_when_the_rest_is_dry():
    rankings = {"a": line((0, 4, "liver"), (10, 3, "liver"), (20, 2, "liver"), predicted=[1])}
    query = merge(rankings, pool("a"), Request(3, CLASSES), alpha=0.66)
    assert len(query.patches) == 3
    assert query.missing == 0


def test_a_class_predicted_nowhere_leaves_its_share_to_the_rest():
    rankings = {"a": line((0, 1, "liver"), (2, 9, "tumour"), (10, 9, "all"), (20, 8, "all"), predicted=[1])}
    query = merge(rankings, pool("a"), Request(3, CLASSES), alpha=0.66)
    assert sorted(chosen(query)) == [("a", 0, "liver"), ("a", 10, "all"), ("a", 20, "all")]
    assert any("tumour" in warning for warning in query.warnings)
    assert not any("liver" in warning for warning in query.warnings)


def test_predicted_in_one_case_is_enough():
    rankings = {"a": line((0, 1, "liver"), predicted=[1]), "b": line((4, 9, "tumour"), predicted=[2], case="b")}
    query = merge(rankings, pool("a", "b"), Request(2, CLASSES), alpha=1)
    assert {stratum for _, _, stratum in chosen(query)} == {"liver", "tumour"}
    assert not query.warnings


def test_what_is_missing_is_said():
    query = merge({"a": line((0, 1, "all"))}, pool("a"), Request(5, CLASSES))
    assert (len(query.patches), query.missing, len(query.warnings)) == (1, 4, 1)


def test_a_ranking_of_an_unknown_case_is_refused():
    with pytest.raises(ValueError, match="b"):
        merge({"b": line(case="b")}, pool("a"), Request(1, CLASSES))


def test_what_a_class_overlaps_leaves_the_rest_others():
    # The class's best patch lies across the two best of the unstratified part, which are all it would need at first.
    p = np.full((1, 1, 1, 40), 0.01)
    p[..., :8] = [0.5, 0.5, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5]
    w = World((1, 1, 4), {"a": np.zeros((1, 1, 40))}, {"a": from_members(np.stack([1 - p, p], axis=1))})
    query = run(methods.get("predictive_entropy", alpha="0.5"), w, Request(2, {1: "liver"}))
    assert chosen(query)[0] == ("a", 2, "liver")
    assert [stratum for _, _, stratum in chosen(query)] == ["liver", "all"]


def test_a_single_large_image_is_enough():
    single = world(cases=1, shape=(16, 40, 40), size=(4, 4, 4))
    for name in ("cla_pe_66", "clap_pe"):
        for seed in range(5):
            query = run(methods.get(name), single, Request(30, CLASSES, seed))
            assert query.missing == 0
            assert Counter(p.stratum for p in query.patches) == {"liver": 10, "tumour": 10, "all": 10}


def test_each_class_is_ranked_by_its_own_map():
    w = world(cases=1)
    request = Request(4, CLASSES)
    ranking = methods.get("cla_pe_66").rank(w.scored("case_0"), request)
    mean = w.statistics["case_0"].mean.astype(float)
    entropy = -(mean * np.log(mean)).sum(axis=0)
    for label, name in CLASSES.items():
        best = next(c for c in ranking.candidates if c.stratum == name)
        scores = [
            (mean[label] * entropy)[Patch("case_0", start, w.size).slices].mean()
            for start in np.ndindex(*(n - s + 1 for n, s in zip(entropy.shape, w.size, strict=True)))
        ]
        assert best.score == pytest.approx(max(scores), rel=1e-5)


def test_patches_per_case_limits_each_stratum():
    ranking = methods.get("clap_pe", patches_per_case="2").rank(world(1).scored("case_0"), Request(9, CLASSES))
    assert Counter(c.stratum for c in ranking.candidates) == {"all": 2, "liver": 2, "tumour": 2}
