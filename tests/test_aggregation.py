"""Aggregations against slow, obvious versions, and against thesis chapter 6 where the patch is the image."""

import numpy as np
import pytest
from fakes import from_members
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.query_methods.aggregation import AGGREGATIONS, Largest, above_threshold, mean, parse_aggregation, total
from nnactive_ext.query_methods.base import Statistics


def windows(array, size):
    """Each window start of ``size`` and the voxels of the window."""
    for start in np.ndindex(*(n - s + 1 for n, s in zip(array.shape, size, strict=True))):
        yield start, array[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))]


def slowly(array, size, of_window):
    scores = np.zeros([n - s + 1 for n, s in zip(array.shape, size, strict=True)])
    for start, voxels in windows(array, size):
        scores[start] = of_window(voxels)
    return scores


@st.composite
def cases(draw):
    """A map, a weight or None, a patch size that fits, and statistics of the same shape."""
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    size = tuple(draw(st.integers(1, n)) for n in shape)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    # Few values, so that there are ties, and zeros.
    voxel_map = (rng.integers(0, 5, shape) / 4).astype(np.float32)
    weight = rng.random(shape).astype(np.float32) if draw(st.booleans()) else None
    p = rng.random((2, 3, *shape))
    p[:, 0] *= draw(st.sampled_from([0.1, 1.0, 3.0]))
    return voxel_map, weight, size, from_members(p / p.sum(axis=1, keepdims=True))


def weighted(voxel_map, weight):
    return voxel_map if weight is None else weight * voxel_map


@given(cases())
def test_mean_and_sum(case):
    voxel_map, weight, size, _ = case
    expected = weighted(voxel_map, weight)
    np.testing.assert_allclose(mean(*case), slowly(expected, size, np.mean), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(total(*case), slowly(expected, size, np.sum), rtol=1e-5, atol=1e-5)


@given(cases(), st.integers(1, 9))
def test_the_largest_mean_inside(case, side):
    voxel_map, weight, size, _ = case
    cube = [min(side, s) for s in size]

    def of_window(voxels):
        return max(inner.mean() for _, inner in windows(voxels, cube))

    scores = Largest(side)(*case)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, slowly(weighted(voxel_map, weight), size, of_window), rtol=1e-5, atol=1e-7)


@given(cases())
def test_the_mean_above_the_threshold(case):
    voxel_map, weight, size, stats = case
    expected = weighted(voxel_map, weight)
    a = np.mean(np.argmax(stats.mean, axis=0) != 0)
    assert stats.foreground_share == pytest.approx(a)
    threshold = np.quantile(expected, 1 - a)

    def of_window(voxels):
        above = voxels[voxels > threshold]
        return above.mean() if above.size else 0

    np.testing.assert_allclose(above_threshold(*case), slowly(expected, size, of_window), rtol=1e-5, atol=1e-7)


@given(cases())
def test_the_patch_that_is_the_image_has_chapter_6s_score(case):
    voxel_map, weight, _, stats = case
    shape = voxel_map.shape
    u = weighted(voxel_map, weight)
    (image_sum,) = total(voxel_map, weight, shape, stats).ravel()
    (largest,) = Largest(3)(voxel_map, weight, shape, stats).ravel()
    (above,) = above_threshold(voxel_map, weight, shape, stats).ravel()
    assert image_sum == pytest.approx(u.sum(), rel=1e-5)
    assert largest == pytest.approx(max(v.mean() for _, v in windows(u, [min(3, n) for n in shape])), rel=1e-5)
    chosen = u[u > np.quantile(u, 1 - stats.foreground_share)]
    assert above == pytest.approx(chosen.mean() if chosen.size else 0, rel=1e-5)


def test_by_eye():
    voxel_map = np.array([[[0, 4, 2, 0, 1]]], dtype=np.float32)
    p = np.array([0.2, 0.9, 0.6, 0.3, 0.1])  # two of five voxels are foreground
    stats = from_members(np.stack([1 - p, p])[None, :, None, None])
    size = (1, 1, 3)
    assert mean(voxel_map, None, size, stats).tolist() == [[[2, 2, 1]]]
    assert total(voxel_map, None, size, stats).tolist() == [[[6, 6, 3]]]
    assert Largest(2)(voxel_map, None, size, stats).tolist() == [[[3, 3, 1]]]
    # The 0.6 quantile lies between 1 and 2.
    assert above_threshold(voxel_map, None, size, stats).tolist() == [[[3, 3, 2]]]


def test_no_predicted_foreground_is_no_voxel_above():
    stats = from_members(np.array([0.9, 0.1]).reshape(1, 2, 1, 1, 1) * np.ones((1, 2, 2, 3, 4)))
    assert (above_threshold(np.random.default_rng(0).random((2, 3, 4)), None, (1, 2, 2), stats) == 0).all()


def test_the_foreground_of_regions_is_any_of_them():
    mean = np.zeros((2, 1, 1, 4), dtype=np.float32)
    mean[0, 0, 0, :2] = 0.6
    mean[1, 0, 0, 1] = 0.9
    mean[1, 0, 0, 3] = 0.5
    assert Statistics(mean, mean[0], frozenset(), regions=True).foreground_share == 0.5


def test_weights_are_clipped():
    ones = np.ones((1, 1, 2), dtype=np.float32)
    stats = from_members(np.full((1, 2, 1, 1, 2), 0.5))
    beyond = np.array([[[1.5, -0.5]]], dtype=np.float32)
    for read in AGGREGATIONS.values():
        assert read()(ones, beyond, (1, 1, 1), stats).max() <= 1
        assert read()(ones, beyond, (1, 1, 1), stats).min() >= 0


def test_reading_an_aggregation():
    assert parse_aggregation("mean") is mean
    assert parse_aggregation("max") == Largest(10)
    assert parse_aggregation("max:4") == Largest(4)


@pytest.mark.parametrize("text", ["", "median", "max:", "max:0", "max:-1", "max:1.5", "mean:2", "max:a"])
def test_no_such_aggregation(text):
    with pytest.raises(ValueError, match=r"mean|whole number"):
        parse_aggregation(text)
