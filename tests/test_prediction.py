"""The prediction in a box against one voxel at a time, and against nnU-Net's own way back to the image."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import entr

from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.members.prediction import predict_box, predict_with_uncertainty

CHANNELS, CLASSES = 2, 4


class Pointwise:
    """Members whose logits at a voxel follow from the image there alone; they keep what they were shown."""

    def __init__(self, seed: int, members: int):
        self.weights = np.random.default_rng(seed).normal(0, 2, (members, CLASSES, CHANNELS)).astype(np.float32)
        self.shown: list[np.ndarray] = []

    def logits(self, image, case=""):
        self.shown.append(image)
        for number, weights in enumerate(self.weights):
            yield f"fold {number}", torch.from_numpy(np.tensordot(weights, image, 1))

    def label(self, voxel: np.ndarray, order) -> int:
        """Of one network voxel."""
        logits = self.weights.astype(float) @ voxel
        if order is None:
            exponentials = np.exp(logits)
            return int((exponentials / exponentials.sum(1, keepdims=True)).mean(0).argmax())
        label = 0
        for value, probability in zip(order, (1 / (1 + np.exp(-logits))).mean(0), strict=True):
            if probability > 0.5:
                label = value
        return label

    def entropy(self, voxel: np.ndarray, order) -> float:
        """In nat, of the members' mean at one network voxel; for regions the sum of the binary ones."""
        logits = self.weights.astype(float) @ voxel
        if order is None:
            exponentials = np.exp(logits - logits.max(1, keepdims=True))
            return float(entr((exponentials / exponentials.sum(1, keepdims=True)).mean(0)).sum())
        mean = (1 / (1 + np.exp(-logits))).mean(0)
        return float((entr(mean) + entr(1 - mean)).sum())


@st.composite
def grids(draw) -> Grid:
    """Transposed, cropped, resampled up or down."""
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    transpose = draw(st.permutations(range(3)))
    moved = [shape[source] for source in transpose]
    start = [draw(st.integers(0, n - 1)) for n in moved]
    size = [draw(st.integers(1, n - a)) for n, a in zip(moved, start, strict=True)]
    network = draw(st.tuples(*[st.integers(1, 16)] * 3))
    return Grid(shape, tuple(transpose), tuple(start), tuple(size), network)


@st.composite
def boxes(draw) -> tuple[Grid, Patch]:
    grid = draw(grids())
    start = [draw(st.integers(0, n - 1)) for n in grid.image_shape]
    size = [draw(st.integers(1, n - a)) for n, a in zip(grid.image_shape, start, strict=True)]
    return grid, Patch("case", tuple(start), tuple(size))


def nearest(grid: Grid, axis: int, voxel: int) -> list[int] | None:
    """The network voxels whose centres are closest to an image voxel's, along one transposed axis: in exact numbers.

    A network voxel covers an equal share of the crop. None: cropped away."""
    place = voxel - grid.crop_start[axis]
    if not 0 <= place < grid.crop_size[axis]:
        return None
    width = Fraction(grid.crop_size[axis], grid.network_shape[axis])
    distances = [abs((j + Fraction(1, 2)) * width - (place + Fraction(1, 2))) for j in range(grid.network_shape[axis])]
    return [j for j, distance in enumerate(distances) if distance == min(distances)]


def image_of(grid: Grid, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (CHANNELS, *grid.network_shape)).astype(np.float32)


@given(
    boxes(),
    st.tuples(*[st.integers(1, 4)] * 3),
    st.sampled_from([None, (1, 2, 3, 4), (3, 1, 4, 2)]),
    st.integers(1, 3),
    st.integers(0, 2**31),
)
def test_each_voxel_is_that_of_the_nearest_network_voxel(chosen, window, order, members, seed):
    grid, patch = chosen
    image, ensemble = image_of(grid, seed), Pointwise(seed, members)
    labels = predict_box(ensemble, image, grid, patch, window, order)
    assert labels.shape == patch.size
    for place in np.ndindex(*patch.size):
        voxel = np.add(place, patch.start)
        found = [nearest(grid, axis, int(voxel[source])) for axis, source in enumerate(grid.transpose)]
        if any(one is None for one in found):
            expected = {0}
        else:
            expected = {ensemble.label(image[:, z, y, x], order) for z in found[0] for y in found[1] for x in found[2]}
        assert labels[place] in expected, place


