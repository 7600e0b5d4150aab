"""Surface metrics against values worked out by hand, all pairs of corners, and the package that defined them."""

import doctest
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.spatial.distance import cdist

from nnactive_ext.metrics import surface
from nnactive_ext.metrics.surface import Surface, mean_surface, one_voxel, surface_per_case

SHAPE = (12, 14, 16)


def box(start, stop, shape=SHAPE, label=1, dtype=np.uint8):
    made = np.zeros(shape, dtype)
    made[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = label
    return made


def score(prediction, reference, spacing=(1.0, 1.0, 1.0), tolerance=1.0, **more) -> Surface:
    return surface_per_case(prediction, reference, {"a": 1}, spacing, tolerance, **more)["a"]


@pytest.mark.parametrize(("axis", "voxels"), [(0, 2), (1, 3), (2, 5)])
def test_a_slab_through_the_whole_image_that_is_shifted(axis, voxels):
    """Two faces, each ``voxels`` away; the corners at the image's border are as far from their counterparts."""
    spacing = (4.0, 1.5, 0.5)
    reference, prediction = (np.zeros(SHAPE, np.uint8) for _ in range(2))
    for array, start in ((reference, 2), (prediction, 2 + voxels)):
        np.moveaxis(array, axis, 0)[start : start + 1] = 1
    found = score(prediction, reference, spacing, tolerance=0.1)
    # One voxel thick: from 1 face of the reference, the nearest of the prediction is the near one, from the other the same.
    assert found.hd95 == pytest.approx(voxels * spacing[axis])
    assert found.nsd == 0
    assert score(prediction, reference, spacing, tolerance=voxels * spacing[axis]).nsd == 1


def test_a_cube_that_is_shifted_by_hand():
    """A cube of 4 voxels has 5x5 corners on each face: 9 inside with 1 mm², 3 on each edge, 1 at each vertex.

    Marching cubes gives an edge's corner the slope across it, sqrt(2)/2 mm², and a vertex's corner sqrt(3)/8 mm². One cube
    has corners at x = 0..4, the other at x = 2..6; what holds of the one holds of the other, mirrored.
    """
    one, other = box((3, 3, 3), (7, 7, 7)), box((3, 3, 5), (7, 7, 9))
    edge, vertex = math.sqrt(2) / 2, math.sqrt(3) / 8
    ring = 4 * (3 * 1 + edge)  # all corners at one x between the cube's ends
    end = 9 * 1 + 12 * edge + 4 * vertex  # all corners at x = 0, or 4
    total = 2 * end + 3 * ring
    # The one's rings at x = 2 and 3 and the rim of its end at x = 4 lie on the other's surface, the ring at x = 1 is 1 mm
    # from the other's end at x = 2, and all at x = 0 are 2 mm from it.
    near = 3 * ring + 12 * edge + 4 * vertex
    found = score(other, one, tolerance=1.0)
    # Of the 9 corners inside the end at x = 4, 8 are 1 mm from the other's long faces, and the middle one 2 mm.
    assert found.nsd == pytest.approx((near + 8) / total)
    assert score(other, one, tolerance=2.0).nsd == 1
    assert found.hd95 == 2


@given(
    st.data(),
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4),
    st.tuples(*[st.floats(0.3, 5)] * 3),
    st.floats(0.2, 6),
)
def test_equals_all_pairs_of_corners(data, shape, spacing, tolerance):
    prediction, reference = (data.draw(arrays(np.uint8, shape, elements=st.integers(0, 1))) for _ in range(2))
    found = score(prediction, reference, spacing, tolerance)
    if not (prediction.any() and reference.any()):
        return
    (one, a), (other, b) = (slow_corners(mask, spacing) for mask in (prediction, reference))
    distances = cdist(one, other)
    pairs = [(distances.min(axis=1), a), (distances.min(axis=0), b)]
    near = sum(weights[d <= tolerance * (1 + 1e-5)].sum() for d, weights in pairs)
    assert found.nsd == pytest.approx(near / (a.sum() + b.sum()), abs=1e-6)
    for d, weights in pairs:  # in each direction at least 95 % of the area are within it; in one, not within less
        assert weights[d <= found.hd95 + 1e-9].sum() >= 0.95 * weights.sum() - 1e-9
    assert any(weights[d < found.hd95 - 1e-9].sum() < 0.95 * weights.sum() + 1e-9 for d, weights in pairs)


