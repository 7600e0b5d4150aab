"""Voxel scores against closed forms."""

import numpy as np
import pytest
from fakes import from_members, statistics

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods.base import ScoredCase
from nnactive_ext.query_methods.scores import (
    SCORES,
    bald,
    check,
    class_weighted,
    expected_entropy,
    predictive_entropy,
)

SHAPE = (2, 3, 4)


def members(*rows):
    """Members that say the same in every voxel: one row of probabilities each."""
    return np.array([np.broadcast_to(np.reshape(row, (-1, 1, 1, 1)), (len(row), *SHAPE)) for row in rows], dtype=float)


def test_uniform_probabilities_have_the_largest_entropy():
    stats = from_members(members([0.25] * 4))
    np.testing.assert_allclose(predictive_entropy(stats), np.log(4), rtol=1e-6)


def test_certain_probabilities_have_none():
    stats = from_members(members([1.0, 0.0, 0.0]))
    for score in SCORES.values():
        assert (score(stats) == 0).all()


def test_a_known_mixture():
    stats = from_members(members([0.5, 0.5, 0.0]))
    np.testing.assert_allclose(predictive_entropy(stats), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(class_weighted(stats, 1, predictive_entropy(stats)), 0.5 * np.log(2), rtol=1e-6)
    assert (class_weighted(stats, 2, predictive_entropy(stats)) == 0).all()


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
    weighted = [class_weighted(stats, c, pe) for c in range(channels)]
    assert all((w <= pe + 1e-6).all() for w in weighted)
    if not regions:
        np.testing.assert_allclose(sum(weighted), pe, rtol=1e-4)


def test_regions_sum_their_binary_entropies():
    stats = from_members(members([0.5, 0.5, 1.0]), regions=True)
    np.testing.assert_allclose(predictive_entropy(stats), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(class_weighted(stats, 2, predictive_entropy(stats)), 2 * np.log(2), rtol=1e-6)


def test_rounding_beyond_certainty_is_certainty():
    stats = from_members(members([1.0, 0.0]))
    stats.mean[0] += 1e-6
    stats.mean[1] -= 1e-6
    assert (predictive_entropy(stats) == 0).all()
    assert (class_weighted(stats, 1, np.ones(SHAPE)) == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["mean", "expected_entropy"])
def test_one_broken_voxel_is_an_error_that_names_the_case(where, value):
    stats = statistics((4, 4, 4))
    check(ScoredCase("case_7", stats, (2, 2, 2)))
    getattr(stats, where).flat[3] = value
    with pytest.raises(NnActiveError, match="case_7"):
        check(ScoredCase("case_7", stats, (2, 2, 2)))