@given(boxes(), st.tuples(*[st.integers(1, 4)] * 3))
def test_the_members_see_the_box_and_a_window_around_it(chosen, window):
    """What they are shown of the image: so much more on each side as its border allows, and nothing where all was cropped."""
    grid, patch = chosen
    z, y, x = (np.arange(n, dtype=np.float32) for n in grid.network_shape)
    image = np.stack([np.broadcast_to(z[:, None, None], grid.network_shape), y[:, None] * 100 + x + 0 * z[:, None, None]])
    ensemble = Pointwise(0, 1)
    predict_box(ensemble, image, grid, patch, window, None)
    covered = grid.to_network(patch)
    assert len(ensemble.shown) == (covered is not None)
    if covered is not None:
        low = [max(0, a - w) for a, w in zip(covered.start, window, strict=True)]
        high = [b + w for b, w in zip(covered.stop, window, strict=True)]
        expected = image[:, low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        np.testing.assert_array_equal(ensemble.shown[0], expected)


@pytest.mark.parametrize("regions", [None, (1, 2, 3, 4), (3, 1, 4, 2)], ids=["classes", "regions", "other order"])
@given(boxes(), st.integers(0, 2**31))
def test_nnunets_way_back_where_nothing_is_resampled(regions, chosen, seed):
    """nnU-Net's own export of the whole image, cut to the box: transposed and cropped, each voxel one network voxel."""
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    resampled, patch = chosen
    grid = Grid(resampled.image_shape, resampled.transpose, resampled.crop_start, resampled.crop_size, resampled.crop_size)
    image, ensemble = image_of(grid, seed), Pointwise(seed, 1)
    names = {"background": 0, **{f"label {i}": i for i in range(1, CLASSES)}}
    if regions:
        names = {"background": 0, **{f"region {i}": [i, 5] for i in range(1, CLASSES + 1)}}
    plans = SimpleNamespace(transpose_forward=list(grid.transpose), transpose_backward=np.argsort(grid.transpose).tolist())
    configuration = SimpleNamespace(spacing=[1.0] * 3, resampling_fn_probabilities=resample_data_or_seg_to_shape)
    properties = {
        "spacing": [1.0] * 3,
        "shape_before_cropping": [grid.image_shape[source] for source in grid.transpose],
        "shape_after_cropping_and_before_resampling": grid.crop_size,
        "bbox_used_for_cropping": [[a, a + n] for a, n in zip(grid.crop_start, grid.crop_size, strict=True)],
    }
    ((_, logits),) = ensemble.logits(image)
    theirs = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, plans, configuration, LabelManager(names, regions), properties, num_threads_torch=1
    )
    ours = predict_box(ensemble, image, grid, patch, (1, 1, 1), regions)
    np.testing.assert_array_equal(ours, np.asarray(theirs)[patch.slices])


def test_a_box_by_hand():
    """Eight voxels along x, the first two cropped away, the others kept as three network voxels: two image voxels each."""
    grid = Grid((1, 1, 8), (0, 1, 2), (0, 0, 2), (1, 1, 6), (1, 1, 3))
    image = np.array([3.0, 1.0, 2.0], np.float32).reshape(1, 1, 1, 3)

    def logits(shown, case=""):
        yield "fold 0", torch.from_numpy(-np.abs(np.arange(4, dtype=np.float32)[:, None, None, None] - shown))

    labels = predict_box(SimpleNamespace(logits=logits), image, grid, Patch("a", (0, 0, 1), (1, 1, 6)), (1, 1, 1), None)
    assert labels.tolist() == [[[0, 3, 3, 1, 1, 2]]]


@pytest.mark.parametrize("order", [None, (1, 2, 3, 4)], ids=["classes", "regions"])
@given(boxes(), st.integers(1, 3), st.integers(0, 2**31))
def test_uncertainty_is_the_entropy_of_the_mean_at_the_nearest_network_voxel(order, chosen, members, seed):
    grid, patch = chosen
    image, ensemble = image_of(grid, seed), Pointwise(seed, members)
    labels, entropy, _ = predict_with_uncertainty(ensemble, image, grid, patch, (1, 1, 1), order)
    np.testing.assert_array_equal(labels, predict_box(ensemble, image, grid, patch, (1, 1, 1), order))
    assert entropy.dtype == np.float32
    for place in np.ndindex(*patch.size):
        voxel = np.add(place, patch.start)
        found = [nearest(grid, axis, int(voxel[source])) for axis, source in enumerate(grid.transpose)]
        if any(one is None for one in found):
            expected = [0.0]
        else:
            expected = [ensemble.entropy(image[:, z, y, x], order) for z in found[0] for y in found[1] for x in found[2]]
        assert min(abs(entropy[place] - one) for one in expected) < 1e-4, place


@pytest.mark.parametrize("order", [None, (1, 2, 3, 4)], ids=["classes", "regions"])
def test_how_far_members_are_apart_by_the_definition(order):
    """BALD in double precision over the patch alone, Dice pair by pair; a single member is not apart from anything."""
    grid = Grid((3, 4, 5), (0, 1, 2), (0, 0, 0), (3, 4, 5), (3, 4, 5))
    image, ensemble, patch = image_of(grid, 1), Pointwise(1, 3), Patch("case", (1, 0, 1), (2, 3, 3))
    found = predict_with_uncertainty(ensemble, image, grid, patch, (1, 1, 1), order).apart
    alone = [SimpleNamespace(weights=weights[None]) for weights in ensemble.weights]
    bald, masks = [], []
    for voxel in image[(slice(None), *patch.slices)].reshape(CHANNELS, -1).T:
        each = [Pointwise.entropy(one, voxel, order) for one in alone]
        bald.append(ensemble.entropy(voxel, order) - np.mean(each))
        masks.append([Pointwise.label(one, voxel, order) > 0 for one in alone])
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in combinations(np.array(masks).T, 2)]
    assert found.bald == pytest.approx(np.mean(bald), abs=1e-5)
    assert found.disagreement == pytest.approx(1 - np.mean(dice))
    single = predict_with_uncertainty(Pointwise(1, 1), image, grid, patch, (1, 1, 1), order).apart
    assert single.bald == pytest.approx(0, abs=1e-6)
    assert np.isnan(single.disagreement)
