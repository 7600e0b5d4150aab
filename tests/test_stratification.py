"""Shares of the classes, and what merging does with them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fakes import CLASSES, World, from_members, run, world
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from nnactive_ext.engine import largest_product, most_of_a_race, select
from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import PoolCase, Ranking, Request, ScoredPatch
from nnactive_ext.query_methods.selection import Floors, Strata, merge
from nnactive_ext.query_methods.stratification import class_shares
from nnactive_ext.randomness import generator


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


def test_a_class_spends_its_share_on_no_patch_that_scores_nothing():
    """Such a patch holds nothing that the members are uncertain about."""
    rankings = {"a": line((0, 0, "liver"), (10, 9, "all"), (20, 8, "all"), predicted=[1])}
    assert chosen(merge(rankings, pool("a"), Request(2, CLASSES), alpha=1)) == [("a", 10, "all"), ("a", 20, "all")]


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
    query = merge({"a": line((0, 1, "all"))}, pool("a"), Request(5, CLASSES), fill_gaps=False)
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


def test_softrank_ranks_over_the_whole_pool_and_ties_by_name_then_position():
    """With hardly any noise the order is that of the ranks, whose keys do not repeat; with noise it is another."""
    rankings = {
        "b": line((9, 5, "all"), (4, 3, "all"), (2, 3, "all"), case="b"),
        "a": line((7, 3, "all"), (20, 1, "all")),
    }
    query = merge(rankings, pool("b", "a"), Request(5, CLASSES), softrank=1e9)
    assert chosen(query) == [("b", 9, "all"), ("a", 7, "all"), ("b", 2, "all"), ("b", 4, "all"), ("a", 20, "all")]
    np.testing.assert_allclose([p.key for p in query.patches], -np.log([1, 2, 3, 4, 5]), atol=1e-6)
    assert [p.score for p in query.patches] == [5, 3, 3, 3, 1]
    seen = {tuple(chosen(merge(rankings, pool("b", "a"), Request(5, CLASSES, seed), softrank=1.0))) for seed in range(9)}
    assert len(seen) > 3


def test_softrank_chooses_the_best_as_often_as_it_should():
    rankings = {"a": line((0, 9, "all"), (10, 1, "all")), "b": line((0, 3, "all"), case="b")}
    counts = Counter(
        chosen(merge(rankings, pool("a", "b"), Request(1, CLASSES, seed), softrank=1.0))[0] for seed in range(2000)
    )
    expected = np.array([1, 1 / 2, 1 / 3]) / (1 + 1 / 2 + 1 / 3) * 2000
    assert chisquare([counts["a", 0, "all"], counts["b", 0, "all"], counts["a", 10, "all"]], expected).pvalue > 1e-3


def test_softrank_draws_apart_for_each_stratum_and_leaves_the_rankings_as_they_were():
    candidates = [(x, 9 - x, stratum) for stratum in ("liver", "tumour") for x in range(0, 16, 2)]
    method = methods.get("clap_pe", perturbation="softrank", alpha="1")
    rankings = {"a": line(*candidates, predicted=[1]), "b": line(*candidates, predicted=[2], case="b")}
    query = method.merge(rankings, pool("a", "b"), Request(8, CLASSES))
    starts = {s: [p.patch for p in query.patches if p.stratum == s] for s in ("liver", "tumour")}
    assert starts["liver"] != starts["tumour"]
    ranking = method.rank(world(1).scored("case_0"), Request(4, CLASSES))
    assert all(c.key == c.score for c in ranking.candidates), "ranks are known when all cases are"


def test_overlap_is_a_share_of_the_union():
    """Patches of two voxels along x: half of one may be covered, by one neighbour but not by two."""
    rankings = {"a": line((10, 9, "all"), (12, 8, "all"), (11, 7, "all"), (13, 6, "all"), (20, 5, "all"))}
    query = merge(rankings, pool("a"), Request(5, CLASSES), overlap=0.5, fill_gaps=False)
    assert chosen(query) == [("a", 10, "all"), ("a", 12, "all"), ("a", 13, "all"), ("a", 20, "all")]
    query = merge(rankings, pool("a", annotated=[5, 14]), Request(5, CLASSES), overlap=0.5, fill_gaps=False)
    assert chosen(query) == [("a", 10, "all"), ("a", 12, "all"), ("a", 20, "all")]


def test_candidates_may_overlap_the_annotated_by_the_allowed_share():
    w = world(1)
    w.annotated["case_0"] = [Patch("case_0", (3, 3, 3), (6, 6, 6)), Patch("case_0", (8, 9, 5), (4, 4, 4))]
    overlapping = {}
    for overlap in ("0", "0.3"):
        ranking = methods.get("cla_pe_66", overlap=overlap).rank(w.scored("case_0"), Request(20, CLASSES))
        overlapping[overlap] = sum(c.patch.overlaps_any(w.annotated["case_0"]) for c in ranking.candidates)
    assert overlapping["0"] == 0 < overlapping["0.3"]


def test_candidates_that_classes_overlap_do_not_leave_the_rest_short():
    """However much patches may overlap, the classes' choices do not use the list of the rest up."""
    for overlap in ("0.3", "0.6"):
        for seed in range(3):
            single = world(1, shape=(12, 16, 14), size=(3, 3, 3), seed=seed)
            query = run(methods.get("cla_pe_66", overlap=overlap), single, Request(30, CLASSES, seed))
            assert Counter(p.stratum for p in query.patches) == {"liver": 10, "tumour": 10, "all": 10}


