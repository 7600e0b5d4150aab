"""What every registered query method promises; so do variants of them, and the methods that docs/methods.md shows.

By default each test runs with every registered method, the methods that are shown and the variants of `VARIANTS`, which have
parts that no registered one has (rank noise with strata, blocking, overlap, stride, threshold). `MORE_VARIANTS` combine the
same parts in other ways and are `slow`; each part has default tests of its own beside this file.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from fakes import CLASSES, apart, blobs, from_members, patches_of, ranked, room, run, shown_methods, statistics, world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.aggregation import above_threshold
from nnactive_ext.query_methods.base import EVERYTHING, DrawnMethod, RankedMethod, Request, needs_of
from nnactive_ext.query_methods.comparison import FOREGROUND, Comparison
from nnactive_ext.query_methods.disagreement import check_members_needed, least_members
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.precomputed import Precomputed
from nnactive_ext.query_methods.random_patches import RandomPatches
from nnactive_ext.query_methods.scores import SCORES
from nnactive_ext.query_methods.uncertainty import Uncertainty

VARIANTS = (
    "clasp_pe perturbation=softrank",
    "clap_pe blocking=image",
    "clasp_pe shares=earned",
    "predictive_entropy overlap=0.2 stride=2x3x1",
    "power_pe aggregation=threshold",
)
MORE_VARIANTS = (
    "clasp_pe score=bald stride=3",
    "clap_pe score=margin beta=sigmoid:1:100",
    "cla_pe_66 overlap=0.2",
    "cla_pe_66 score=least_confidence blocking=image overlap=0.4",
    "cla_pe_33 score=expected_entropy aggregation=max:3",
    "predictive_entropy score=energy",
    "softrank_bald score=energy aggregation=max:2",
    "bald aggregation=sum",
)
SHOWN = ("my_methods.py:gini_spread", "my_methods.py:evenly")


@pytest.fixture(params=[*methods.names(), *VARIANTS, *SHOWN, *(pytest.param(v, marks=pytest.mark.slow) for v in MORE_VARIANTS)])
def method(request, tmp_path):
    name, *options = request.param.split()
    if name == "precomputed":
        (tmp_path / "loop_000.json").write_text('{"patches": []}')
        options = [f"source={tmp_path}"]
    if name in SHOWN:
        name = f"{shown_methods(tmp_path)}:{name.split(':')[1]}"
    return methods.get(name, **dict(option.split("=", 1) for option in options))


def noisy(method):
    if isinstance(method, Comparison):
        return method.by == FOREGROUND
    return isinstance(method, DrawnMethod) or getattr(method, "beta", None) is not None


def assert_valid(method, query, world, n):
    """The promises that hold whatever the pool."""
    patches = patches_of(query)
    pool = world.pool()
    assert len(patches) + query.missing == n
    assert query.missing >= 0
    assert apart([*(patch for case in pool.values() for patch in case.annotated), *patches], overlap_of(method))
    for patch in patches:
        case = pool[patch.case]
        assert patch.size == case.patch_size
        assert patch.inside(case.shape)
    if query.missing:
        assert query.warnings
    if query.missing and not isinstance(method, Precomputed):
        occupied = Occupancy(pool, overlap_of(method))
        for patch in patches:
            occupied.take(patch)
        assert not any(occupied.free_starts(name).any() for name in pool), "there is room for what is missing"


def overlap_of(method):
    return getattr(method, "overlap", 0.0)


def annotate(world, query):
    for patch in patches_of(query):
        world.annotated.setdefault(patch.case, []).append(patch)


def test_it_is_one_of_the_two_kinds(method):
    assert isinstance(method, RankedMethod) != isinstance(method, DrawnMethod)


def test_it_gives_what_was_asked_for_in_cycle_after_cycle(method):
    w = world()
    for cycle in range(3):
        query = run(method, w, Request(5, CLASSES, cycle=cycle))
        assert_valid(method, query, w, 5)
        assert query.missing == 0
        annotate(w, query)


def test_what_it_does_not_need_of_the_statistics_changes_nothing(method):
    """It gets no more in a query than it says it needs."""
    if isinstance(method, DrawnMethod):
        return
    request, found = Request(3, CLASSES), []
    for needs in (EVERYTHING, needs_of(method)):
        w = world(2)
        unknown = dict.fromkeys(EVERYTHING - needs)
        w.statistics = {name: replace(known, **unknown) for name, known in w.statistics.items()}
        found.append(run(method, w, request))
    assert found[0] == found[1]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    size=st.tuples(*[st.integers(1, 6)] * 3),
    n=st.integers(0, 8),
    seed=st.integers(0, 1000),
)
def test_it_holds_on_any_shape(method, shape, size, n, seed):
    w = world(2, shape, size, seed)
    w.annotated["case_1"] = [Patch("case_1", (0, 0, 0), triple([min(2, extent) for extent in shape]))]
    assert_valid(method, run(method, w, Request(n, CLASSES, seed)), w, n)


def test_cases_of_different_shapes(method):
    w = world(2)
    w.references["flat"], w.statistics["flat"] = blobs((1, 20, 20)), statistics((1, 20, 20))
    query = run(method, w, Request(12, CLASSES))
    assert_valid(method, query, w, 12)
    assert query.missing == 0


def test_with_one_member_it_is_refused_or_its_scores_tell_patches_apart(method):
    """The scores of a method that needs members that disagree would be rounding errors."""
    if isinstance(method, DrawnMethod):
        pytest.skip("asks no members")
    w = world(2)
    w.statistics = {name: statistics((12, 16, 14), seed=i, members=1) for i, name in enumerate(w.references)}
    request = Request(6, CLASSES)
    if least_members(method) > 1:
        with pytest.raises(NnActiveError, match="member"):
            check_members_needed(method, 1, request, False, "")
        check_members_needed(method, 2, request, False, "")
        return
    check_members_needed(method, 1, request, False, "")
    scores = [choice.score for choice in run(method, w, request).patches]
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 1e-4


def test_the_same_seed_gives_the_same_query(method):
    request = Request(6, CLASSES, seed=3, cycle=1)
    assert run(method, world(), request) == run(method, world(), request)


def test_another_seed_or_cycle_gives_another_query(method):
    if not noisy(method):
        pytest.skip("draws nothing")
    query = run(method, world(), Request(6, CLASSES, seed=3))
    assert patches_of(query) != patches_of(run(method, world(), Request(6, CLASSES, seed=4)))
    assert patches_of(query) != patches_of(run(method, world(), Request(6, CLASSES, seed=3, cycle=1)))


def test_noise_differs_between_cases_and_strata(method):
    if not isinstance(method, Uncertainty) or method.beta is None or method.perturbation == "softrank":
        pytest.skip("perturbs no patch scores")
    if method.aggregation is above_threshold:
        pytest.skip("every patch of a flat map scores 0")
    w = world(2)
    thirds = np.full((1, 3, 12, 16, 14), 1 / 3)
    flat = from_members(thirds)
    # Some mutual information too, so that no score is 0.
    flat = replace(flat, expected_entropy=flat.expected_entropy / 2)
    w.statistics = dict.fromkeys(w.references, flat)
    starts = {}
    for name in w.references:
        for candidate in method.rank(w.scored(name), Request(3, CLASSES)).candidates:
            starts.setdefault((name, candidate.stratum), []).append(candidate.patch.start)
    assert len({tuple(s[:3]) for s in starts.values()}) == len(starts) == (6 if method.alpha else 2)


def test_neither_the_order_of_cases_nor_earlier_work_matters(method):
    request = Request(6, CLASSES, seed=3)
    first = run(method, world(6), request)
    for shuffle in range(3):
        w = world(6)
        order = random.Random(shuffle).sample(sorted(w.references), 6)
        assert run(method, w, request, order) == first


def test_workers_may_share_the_cases(method):
    if not isinstance(method, RankedMethod):
        pytest.skip("ranks nothing")
    w, request = world(6), Request(6, CLASSES, seed=3)
    names = sorted(w.references)
    parts = [{name: ranked(method, w, name, request) for name in names[part::2]} for part in (1, 0)]
    told = replace(request, earned={1: 0.5}) if getattr(method, "needs_earned", False) else request  # as in run
    assert method.merge({**parts[0], **parts[1]}, w.pool(), told) == run(method, w, request)


def test_candidates_are_best_first_and_apart_in_each_stratum(method):
    if not isinstance(method, RankedMethod):
        pytest.skip("ranks nothing")
    w = world()
    w.annotated["case_0"] = [Patch("case_0", (3, 3, 3), (4, 5, 6))]
    ranking = method.rank(w.scored("case_0"), Request(6, CLASSES))
    for stratum in {candidate.stratum for candidate in ranking.candidates}:
        candidates = [c for c in ranking.candidates if c.stratum == stratum]
        assert [c.key for c in candidates] == sorted((c.key for c in candidates), reverse=True)
        assert apart([*w.annotated["case_0"], *(c.patch for c in candidates)], overlap_of(method))
    assert ranking.predicted <= set(CLASSES)


def test_an_exhausted_pool_gives_what_it_has(method):
    w = world(2, shape=(4, 10, 12))
    query = run(method, w, Request(100, CLASSES))
    assert_valid(method, query, w, 100)
    assert 2 <= len(query.patches) <= (16 if overlap_of(method) else 8)
    annotate(w, query)
    if isinstance(method, RandomPatches):
        assert room(w, w.annotated) == 0
    assert_valid(method, run(method, w, Request(100, CLASSES)), w, 100)


def test_a_pool_that_is_nearly_used_up_is_used_up_first(method):
    """Packings of different strata leave gaps between them, which are filled."""
    w = world(2, shape=(12, 18, 14), size=(4, 4, 4))
    query = run(method, w, Request(70, CLASSES))
    assert_valid(method, query, w, 70)


def test_a_full_pool_gives_nothing(method):
    w = world(2)
    w.annotated = {name: [Patch(name, (0, 0, 0), (12, 16, 14))] for name in w.references}
    query = run(method, w, Request(3, CLASSES))
    assert (query.patches, query.missing) == ((), 3)
    assert query.warnings


def test_one_window_left_is_found(method):
    w = world(1, shape=(4, 5, 12), size=(4, 5, 6))
    w.references["case_0"][:, :, 3] = 1
    w.annotated = {"case_0": [Patch("case_0", (0, 0, 6), (4, 5, 6))]}
    assert patches_of(run(method, w, Request(1, CLASSES))) == [Patch("case_0", (0, 0, 0), (4, 5, 6))]


def test_an_empty_pool(method):
    w = world(0)
    query = run(method, w, Request(3, CLASSES))
    assert (query.patches, query.missing) == ((), 3)


def test_images_one_voxel_thick(method):
    w = world(3, shape=(1, 18, 20))
    query = run(method, w, Request(5, CLASSES))
    assert_valid(method, query, w, 5)
    assert query.missing == 0


def test_a_patch_larger_than_the_image_is_the_image(method):
    w = world(3, shape=(3, 4, 5), size=(9, 9, 9))
    query = run(method, w, Request(3, CLASSES))
    assert_valid(method, query, w, 3)
    assert sorted(patches_of(query)) == [Patch(name, (0, 0, 0), (3, 4, 5)) for name in sorted(w.references)]


def test_a_class_that_is_never_predicted(method):
    w = world()
    classes = {**CLASSES, 3: "rare"}
    for name, stats in w.statistics.items():
        never = np.full((1, *stats.mean.shape[1:]), 1e-4, dtype=np.float32)
        w.statistics[name] = replace(stats, mean=np.concatenate([stats.mean, never]))
    query = run(method, w, Request(9, classes))
    assert_valid(method, query, w, 9)
    assert query.missing == 0
    assert "rare" not in {choice.stratum for choice in query.patches}
    if isinstance(method, Uncertainty) and method.alpha:
        assert any("rare" in warning for warning in query.warnings)


@pytest.mark.parametrize("row", [[1 / 3] * 3, [1.0, 0.0, 0.0]], ids=["constant", "certain"])
def test_maps_without_a_maximum(method, row):
    w = world(3)
    shape = (12, 16, 14)
    stats = from_members(np.broadcast_to(np.reshape(row, (1, 3, 1, 1, 1)), (2, 3, *shape)))
    stats = replace(stats, energy=np.full(shape, -1.5, dtype=np.float32))
    w.statistics = dict.fromkeys(w.references, stats)
    query = run(method, w, Request(7, CLASSES))
    assert_valid(method, query, w, 7)
    assert query.missing == 0
    if isinstance(method, Uncertainty) and not noisy(method) and not method.alpha:
        # Equal everywhere: by case name, then position.
        assert patches_of(query)[0] == Patch("case_0", (0, 0, 0), w.size)
        assert patches_of(query) == sorted(patches_of(query))


def test_regions_count_channels_from_zero(method):
    w = world(3)
    w.statistics = {name: statistics((12, 16, 14), seed=i, regions=True) for i, name in enumerate(w.references)}
    request = Request(6, {0: "whole", 1: "core"}, labels=CLASSES)
    query = run(method, w, request)
    assert_valid(method, query, w, 6)
    assert query.missing == 0
    if isinstance(method, RankedMethod):
        assert {choice.stratum for choice in query.patches} <= {"whole", "core", "all"}


def test_nan_is_an_error_that_names_the_case(method):
    if not isinstance(method, RankedMethod):
        pytest.skip("asks no ensemble")
    w = world(1)
    w.statistics["case_0"].mean[1, 2, 3, 4] = np.nan
    with pytest.raises(NnActiveError, match="case_0"):
        run(method, w, Request(2, CLASSES))


def test_references_are_read_by_those_who_say_so(method):
    w = world()
    run(method, w, Request(10, CLASSES))
    assert bool(w.loads) == method.needs_reference
    if method.needs_reference:
        pool = {name: replace(case, load_reference=None) for name, case in w.pool().items()}
        with pytest.raises(NnActiveError, match="case_"):
            method.draw(pool, Request(10, CLASSES))


def test_names_are_unique_and_the_default_is_one():
    assert len(set(methods.names())) == len(methods.names())
    assert methods.DEFAULT in methods.names()


def test_options_are_read_from_text():
    method = methods.get("clasp_pe", alpha="0.5", patches_per_case="3", beta="1:50", score="bald")
    assert (method.alpha, method.patches_per_case, method.beta.last) == (0.5, 3, 50)
    assert method.score is SCORES["bald"]
    assert methods.get("clasp_pe").alpha == 0.66
    assert methods.get("random_fg_33", foreground="1").foreground == 1
    assert methods.get("clasp_pe", beta="none") == replace(methods.get("cla_pe_66"), name="clasp_pe")


@pytest.mark.parametrize(
    ("name", "options", "known"),
    [
        ("clasp", {}, "clasp_pe"),
        ("clasp_pe", {"aplha": "1"}, "alpha"),
        ("clasp_pe", {"name": "x"}, "alpha"),
        ("random", {"alpha": "1"}, "foreground"),
        ("clasp_pe", {"alpha": "1.5"}, "alpha"),
        ("clasp_pe", {"alpha": "much"}, "alpha"),
        ("clasp_pe", {"alpha": "nan"}, "alpha"),
        ("clasp_pe", {"beta": "0"}, "beta"),
        ("clasp_pe", {"beta": "a:b:c:d"}, "beta"),
        ("clasp_pe", {"patches_per_case": "0"}, "patches_per_case"),
        ("clasp_pe", {"score": "luck"}, "bald"),
    ],
)
def test_what_is_not_known_is_answered_with_what_is(name, options, known):
    with pytest.raises(NnActiveError, match=known):
        methods.get(name, **options)
