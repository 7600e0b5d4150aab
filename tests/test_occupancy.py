"""Overlap as a share of the union, against painted images and against the engine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_ext.engine import select
from nnactive_ext.geometry.patch import Patch, centred, triple
from nnactive_ext.query_methods.base import PoolCase
from nnactive_ext.query_methods.occupancy import Occupancy, covered

SHAPE = (8, 9, 10)


def case(annotated=()):
    return {"a": PoolCase("a", SHAPE, (3, 3, 4), tuple(annotated))}


boxes = st.lists(
    st.builds(
        lambda start, size: Patch("a", start, size),
        st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
        st.tuples(*[st.integers(1, 6)] * 3),
    ),
    max_size=6,
)
patches = st.builds(
    lambda start, size: Patch("a", start, size),
    st.tuples(*[st.integers(0, 4)] * 3),
    st.tuples(*[st.integers(1, 4)] * 3),
)


@given(boxes, st.sampled_from([0, 0.02, 0.1, 0.25, 0.5, 0.99]))
def test_free_starts_are_those_that_overlap_by_no_more_than_allowed(taken, overlap):
    occupied = Occupancy(case(taken), overlap)
    free = occupied.free_starts("a")
    for start in np.ndindex(*free.shape):
        assert free[start] == (not occupied.overlaps(Patch("a", triple(start), (3, 3, 4))))


@given(boxes)
def test_a_centre_is_free_where_the_patch_around_it_is(taken):
    occupied = Occupancy(case(taken))
    free = occupied.free_centres("a")
    assert free.shape == SHAPE
    for voxel in np.ndindex(*SHAPE):
        assert free[voxel] == (not occupied.overlaps(centred("a", voxel, (3, 3, 4), SHAPE)))


@given(patches, boxes, st.sampled_from([0, 0.1, 0.2, 0.25, 0.5, 0.7, 0.99]))
def test_the_union_counts(patch, taken, overlap):
    painted = np.zeros((20, 20, 20), dtype=bool)
    for box in taken:
        painted[box.slices] = True
    share = painted[patch.slices].mean()
    occupied = Occupancy(case(taken[:2]), overlap)
    for box in taken[2:]:
        occupied.take(box)
    assert covered(patch, taken) == painted[patch.slices].sum()
    assert occupied.overlaps(patch) == (share > overlap + 1e-12)


@pytest.mark.parametrize(("overlap", "allowed"), [(0.29, 29), (0.57, 57), (0.07, 7), (0.1, 10)])
def test_a_share_is_not_rounded_away(overlap, allowed):
    """0.29 * 100 is a little less than 29."""
    occupied = Occupancy({"a": PoolCase("a", (1, 1, 300), (1, 1, 100))}, overlap)
    occupied.take(Patch("a", (0, 0, 0), (1, 1, 100)))
    assert not occupied.overlaps(Patch("a", (0, 0, 100 - allowed), (1, 1, 100)))
    assert occupied.overlaps(Patch("a", (0, 0, 100 - allowed - 1), (1, 1, 100)))


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([0, 0.2, 0.5]), boxes)
def test_the_engine_means_the_same(seed, overlap, taken):
    """Every pick is free when its turn comes, and nothing it left is free in the end."""
    size = (3, 3, 4)
    scores = np.random.default_rng(seed).random([n - s + 1 for n, s in zip(SHAPE, size, strict=True)])
    occupied = Occupancy(case(taken), overlap)
    for pick in select(scores, size, 10_000, blocked=[(b.start, b.size) for b in taken], overlap=overlap):
        patch = Patch("a", pick.start, size)
        assert not occupied.overlaps(patch)
        occupied.take(patch)
    assert all(occupied.overlaps(Patch("a", triple(start), size)) for start in np.ndindex(scores.shape))