def test_blocking_in_the_image_lets_no_candidates_overlap_and_hands_small_images_to_one_class():
    w = world(6, shape=(4, 5, 12), size=(4, 5, 6))  # room for two patches
    request = Request(12, CLASSES)
    method = methods.get("cla_pe_66", blocking="image")
    seen = set()
    for name in w.references:
        candidates = method.rank(w.scored(name), request).candidates
        assert not any(c.patch.overlaps_any(d.patch for d in candidates if d is not c) for c in candidates)
        seen.add(frozenset(c.stratum for c in candidates))
    assert seen == {frozenset({"liver"}), frozenset({"tumour"})}
    merged = methods.get("cla_pe_66").rank(w.scored("case_0"), request)
    assert {c.stratum for c in merged.candidates} == {"liver", "tumour", "all"}


def test_blocking_in_the_image_keeps_only_what_a_class_can_get():
    single = world(1, shape=(16, 40, 40), size=(4, 4, 4))
    request = Request(30, CLASSES)
    ranking = methods.get("cla_pe_66", blocking="image").rank(single.scored("case_0"), request)
    assert Counter(c.stratum for c in ranking.candidates) == {"liver": 10, "tumour": 10, "all": 30}
    query = run(methods.get("cla_pe_66", blocking="image"), single, request)
    assert Counter(p.stratum for p in query.patches) == {"liver": 10, "tumour": 10, "all": 10}


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("cla_pe_66", {}, "alpha=0"),
        ("power_pe", {}, "perturbation=softrank"),
        ("predictive_entropy", {"aggregation": "threshold"}, "aggregation"),
    ],
)
def test_a_score_that_may_be_negative_is_refused_where_it_cannot_be_used(name, options, word):
    with pytest.raises(NnActiveError, match=f"energy.*negative.*{word}"):
        methods.get(name, score="energy", **options)
    negative = replace(methods.get(name, **options), score=lambda statistics: -statistics.mean[0])
    with pytest.raises(NnActiveError, match=f"case_0.*-0.*{word}"):
        negative.rank(world(1).scored("case_0"), Request(3, CLASSES))


