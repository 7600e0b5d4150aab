"""The box: half-open, ordered, touching is not overlapping; checked against painted arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnactive_ext.geometry.patch import Patch, centred, clipped_size, triple

SHAPE = (9, 8, 7)
starts = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
sizes = st.tuples(*(st.integers(1, 4) for _ in SHAPE))
patches = st.builds(Patch, st.sampled_from(["a", "b"]), starts, sizes).filter(lambda patch: patch.inside(SHAPE))


def painted(patch: Patch) -> np.ndarray:
    canvas = np.zeros(SHAPE, bool)
    canvas[patch.slices] = True
    return canvas


@given(patches, patches)
def test_overlap_is_a_shared_voxel_of_the_same_case(first, second):
    shared = bool((painted(first) & painted(second)).any()) and first.case == second.case
    assert first.overlaps(second) == second.overlaps(first) == shared
    assert first.overlaps_any([second]) == shared
    assert not first.overlaps_any([])


@given(patches)
def test_voxels_and_stop(patch):
    found = np.argwhere(painted(patch))
    assert patch.voxels == len(found)
    assert tuple(found.min(0)) == patch.start
    assert tuple(found.max(0) + 1) == patch.stop


def test_boxes_that_touch_do_not_overlap():
    box = Patch("a", (2, 2, 2), (2, 2, 2))
    for axis in range(3):
        for step, expected in ((1, True), (2, False)):
            start = [2, 2, 2]
            start[axis] += step
            assert box.overlaps(Patch("a", tuple(start), (2, 2, 2))) is expected


@pytest.mark.parametrize(
    ("start", "size", "expected"),
    [
        ((0, 0, 0), SHAPE, True),
        ((1, 0, 0), SHAPE, False),
        ((-1, 0, 0), (2, 2, 2), False),
        ((8, 7, 6), (1, 1, 1), True),
        ((9, 0, 0), (1, 1, 1), False),
        ((0, 0, 0), (0, 1, 1), False),
    ],
)
def test_inside(start, size, expected):
    assert Patch("a", start, size).inside(SHAPE) is expected


def test_patches_order_by_case_then_position():
    ordered = [Patch("a", (0, 0, 1), (1, 1, 1)), Patch("a", (0, 1, 0), (1, 1, 1)), Patch("b", (0, 0, 0), (1, 1, 1))]
    assert sorted(reversed(ordered)) == ordered


@given(starts, st.tuples(*(st.integers(1, 12) for _ in SHAPE)))
def test_centred_stays_inside_and_holds_its_centre(centre, size):
    patch = centred("a", centre, size, SHAPE)
    assert patch.inside(SHAPE)
    assert patch.size == clipped_size(size, SHAPE) == tuple(np.minimum(size, SHAPE))
    assert painted(patch)[centre]


def test_centred_away_from_the_edge_is_centred():
    assert centred("a", (4, 4, 3), (3, 3, 3), SHAPE).start == (3, 3, 2)


def test_a_triple_is_three_plain_ints():
    made = triple(np.array([1, 2, 3], np.int64))
    assert made == (1, 2, 3)
    assert all(type(v) is int for v in made)
    for wrong in ([1, 2], [1, 2, 3, 4], ["a", 1, 2]):
        with pytest.raises(ValueError, match=r"."):
            triple(wrong)
