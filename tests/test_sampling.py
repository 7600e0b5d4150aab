"""Network patches hold an annotated voxel, uniformly anywhere in them, also after nnU-Net's augmentation."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.utils.cropping import center_crop
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from scipy.stats import chisquare

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.sampling import RegionDataLoader, draw_position, draw_voxel, place

IGNORE = 3
LABELS = LabelManager({"background": 0, "a": 1, "b": 2, "ignore": IGNORE}, None)
REGIONS = LabelManager({"background": 0, "whole": [1, 2], "core": 2, "ignore": IGNORE}, [1, 2])
FULL = LabelManager({"background": 0, "a": 1, "b": 2}, None)
ANNOTATED = (-1, 0, 1, 2)


@pytest.fixture(autouse=True)
def _seed():
    np.random.seed(0)  # noqa: NPY002 the random state the loader draws from
    torch.manual_seed(0)


class Memory:
    """A preprocessed dataset in memory: {case: labels (z, y, x)}; the image holds 1 + the voxel's flat index."""

    def __init__(self, labels: dict[str, np.ndarray], manager: LabelManager = LABELS):
        self.identifiers = sorted(labels)
        self.cases = {}
        for case, seg in labels.items():
            image = 1 + np.arange(seg.size, dtype=np.float32).reshape(1, *seg.shape)
            wanted = list(manager.foreground_regions if manager.has_regions else manager.foreground_labels)
            if manager.has_ignore_label:
                wanted.append([-1, *manager.all_labels])
            locations = DefaultPreprocessor._sample_foreground_locations(seg[None], wanted)
            self.cases[case] = image, seg[None].astype(np.int16), None, {"class_locations": locations}

    def load_case(self, case):
        return self.cases[case]


def partly(shape, box, value=1):
    """Labels that are ``value`` in a box and ignored elsewhere."""
    seg = np.full(shape, IGNORE)
    seg[tuple(slice(a, b) for a, b in box)] = value
    return seg


def transforms(size, manager, scales, training=True):
    labels = {
        "foreground_labels": manager.foreground_labels,
        "regions": manager.foreground_regions if manager.has_regions else None,
        "ignore_label": manager.ignore_label,
    }
    if not training:
        return nnUNetTrainer.get_validation_transforms(scales, **labels)
    made = nnUNetTrainer.get_training_transforms(
        size, (-np.pi, np.pi), scales, tuple(range(len(size))), False, use_mask_for_norm=[False], **labels
    )
    made.transforms[0].p_rotation = made.transforms[0].p_scaling = 0.8  # lose voxels more often than in practice
    return made