@pytest.mark.parametrize(
    ("score", "word"),
    [
        (lambda statistics: statistics.mean, "shape"),
        (lambda statistics: statistics.mean[0] / 0, "NaN or infinite"),
        (lambda statistics: np.full(statistics.mean.shape[1:], np.nan), "NaN or infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_score_that_is_none_is_an_error_that_names_the_case(score, word):
    method = replace(methods.get("predictive_entropy"), score=score)
    with pytest.raises(NnActiveError, match=f"case_0.*{word}"):
        method.rank(world(1).scored("case_0"), Request(3, CLASSES))


def test_an_aggregation_that_returns_the_map_itself_does_not_spoil_it():
    """Patches of one voxel: the scores may be the map, which the next stratum needs too."""
    w = world(1, size=(1, 1, 1))
    method = methods.get("cla_pe_66")
    itself = replace(method, aggregation=lambda m, weight, *_: m if weight is None else np.clip(weight, 0, 1) * m)
    expected, got = (m.rank(w.scored("case_0"), Request(9, CLASSES)) for m in (method, itself))
    assert [c.patch for c in got.candidates] == [c.patch for c in expected.candidates]


def test_patches_per_case_limits_each_stratum():
    ranking = methods.get("clap_pe", patches_per_case="2").rank(world(1).scored("case_0"), Request(9, CLASSES))
    assert Counter(c.stratum for c in ranking.candidates) == {"all": 2, "liver": 2, "tumour": 2}


def lesion_nowhere(seed: int, shape=(6, 9, 8), regions: bool = False) -> World:
    """Two cases whose members never predict the tumour, although its probability is not nothing."""
    size, found = (2, 3, 3), {}
    for case in ("a", "b"):
        rng = np.random.default_rng([seed, ord(case)])
        liver, tumour = rng.uniform(0, 1, (3, *shape)), rng.uniform(0, 0.3, (3, *shape))
        share = np.stack([np.where(liver > 0.5, 0.02, 0.66 - tumour), np.where(liver > 0.5, 0.9 - tumour, 0.34), tumour], 1)
        found[case] = from_members(share[:, 1:] if regions else share / share.sum(axis=1, keepdims=True), regions)
        assert (1 if regions else 2) not in found[case].predicted
    return World(size, {case: np.zeros(shape) for case in found}, found)


def slowly(w: World, stratum: int, n: int) -> list[tuple[str, tuple[int, ...]]]:
    """The best windows of the map p_c H[p] over both cases, apart from each other: every window tried, one after the other."""
    windows = []
    for case, stats in w.statistics.items():
        mean = stats.mean.astype(float)
        entropy = -(mean * np.log(mean)).sum(axis=0)
        if stats.regions:
            entropy -= ((1 - mean) * np.log1p(-mean)).sum(axis=0)
        for start in np.ndindex(*(have - s + 1 for have, s in zip(entropy.shape, w.size, strict=True))):
            windows.append(((mean[stratum] * entropy)[Patch(case, start, w.size).slices].mean(), Patch(case, start, w.size)))
    taken: list[Patch] = []
    for _, patch in sorted(windows, key=lambda window: (-window[0], window[1])):
        if len(taken) < n and not patch.overlaps_any(taken):
            taken.append(patch)
    return sorted((patch.case, patch.start) for patch in taken)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("blocking", ["merge", "image"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_class_predicted_nowhere_may_be_asked_for_by_its_own_map(seed, blocking, regions):
    """Alone, so that no other class's choice is in the way: exactly the best windows of its own map."""
    w, channel = lesion_nowhere(seed, regions=regions), 1 if regions else 2
    request = Request(5, {channel: "tumour"}, seed)
    own = run(methods.get("cla_pe_66", alpha="1", unpredicted="own", blocking=blocking), w, request)
    assert {p.stratum for p in own.patches} == {"tumour"}
    assert sorted((p.patch.case, p.patch.start) for p in own.patches) == slowly(w, channel, 5)
    assert not own.warnings
    rest = run(methods.get("cla_pe_66", alpha="1", blocking=blocking), w, request)
    assert {p.stratum for p in rest.patches} == {"all"}, "the default is as before"
    assert any("tumour" in warning and "unpredicted=own" in warning for warning in rest.warnings)


def test_own_maps_leave_classes_that_are_predicted_as_they_were():
    """With every class predicted the option changes nothing."""
    w = world()
    queries = [run(methods.get("clasp_pe", **options), w, Request(9, CLASSES)) for options in ({}, {"unpredicted": "own"})]
    assert chosen(queries[0]) == chosen(queries[1])


def test_the_share_of_a_class_that_is_predicted_nowhere_is_kept_among_others():
    w = lesion_nowhere(3)
    query = run(methods.get("clap_pe", unpredicted="own"), w, Request(9, CLASSES))
    assert Counter(p.stratum for p in query.patches) == {"liver": 3, "tumour": 3, "all": 3}
    with pytest.raises(NnActiveError, match="unpredicted"):
        methods.get("clap_pe", unpredicted="other")


def obvious(rankings, pool, request, alpha):
    """What merge chooses of the candidates, over all of them: [(patch, stratum)]."""
    shares = class_shares(request.n, alpha, request.classes, request.rng("shares"))
    predicted = frozenset().union(*(ranking.predicted for ranking in rankings.values()))
    order = [c for c in request.rng("classes").permutation(sorted(shares)).tolist() if c in predicted]
    candidates = sorted((c for r in rankings.values() for c in r.candidates), key=lambda c: (-c.key, c.patch))
    taken = [box for case in pool.values() for box in case.annotated]
    steps = [(request.classes[c], shares[c], 0) for c in order]
    steps += [("all", request.n, -np.inf), *((request.classes[c], request.n, -np.inf) for c in order)]
    chosen = []
    for stratum, share, above in steps:
        left = share if above == 0 else request.n - len(chosen)
        for one in candidates:
            if left > 0 and one.stratum == stratum and one.score > above and not any(map(one.patch.overlaps, taken)):
                taken.append(one.patch)
                chosen.append((one.patch, stratum))
                left -= 1
    return chosen


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_looking_at_the_best_only_changes_nothing(data):
    """Also where candidates of a stratum overlap, so that many more are used up than are looked at first."""
    n, cases = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    places = data.draw(st.sampled_from([2, 12, 36]))
    rankings = {}
    for name in "abcde"[:cases]:
        rows = [
            (int(rng.integers(places)), float(rng.choice([0, 0.5, rng.random()])), str(rng.choice(["all", "A", "B"])))
            for _ in range(80)
        ]
        rankings[name] = line(*rows, case=name)
    request, alpha = Request(n, {1: "A", 2: "B"}, seed=int(rng.integers(99))), data.draw(st.sampled_from([0, 0.5, 1]))
    cases = pool(*rankings, annotated=(3,))
    found = [(one.patch, one.stratum) for one in merge(rankings, cases, request, alpha, fill_gaps=False).patches]
    assert found == obvious(rankings, cases, request, alpha)


def test_a_merge_keeps_no_more_of_a_stratum_than_it_could_use():
    """However many cases there are: their rankings are read one after another."""
    rankings = {f"{i:03d}": line((0, i, "all"), (2, i / 2, "all"), (4, i / 3, "all"), case=f"{i:03d}") for i in range(200)}
    found = Strata.of(rankings, {"all": 5})
    assert [one.key for one in found.candidates["all"]] == [199, 198, 197, 196, 195]
    assert found.cut == {"all"}


@pytest.mark.parametrize("options", [{}, {"beta": "none"}, {"alpha": "0"}, {"aggregation": "max:2"}, {"aggregation": "sum"}])
def test_candidates_that_cannot_enter_are_left_out_and_change_nothing(options):
    """In whatever order cases are ranked: each knows what those before it found."""
    w = world(cases=10, size=(3, 4, 4))
    for name in ("case_1", "case_4", "case_6"):  # where hardly anything of a class is
        w.statistics[name].mean[2] *= 1e-9
    method, request, cases = methods.get("clasp_pe", **options), Request(2, CLASSES, seed=3), w.pool()
    whole = {name: method.rank(w.scored(name), request) for name in cases}
    expected = method.merge(whole, cases, request)
    kept = Counter()
    for seed in range(4):
        floors, some = Floors(method.usable(request)), {}
        for name in np.random.default_rng(seed).permutation(sorted(cases)).tolist():
            some[name] = method.rank(replace(w.scored(name), floors=dict(floors.lowest)), request)
            for candidate in some[name].candidates:
                floors.add(candidate.stratum, [candidate.key])
            lacking = [one for one in whole[name].candidates if one not in some[name].candidates]
            assert all(one.key <= some[name].left_out[one.stratum] for one in lacking)
            kept[name] += len(some[name].candidates)
        assert method.merge(some, cases, request) == expected
    # Without strata each case keeps few candidates, and nearly all could enter.
    assert options == {"alpha": "0"} or sum(kept.values()) < 4 * sum(len(one.candidates) for one in whole.values())


@pytest.mark.parametrize("beta", [0.5, 1, 30])
def test_no_key_of_a_race_exceeds_its_bound(beta):
    for seed in range(30):
        scores = np.random.default_rng(seed).random((9, 10, 11), np.float32) ** 3
        picks = select(scores, (2, 2, 2), 5, beta=beta, rng=generator(seed, 0, "noise", "a"))
        bound = most_of_a_race(float(scores.max()), scores.size, beta, generator(seed, 0, "noise", "a"))
        assert max(pick.key for pick in picks) <= bound


def test_a_bound_is_above_every_mean():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(6, 7, 8)).astype(np.float32), rng.normal(size=(6, 7, 8)).astype(np.float32)
    for kind in (np.float32, np.float64, np.float16):  # a mean may be kept in half precision
        weight = weight.astype(kind)
        assert largest_product(weight, values) == (np.clip(weight.astype(float), 0, 1) * values).max()


def test_half_precision_has_floors_too():
    w = world(cases=3, size=(3, 4, 4))
    method, request = methods.get("clasp_pe"), Request(2, CLASSES, seed=3)
    scored = w.scored("case_0")
    scored = replace(scored, statistics=replace(scored.statistics, mean=scored.statistics.mean.astype(np.float16)))
    whole = method.rank(scored, request)
    floors = {
        stratum: np.median([c.key for c in whole.candidates if c.stratum == stratum]) for stratum in ("all", *CLASSES.values())
    }
    some = method.rank(replace(scored, floors=floors), request)
    assert list(some.candidates) == [c for c in whole.candidates if c.key >= floors[c.stratum]]
