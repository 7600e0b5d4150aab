"""Voxel scores against closed forms and against plain formulas over all channels at once."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from fakes import from_members, statistics
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods.base import ScoredCase, Statistics
from nnactive_ext.query_methods.scores import (
    SCORES,
    SIGNED,
    bald,
    check,
    energy,
    expected_entropy,
    least_confidence,
    margin,
    predictive_entropy,
)

SHAPE = (2, 3, 4)
UNSIGNED = [score for score in SCORES.values() if score not in SIGNED]


def members(*rows):
    """Members that say the same in every voxel: one row of probabilities each."""
    return np.array([np.broadcast_to(np.reshape(row, (-1, 1, 1, 1)), (len(row), *SHAPE)) for row in rows], dtype=float)


def test_uniform_probabilities_have_the_largest_entropy():
    stats = from_members(members([0.25] * 4))
    np.testing.assert_allclose(predictive_entropy(stats), np.log(4), rtol=1e-6)


def test_certain_probabilities_have_none():
    stats = from_members(members([1.0, 0.0, 0.0]))
    for score in UNSIGNED:
        assert (score(stats) == 0).all()


def test_a_known_mixture():
    stats = from_members(members([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(predictive_entropy(stats), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(least_confidence(stats), 0.5)
    np.testing.assert_allclose(margin(stats), 1)


def test_equal_members_share_no_information():
    stats = from_members(members([0.7, 0.2, 0.1], [0.7, 0.2, 0.1]))
    np.testing.assert_allclose(bald(stats), 0, atol=1e-6)
    np.testing.assert_allclose(expected_entropy(stats), predictive_entropy(stats), rtol=1e-6)


def test_rounding_cannot_make_information_negative():
    stats = from_members(members([0.7, 0.2, 0.1]))
    stats.expected_entropy[:] += 1e-3
    assert (bald(stats) == 0).all()


def test_opposite_certain_members_disagree_by_ln_2():
    stats = from_members(members([1.0, 0.0], [0.0, 1.0]))
    np.testing.assert_allclose(bald(stats), np.log(2), rtol=1e-6)
    assert (expected_entropy(stats) == 0).all()


@pytest.mark.parametrize("regions", [False, True])
def test_bounds_and_identities(regions):
    stats = statistics((6, 7, 8), classes=3, seed=5, regions=regions)
    pe, ee, mi = (score(stats) for score in (predictive_entropy, expected_entropy, bald))
    channels = len(stats.mean)
    for score_map in (pe, ee, mi):
        assert score_map.shape == (6, 7, 8)
        assert score_map.dtype == np.float32
        assert score_map.min() >= 0
        assert score_map.max() <= (channels * np.log(2) if regions else np.log(channels)) + 1e-5
    np.testing.assert_allclose(mi, pe - ee, atol=1e-6)


def test_regions_sum_their_binary_entropies():
    stats = from_members(members([0.5, 0.5, 1.0]), regions=True)
    np.testing.assert_allclose(predictive_entropy(stats), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(least_confidence(stats), 1)
    np.testing.assert_allclose(margin(stats), 2)


def test_rounding_beyond_certainty_is_certainty():
    stats = from_members(members([1.0, 0.0]))
    stats.mean[0] += 1e-6
    stats.mean[1] -= 1e-6
    for score in (predictive_entropy, least_confidence, margin):
        assert (score(stats) == 0).all()


@given(st.integers(2, 6), st.integers(0, 1000))
def test_confidence_and_margin_are_those_of_the_sorted_probabilities(channels, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(channels), SHAPE)
    p = np.moveaxis(np.round(p, 1), -1, 0).astype(np.float32)  # rounded, so that there are ties
    ordered = np.sort(p, axis=0)
    stats = Statistics(p, p[0], frozenset())
    np.testing.assert_allclose(least_confidence(stats), 1 - ordered[-1], atol=1e-6)
    np.testing.assert_allclose(margin(stats), 1 - (ordered[-1] - ordered[-2]), atol=1e-6)
    for score in (least_confidence, margin):
        assert score(stats).dtype == np.float32


@pytest.mark.parametrize("seed", range(3))
def test_confidence_and_margin_of_regions_are_sums_of_the_binary_forms(seed):
    p = np.random.default_rng(seed).random((3, *SHAPE)).astype(np.float32)
    regions = Statistics(p, p[0], frozenset(), regions=True)
    binary = [Statistics(np.stack([1 - region, region]), region, frozenset()) for region in p]
    for score in (predictive_entropy, least_confidence, margin):
        np.testing.assert_allclose(score(regions), sum(score(one) for one in binary), rtol=1e-5)
        assert score(regions).dtype == np.float32


def test_for_two_classes_margin_is_twice_the_lack_of_confidence():
    stats = statistics((4, 5, 6), classes=1)
    np.testing.assert_allclose(margin(stats), 2 * least_confidence(stats), atol=1e-6)


def test_energy_is_what_the_ensemble_says():
    stats = statistics((4, 5, 6))
    assert energy(stats) is stats.energy
    with pytest.raises(NnActiveError, match=r"without energies.*predictive_entropy"):
        energy(from_members(members([0.5, 0.5])))


@pytest.mark.parametrize("regions", [False, True])
def test_probabilities_of_half_precision_are_reckoned_with_in_single(regions):
    stats = statistics((4, 5, 6), regions=regions)
    half = replace(stats, mean=stats.mean.astype(np.float16))
    same = replace(half, mean=half.mean.astype(np.float32))
    for score in SCORES.values():
        assert score(half).dtype == np.float32
        np.testing.assert_array_equal(score(half), score(same))


def test_no_score_changes_the_statistics():
    stats = statistics((4, 5, 6))
    before = [array.copy() for array in (stats.mean, stats.expected_entropy, stats.energy)]
    for score in SCORES.values():
        score(stats)
    for array, copy in zip((stats.mean, stats.expected_entropy, stats.energy), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_scores_need_little_memory_beside_the_probabilities():
    """No temporary with a channel axis: with many channels every score stays below a fifth of the probabilities."""
    shape = (32, 32, 32)
    p = np.full((40, *shape), 1 / 40, dtype=np.float32)
    for regions in (False, True):
        stats = Statistics(p, p[0], frozenset(), regions, energy=p[0])
        for score in SCORES.values():
            tracemalloc.start()
            score(stats)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < p.nbytes / 5, score


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["mean", "expected_entropy", "energy"])
def test_one_broken_voxel_is_an_error_that_names_the_case(where, value):
    stats = statistics((4, 4, 4))
    check(ScoredCase("case_7", stats, (2, 2, 2)))
    getattr(stats, where).flat[3] = value
    with pytest.raises(NnActiveError, match="case_7"):
        check(ScoredCase("case_7", stats, (2, 2, 2)))