def test_place_matches_the_crop_of_the_augmentation():
    """What the augmentation cuts out of the middle has the voxel at the position asked for, for odd and even sizes."""
    image = torch.arange(100)[None]
    for final in range(1, 9):
        for size in range(final, 14):
            (start,) = place([50], [final // 3], [100], [size], [final])
            assert center_crop(image[:, start : start + size], (final,))[0, final // 3] == 50


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_voxel_is_always_in_the_final_patch(data):
    extent = data.draw(st.integers(1, 40))
    final = data.draw(st.integers(1, 30))
    size = final + data.draw(st.integers(0, 20))
    voxel = data.draw(st.integers(0, extent - 1))
    position = data.draw(st.integers(0, final - 1))
    (start,) = place([voxel], [position], [extent], [size], [final])
    cut_out = torch.arange(start, start + size)[None]
    final_patch = center_crop(cut_out, (final,))[0]
    assert voxel in final_patch
    if extent >= final:  # stays inside the image, but for nnU-Net's rounding
        assert final_patch[0] >= -1
        assert final_patch[-1] <= extent


@pytest.mark.parametrize("augmented", [True, False], ids=["train", "validation"])
@pytest.mark.parametrize("force_fg", [True, False])
@pytest.mark.parametrize("final", [(5, 6, 7), (6, 7)], ids=["3d", "2d"])
def test_voxel_is_uniform_in_the_final_patch(final, force_fg, augmented):
    voxel = (20, 30, 40)
    seg = partly((60, 60, 60), [(v, v + 1) for v in voxel])
    size = tuple(n + 3 if augmented else n for n in final)
    loader = RegionDataLoader(Memory({"a": seg}), 1, size, final, LABELS)
    locations = loader._data.load_case("a")[-1]["class_locations"]
    counts = np.zeros(loader.final_patch_size)
    draws = 40 * counts.size
    for _ in range(draws):
        starts, stops = loader.get_bbox(seg.shape, force_fg, locations)
        cut_out = [torch.arange(a, b)[None] for a, b in zip(starts, stops, strict=True)]
        firsts = [int(center_crop(c, (n,))[0, 0]) for c, n in zip(cut_out, loader.final_patch_size, strict=True)]
        counts[tuple(v - f for v, f in zip(voxel, firsts, strict=True))] += 1
    assert counts.sum() == draws
    assert chisquare(counts.ravel()).pvalue > 0.001


def test_forced_foreground_draws_classes_uniformly_and_then_their_voxels():
    locations = {
        1: np.array([[0, 1, 1, 1]]),
        2: np.array([[0, 2, 2, z] for z in range(9)]),
        (1, 2): np.array([[0, 3, 3, 3]]),
        4: [],
        ANNOTATED: np.array([[0, 5, 5, 5]]),
    }
    drawn = [tuple(draw_voxel(locations, ANNOTATED, True)) for _ in range(3000)]
    per_class = [sum(v[0] == key for v in drawn) for key in (1, 2, 3)]
    assert sum(per_class) == 3000
    assert chisquare(per_class).pvalue > 0.001
    assert chisquare([drawn.count((2, 2, z)) for z in range(9)]).pvalue > 0.001
    assert tuple(draw_voxel({1: [], ANNOTATED: locations[ANNOTATED]}, ANNOTATED, True)) == (5, 5, 5)
    assert tuple(draw_voxel(locations, ANNOTATED, False)) == (5, 5, 5)
    assert draw_voxel({1: [], ANNOTATED: []}, ANNOTATED, True) is None
    assert all(0 <= p < n for _ in range(50) for p, n in zip(draw_position((1, 3)), (1, 3), strict=True))


def _annotated(target, manager):
    finest = target[0] if isinstance(target, list) else target
    mask = finest[:, -1] == 0 if manager.has_regions else finest[:, 0] != IGNORE
    return mask.flatten(1).any(1)


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("manager", [LABELS, REGIONS], ids=["labels", "regions"])
@pytest.mark.parametrize(
    ("shape", "box", "final"),
    [
        ((40, 50, 45), [(20, 21), (30, 31), (7, 8)], (12, 13, 11)),  # a single voxel in a large image
        ((40, 50, 45), [(0, 3), (46, 50), (0, 2)], (12, 13, 11)),  # a corner
        ((7, 30, 9), [(6, 7), (0, 1), (3, 5)], (12, 13, 11)),  # smaller than the network patch
        ((20, 40, 40), [(11, 12), (5, 8), (30, 33)], (16, 15)),  # one slice of twenty
        ((20, 10, 11), [(11, 12), (9, 10), (0, 1)], (16, 15)),
    ],
)
def test_batches_contain_annotated_voxels_after_augmentation(shape, box, final, manager, training):
    scales = [[1.0] * len(final), [0.5] * len(final)]
    size = tuple(int(1.6 * n) for n in final) if training else final
    loader = RegionDataLoader(
        Memory({"a": partly(shape, box), "empty": np.full(shape, IGNORE)}, manager),
        batch_size=6,
        patch_size=size,
        final_patch_size=final,
        label_manager=manager,
        oversample_foreground_percent=0.33,
        transforms=transforms(final, manager, scales, training),
    )
    for _ in range(8):
        batch = next(loader)
        channels = 3 if manager.has_regions else 1
        assert batch["data"].shape == (6, 1, *final)
        assert batch["data"].dtype == torch.float32
        assert [tuple(t.shape[:2]) for t in batch["target"]] == [(6, channels)] * 2
        assert batch["target"][1].shape[2:] == tuple(round(n * 0.5) for n in final)
        assert _annotated(batch["target"], manager).all()
        assert set(batch["keys"]) == {"a"}


def test_targets_belong_to_the_image_and_padding_is_ignored():
    """Without interpolation, exactly the voxels of the annotated box are annotated, at the place the image has them."""
    shape, box = (9, 20, 20), [(4, 8), (3, 5), (10, 19)]
    seg = partly(shape, box, value=2)
    loader = RegionDataLoader(Memory({"a": seg}), 4, (12, 12, 12), (12, 12, 12), LABELS)
    for _ in range(5):
        batch = next(loader)
        image, target = batch["data"][:, 0].long(), batch["target"][:, 0]
        expected = np.where(image == 0, IGNORE, seg.ravel()[np.maximum(image.numpy() - 1, 0)])
        np.testing.assert_array_equal(target, expected)


def test_last_resort_keeps_the_voxel(monkeypatch):
    """If the augmentation lost the voxel each time, the sample is taken without augmentation."""
    manager, final = REGIONS, (6, 6, 6)
    chain = transforms(final, manager, None)
    chain.transforms[0].p_rotation, chain.transforms[0].p_scaling = 0, 1
    chain.transforms[0].scaling = (50, 50)  # all but the very centre vanishes
    seg = partly((30, 30, 30), [(3, 4), (28, 29), (15, 16)], 2)
    loader = RegionDataLoader(Memory({"a": seg}, manager), 3, (10, 10, 10), final, manager, transforms=chain)
    batch = next(loader)
    assert (~batch["target"][:, -1]).flatten(1).sum(1).tolist() == [1, 1, 1]
    assert batch["target"][:, :2].flatten(1).sum(1).tolist() == [2, 2, 2]  # label 2 is in both regions


def test_no_annotated_case_is_an_error_that_names_the_split():
    empty = {"a": np.full((9, 9, 9), IGNORE), "b": np.full((9, 9, 9), IGNORE)}
    with pytest.raises(NnActiveError, match="validation cases of fold 3"):
        RegionDataLoader(Memory(empty), 1, (4, 4, 4), (4, 4, 4), LABELS, described="the validation cases of fold 3")


def test_without_ignore_label_all_places_are_drawn():
    seg = np.zeros((8, 8, 8), dtype=int)
    seg[0, 0, 0] = 1
    data = Memory({"a": seg, "b": np.zeros((8, 8, 8), dtype=int)}, FULL)
    loader = RegionDataLoader(data, 1, (4, 4, 4), (4, 4, 4), FULL)
    assert loader.indices == ["a", "b"]
    locations = data.load_case("a")[-1]["class_locations"]
    starts = [tuple(loader.get_bbox((8, 8, 8), False, locations)[0]) for _ in range(1250)]
    assert chisquare([starts.count(tuple(s)) for s in np.ndindex(5, 5, 5)]).pvalue > 0.001
    forced = [loader.get_bbox((8, 8, 8), True, locations)[0] for _ in range(50)]
    assert all(start == [0, 0, 0] for start in forced)  # the corner voxel fits in one network patch only
    loader.get_bbox((8, 8, 8), True, data.load_case("b")[-1]["class_locations"])


def test_probabilities_follow_the_cases_kept():
    cases = {
        "a": partly((9, 9, 9), [(1, 2)] * 3),
        "b": np.full((9, 9, 9), IGNORE),
        "c": partly((9, 9, 9), [(1, 2)] * 3),
    }
    loader = RegionDataLoader(Memory(cases), 2, (4, 4, 4), (4, 4, 4), LABELS, sampling_probabilities=[0.2, 0.8, 0])
    assert all(set(next(loader)["keys"]) == {"a"} for _ in range(5))


def test_loader_survives_pickling():
    final = (6, 6, 6)
    loader = RegionDataLoader(
        Memory({"a": partly((9, 9, 9), [(1, 2)] * 3)}),
        2,
        (8, 8, 8),
        final,
        LABELS,
        transforms=transforms(final, LABELS, None),
    )
    np.random.seed(1)  # noqa: NPY002
    assert next(pickle.loads(pickle.dumps(loader)))["data"].shape == (2, 1, 6, 6, 6)
