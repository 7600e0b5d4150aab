"""The engine against slow, obvious versions of itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_ext.engine import box_means, free_starts, greedy

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)


@st.composite
def maps_and_sizes(draw):
    shape = draw(SHAPES)
    size = tuple(draw(st.integers(1, n)) for n in shape)
    return np.random.default_rng(draw(st.integers(0, 2**32))), shape, size


@st.composite
def with_boxes(draw):
    rng, shape, size = draw(maps_and_sizes())
    boxes = [
        (tuple(int(rng.integers(-2, n)) for n in shape), tuple(int(rng.integers(1, 4)) for _ in shape))
        for _ in range(draw(st.integers(0, 3)))
    ]
    return rng, shape, size, boxes


def starts(shape, size):
    return list(np.ndindex(*(n - s + 1 for n, s in zip(shape, size, strict=True))))


def window(start, size):
    return tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))


def painted(shape, boxes):
    """The voxels of the boxes, in an image with a margin so that boxes may reach outside."""
    voxels = np.zeros([n + 10 for n in shape], dtype=bool)
    for start, size in boxes:
        voxels[window([a + 5 for a in start], size)] = True
    return voxels[5:-5, 5:-5, 5:-5]


def slow_greedy(keys, shape, size, boxes, k):
    taken = painted(shape, boxes)
    picks = []
    for start in sorted(starts(shape, size), key=lambda start: (-keys[start], start)):
        if len(picks) < k and not taken[window(start, size)].any():
            taken[window(start, size)] = True
            picks.append((start, float(keys[start])))
    return picks


@given(maps_and_sizes(), st.booleans())
def test_means_are_those_of_every_window(case, negative):
    rng, shape, size = case
    score_map = rng.normal(size=shape).astype(np.float32)
    if not negative:
        score_map = np.abs(score_map)
    means = box_means(score_map, size)
    assert means.dtype == np.float32
    assert means.shape == tuple(n - s + 1 for n, s in zip(shape, size, strict=True))
    for start in starts(shape, size):
        assert means[start] == pytest.approx(score_map[window(start, size)].mean(dtype=float), abs=1e-6)


def test_windows_of_zeros_beside_large_values_are_exactly_zero():
    score_map = np.zeros((6, 40, 40), dtype=np.float32)
    score_map[:, :20, :20] = np.random.default_rng(0).gamma(0.1, 1e4, (6, 20, 20))
    means = box_means(score_map, (3, 7, 7))
    assert means.min() == 0
    assert (means[:, 20:] == 0).all()
    assert (means[:, :, 20:] == 0).all()


def test_small_means_beside_large_values_stay_positive():
    score_map = np.full((4, 20, 20), 1e-6, dtype=np.float32)
    score_map[:, :5, :5] = 1
    assert (box_means(score_map, (2, 3, 3)) > 0).all()


def test_constant_maps_have_constant_means():
    means = box_means(np.full((9, 30, 31), 0.1, dtype=np.float32), (4, 7, 5))
    assert (means == np.float32(0.1)).all()


def test_negative_maps_are_not_clamped():
    assert (box_means(np.full((3, 3, 3), -1.0, dtype=np.float32), (2, 2, 2)) == -1).all()


def test_the_map_itself_is_not_changed():
    score_map = np.random.default_rng(0).normal(size=(4, 4, 4))
    before = score_map.copy()
    box_means(score_map, (1, 1, 1))
    box_means(score_map, (2, 2, 2))
    greedy(score_map, (2, 2, 2), [((0, 0, 0), (1, 1, 1))], 3)
    np.testing.assert_array_equal(score_map, before)


@pytest.mark.parametrize("size", [(5, 1, 1), (0, 1, 1)])
def test_sizes_that_do_not_fit_are_refused(size):
    with pytest.raises(ValueError, match="fit"):
        box_means(np.zeros((4, 4, 4)), size)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_are_refused(value):
    score_map = np.zeros((4, 4, 4))
    score_map[1, 2, 3] = value
    with pytest.raises(ValueError, match="finite"):
        box_means(score_map, (2, 2, 2))


@given(with_boxes())
def test_free_starts_are_those_of_windows_without_a_taken_voxel(case):
    _, shape, size, boxes = case
    free, taken = free_starts(shape, size, boxes), painted(shape, boxes)
    for start in starts(shape, size):
        assert free[start] == (not taken[window(start, size)].any())


@given(with_boxes(), st.integers(0, 12), st.integers(1, 1000), st.booleans())
@settings(max_examples=200)
def test_greedy_is_the_sorted_list_without_overlaps(case, k, levels, infinite):
    rng, shape, size, boxes = case
    keys = rng.integers(0, levels, [n - s + 1 for n, s in zip(shape, size, strict=True)]).astype(np.float32)
    if infinite:
        keys[keys < levels / 2] = -np.inf
    assert greedy(keys, size, boxes, k) == slow_greedy(keys, shape, size, boxes, k)


def test_windows_without_a_score_come_last_but_come():
    keys = np.full((1, 1, 6), -np.inf)
    keys[0, 0, 5] = -1e30
    picks = greedy(keys, (1, 1, 2), [((0, 0, 0), (1, 1, 1))], 10)
    assert [start for start, _ in picks] == [(0, 0, 5), (0, 0, 1), (0, 0, 3)]
    assert [key for _, key in picks] == [-1e30, -np.inf, -np.inf]


def test_nan_keys_are_refused():
    keys = np.zeros((2, 2, 2))
    keys[0, 0, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        greedy(keys, (1, 1, 1), [], 1)