def slow_corners(mask, spacing):
    """Places and areas of the surface, voxel corner by voxel corner; the areas by the package's own table."""
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

    table = create_table_neighbour_code_to_surface_area(spacing)
    padded, places, areas = np.pad(mask, 1), [], []
    for corner in np.ndindex(*(n + 1 for n in mask.shape)):
        bits = [int(padded[tuple(np.add(corner, o))]) for o in np.ndindex(2, 2, 2)]
        if 0 < sum(bits) < 8:
            places.append(np.multiply(corner, spacing))
            areas.append(table[int("".join(map(str, bits)), 2)])
    return np.array(places), np.array(areas)


def test_equals_the_package_on_blobs():
    """What the package itself gives; it still runs where both masks have something in them."""
    from surface_distance import metrics

    rng = np.random.default_rng(0)
    for spacing in ((1.0, 1.0, 1.0), (5.0, 0.7, 0.8), (0.4, 3.0, 1.0)):
        prediction, reference = (rng.random((2, *SHAPE)) < 0.3).astype(np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            distances = metrics.compute_surface_distances(reference == 1, prediction == 1, spacing)
        found = score(prediction, reference, spacing, tolerance=1.17)
        assert found.nsd == pytest.approx(metrics.compute_surface_dice_at_tolerance(distances, 1.17))
        assert found.hd95 == pytest.approx(metrics.compute_robust_hausdorff(distances, 95))


def test_classes_side_by_side_give_the_same_bits():
    prediction, reference = np.random.default_rng(0).integers(0, 5, (2, *SHAPE))
    classes = {"one": 1, "region": (2, 3), "absent": 9, "four": 4}
    one_by_one = surface_per_case(prediction, reference, classes, (3.0, 1.0, 0.7), 1.0)
    assert repr(surface_per_case(prediction, reference, classes, (3.0, 1.0, 0.7), 1.0, threads=3)) == repr(one_by_one)


@given(arrays(np.uint8, (3, 4, 3), elements=st.integers(0, 2)))
def test_a_perfect_prediction(labels):
    for value, found in surface_per_case(labels, labels, {"1": 1, "2": 2}, (3, 1, 1), 0.5).items():
        there = (labels == int(value)).any()
        assert (found == Surface(1.0, 0.0)) if there else (math.isnan(found.nsd) and math.isnan(found.hd95))


def test_absent_in_one_is_0_and_infinite():
    full, empty = box((1, 1, 1), (2, 3, 4)), np.zeros(SHAPE, np.uint8)
    assert score(full, empty) == score(empty, full) == Surface(0.0, math.inf)
    found = score(empty, empty)
    assert math.isnan(found.nsd)
    assert math.isnan(found.hd95)


@pytest.mark.parametrize("shape", [(1, 9, 9), (9, 1, 9), (1, 1, 9)])
def test_an_image_of_one_slice(shape):
    moved = np.zeros(shape, np.uint8)
    moved[..., 5:7] = 1
    still = np.roll(moved, -2, axis=2)
    assert score(moved, still, (2, 2, 2), tolerance=4).nsd == 1
    assert score(moved, still, (2, 2, 2)).hd95 == 4


def test_what_fills_the_image_has_its_surface_at_the_border():
    full = np.ones((4, 4, 4), np.uint8)
    assert score(full, full) == Surface(1, 0)
    assert score(box((0, 0, 0), (3, 4, 4), (4, 4, 4)), full, (7, 1, 1), tolerance=0.5).hd95 == 7


def test_a_tolerance_of_one_voxel_holds_whatever_the_last_digits():
    one, other = box((2, 2, 2), (6, 6, 6)), box((3, 2, 2), (7, 6, 6))
    for mm in (0.8, 0.7, 1.1, 3.3, 0.48828125):
        assert score(other, one, (mm * (1 + 1e-7), 0.1, 0.1), tolerance=mm).nsd == 1


def test_neither_the_image_around_nor_the_kind_of_number_matters():
    one, other = box((1, 2, 3), (4, 5, 6)), box((2, 2, 3), (5, 6, 6))
    expected = score(one, other, (3, 1, 2))
    around = [np.pad(array, 9) for array in (one, other)]
    assert score(*around, (3, 1, 2)) == expected
    for dtype in (np.int8, np.uint16, np.int64, np.float32):
        assert score(one.astype(dtype), other, (3, 1, 2)) == expected
    assert score(other, one, (3, 1, 2)) == expected


def test_a_region_is_its_labels_together():
    parts = box((2, 2, 2), (6, 6, 6))
    parts[2:4, 2:6, 2:6] = 2
    whole = box((2, 2, 2), (6, 6, 6), label=2)
    found = surface_per_case(parts, whole, {"both": (1, 2), "two": (2,), "one": (1,)}, (1, 1, 1), 0.5)
    assert found["both"] == Surface(1, 0)
    assert found["two"].hd95 == 2
    assert found["one"] == Surface(0, math.inf)


def test_ignored_voxels_are_background_in_both():
    reference, prediction = box((2, 2, 2), (6, 6, 6)), box((2, 2, 2), (9, 6, 6))
    reference[6:] = 9
    assert score(prediction, reference, ignore=9) == Surface(1, 0)
    assert score(prediction, reference).nsd < 1
    assert (prediction[6:9] == 1).any(), "the arrays given are left as they are"


@pytest.mark.parametrize(
    ("prediction", "spacing", "tolerance"),
    [
        (np.zeros((2, 2, 3)), (1, 1, 1), 1),
        (np.zeros((2, 2)), (1, 1, 1), 1),
        (np.zeros((2, 2, 2)), (1, 1), 1),
        (np.zeros((2, 2, 2)), (0, 1, 1), 1),
        (np.zeros((2, 2, 2)), (1, 1, 1), math.nan),
        (np.zeros((2, 2, 2)), (1, 1, 1), 0),
    ],
)
def test_refuses(prediction, spacing, tolerance):
    reference = np.zeros((2, 2)) if prediction.ndim == 2 else np.zeros((2, 2, 2))
    with pytest.raises(ValueError, match=r"shape|above 0"):
        score(prediction, reference, spacing, tolerance)


def test_means_leave_out_what_has_no_number_and_count_it():
    nan, inf = math.nan, math.inf
    found = mean_surface(
        {
            "a": {"organ": Surface(0.8, 2.0), "lesion": Surface(nan, nan), "never": Surface(nan, nan)},
            "b": {"organ": Surface(0.6, 4.0), "lesion": Surface(0.0, inf), "never": Surface(nan, nan)},
            "c": {"organ": Surface(0.0, inf), "lesion": Surface(0.0, inf), "never": Surface(nan, nan)},
        }
    )
    assert found.nsd == pytest.approx({"organ": 1.4 / 3, "lesion": 0, "never": nan}, nan_ok=True)
    assert found.hd95 == pytest.approx({"organ": 3, "lesion": nan, "never": nan}, nan_ok=True)
    assert found.cases == {
        "organ": {"nsd": 3, "hd95": 2, "infinite": 1},
        "lesion": {"nsd": 2, "hd95": 0, "infinite": 2},
        "never": {"nsd": 0, "hd95": 0, "infinite": 0},
    }


def test_one_voxel_is_of_the_median_spacing():
    assert one_voxel([(1, 1, 9), (2, 1, 1), (3, 1, 1)]) == 2


def test_examples_in_docstrings():
    results = doctest.testmod(surface)
    assert results.attempted > 0
    assert results.failed == 0
