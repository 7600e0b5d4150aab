"""Edges of the query engine; tests/test_engine_proofs.py compares it with its slow obvious form."""

import json

import numpy as np
import pytest

from nnactive_ext.engine import box_means, free_starts, select


def noise():
    return {"beta": 1.0, "rng": np.random.default_rng(0)}


def test_windows_of_zeros_beside_large_values_are_exactly_zero():
    score_map = np.zeros((6, 40, 40), dtype=np.float32)
    score_map[:, :20, :20] = np.random.default_rng(0).gamma(0.1, 1e4, (6, 20, 20))
    means = box_means(score_map, (3, 7, 7))
    assert means.min() == 0
    assert (means[:, 20:] == 0).all()
    assert (means[:, :, 20:] == 0).all()


def test_small_means_beside_large_values_stay_as_they_are():
    score_map = np.full((4, 20, 20), 1e-6, dtype=np.float32)
    score_map[:, :5, :5] = 1e6
    np.testing.assert_allclose(box_means(score_map, (2, 3, 3))[:, 5:, 5:], 1e-6, rtol=5e-7)


@pytest.mark.parametrize("value", [0.1, 1e-20, 3e30, -0.7])
@pytest.mark.parametrize("size", [(4, 7, 5), (9, 30, 31), (1, 1, 1)])
def test_constant_maps_have_constant_means(value, size):
    means = box_means(np.full((9, 30, 31), value, dtype=np.float32), size)
    assert (means == means[0, 0, 0]).all()
    np.testing.assert_array_max_ulp(means[0, 0, 0], np.float32(value), 1)


def test_negative_maps_are_not_clamped():
    assert (box_means(np.full((3, 3, 3), -1.0, dtype=np.float32), (2, 2, 2)) == -1).all()


def test_weights_are_clipped():
    score_map = np.full((1, 1, 4), 2, dtype=np.float32)
    weight = np.array([[[-1, 0.5, 1, 3]]], dtype=np.float32)
    np.testing.assert_array_equal(box_means(score_map, (1, 1, 1), weight), [[[0, 1, 2, 2]]])
    np.testing.assert_array_equal(box_means(score_map, (1, 1, 2), weight), [[[0.5, 1.5, 2]]])


def test_inputs_are_not_changed_and_may_be_views_that_cannot_be():
    rng = np.random.default_rng(0)
    score_map, weight = rng.random((2, 8, 6, 10)).transpose(0, 2, 1, 3)[:, :, ::2, ::-2]
    scores = rng.random((5, 4, 3)).T
    inputs = score_map, weight, scores
    before = [values.copy() for values in inputs]
    for values in inputs:
        values.flags.writeable = False
    for size in [(1, 1, 1), (2, 2, 2)]:
        np.testing.assert_array_equal(box_means(score_map, size, weight), box_means(before[0], size, before[1]))
        for options in (lambda: {}, noise):
            blocked = {"blocked": [((0, 0, 0), (1, 1, 1))]}
            assert select(scores, size, 3, **blocked, **options()) == select(before[2], size, 3, **blocked, **options())
    for values, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("size", [(5, 1, 1), (1, 1, 5), (0, 1, 1), (1, -1, 1)])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match="fit"):
        box_means(np.zeros((4, 4, 4), dtype=np.float32), size)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [(0, 0, 0), (1, 2, 3), (3, 3, 3)])
def test_values_that_are_not_finite_are_refused(value, where):
    broken, whole = np.zeros((2, 4, 4, 4), dtype=np.float32)
    broken[where] = value
    for weight in (None, whole):
        with pytest.raises(ValueError, match="finite"):
            box_means(broken, (2, 2, 2), weight)
    for options in ({}, noise()):
        with pytest.raises(ValueError, match="finite"):
            select(broken, (2, 2, 2), 1, **options)


def test_weights_that_are_not_numbers_are_refused():
    score_map, weight = np.zeros((2, 4, 4, 4), dtype=np.float32)
    weight[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        box_means(score_map, (2, 2, 2), weight)


def test_negative_scores_are_refused_with_noise_only():
    scores = np.array([[[-3.0, -1.0, -2.0]]])
    with pytest.raises(ValueError, match="at least 0"):
        select(scores, (1, 1, 1), 1, **noise())
    assert select(scores, (1, 1, 1), 2) == [((0, 0, 1), -1.0, -1.0), ((0, 0, 2), -2.0, -2.0)]


def test_windows_without_a_score_come_last_but_come():
    scores = np.zeros((1, 1, 6))
    scores[0, 0, 5] = 1e-300
    picks = select(scores, (1, 1, 2), 10, blocked=[((0, 0, 0), (1, 1, 1))], **noise())
    assert [pick.start for pick in picks] == [(0, 0, 5), (0, 0, 1), (0, 0, 3)]
    assert picks[0].key == pytest.approx(np.log(1e-300), abs=30)
    assert [pick.key for pick in picks[1:]] == [-np.inf] * 2


def test_nothing_is_picked_where_nothing_may_be():
    scores = np.ones((2, 3, 4), dtype=np.float32)
    for options in (lambda: {}, noise):
        assert select(scores, (2, 2, 2), 0, **options()) == []
        assert select(scores, (2, 2, 2), 5, blocked=[((-9, -9, -9), (99, 99, 99))], **options()) == []


def test_picks_are_plain_numbers():
    """They are written to JSON."""
    for options in ({}, noise()):
        picks = select(np.ones((2, 2, 2), dtype=np.float32), (1, 1, 1), 2, **options)
        assert json.loads(json.dumps(picks)) == [[list(start), score, key] for start, score, key in picks]


def test_boxes_outside_the_image_take_nothing():
    for start in [(-2, 0, 0), (0, 4, 0), (9, 9, 9)]:
        assert free_starts((3, 4, 5), (1, 2, 3), [(start, (2, 2, 2))]).all()


def test_an_overlap_may_be_as_large_as_allowed_and_no_larger():
    scores = np.ones((1, 1, 1), dtype=np.float32)
    for covered in range(100):  # 0.29 * 100 is a little less than 29
        for more, picks in [(0, 1), (1, 0)]:
            blocked = [((0, 0, 0), (1, 1, covered + more))] if covered + more else []
            assert len(select(scores, (1, 1, 100), 1, blocked=blocked, overlap=covered / 100)) == picks
