"""A whole volume predicted part by part equals nnU-Net's prediction of it in one piece; stores resume and refuse."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("zarr")
from large import brain, write_zarr

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.images.label_store import LabelStore
from nnactive_ext.images.volumes import Block, open_volume
from nnactive_ext.members.block_values import grey_values
from nnactive_ext.members.whole import WholePrediction, predict_parts
from nnactive_ext.members.windows import Windows, cores

pytestmark = pytest.mark.usefixtures("one_thread")
BLOCKS = ((8, 8, 8), (16, 24, 32), (0, 30, 40))
LABELS = {"background": 0, "spot": 1, "body": 2}


class Random:
    """nnU-Net's predictor with a random network of two layers, two members of it."""

    def __init__(self, patch, channels: int = 1, transpose=(0, 1, 2), masked: bool = False):
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.label_handling.label_handling import LabelManager

        dim = len(patch)
        conv = torch.nn.Conv3d if dim == 3 else torch.nn.Conv2d

        def network(seed: int):
            torch.manual_seed(seed)
            layers = conv(channels, 4, 3, padding=1), torch.nn.ReLU(), conv(4, 3, 3, padding=1, bias=False)
            return torch.nn.Sequential(*layers)

        scale = [0.002, 0.0005, 0.0005]
        configuration = SimpleNamespace(
            patch_size=list(patch),
            spacing=[scale[axis] for axis in transpose][-dim:],
            previous_stage_name=None,
            normalization_schemes=["ZScoreNormalization"] * channels,
            use_mask_for_norm=[masked] * channels,
        )
        labels = LabelManager(LABELS, None)
        plans = SimpleNamespace(transpose_forward=list(transpose), foreground_intensity_properties_per_channel={})
        plans.get_label_manager = lambda json: labels
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False, perform_everything_on_device=False)
        weights = [network(seed).state_dict() for seed in (1, 2)]
        predictor.manual_initialization(network(0), plans, configuration, weights, {}, "", (0, 1))
        self._predictor = predictor

    @property
    def planned(self):
        return self._predictor.plans_manager, self._predictor.configuration_manager, self._predictor.label_manager

    def whole(self, image: np.ndarray) -> np.ndarray:
        self._predictor.use_mirroring, self._predictor.tile_step_size = True, 0.5
        logits = self._predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image))
        return np.asarray(self._predictor.label_manager.convert_logits_to_segmentation(logits))


from nnactive_ext.members.ensemble import NnUNetEnsemble  # noqa: E402

Random.segment_windows = NnUNetEnsemble.segment_windows  # type: ignore[attr-defined]


def volume_at(folder: Path, shape, **more):
    return open_volume(write_zarr(folder / "brain.ome.zarr", brain(shape), **more))


def blocks_of(volume) -> list[Block]:
    size = tuple(min(8, n) for n in volume.level.shape)
    starts = [tuple(min(a, n - s) for a, n, s in zip(start, volume.level.shape, size, strict=True)) for start in BLOCKS]
    return [Block(volume.path, start, size) for start in starts]


@pytest.mark.parametrize(
    ("shape", "patch", "transpose", "size"),
    [
        ((20, 18, 23), (12, 8, 8), (2, 0, 1), (16, 9, 14)),
        ((5, 18, 15), (8, 8, 8), (0, 1, 2), (8, 16, 10)),  # thinner than a network patch
        ((3, 18, 21), (8, 8), (0, 1, 2), (2, 16, 16)),  # slices
    ],
)
def test_parts_equal_the_prediction_of_the_whole(tmp_path, shape, patch, transpose, size):
    volume = volume_at(tmp_path, shape)
    ensemble = Random(patch, transpose=transpose)
    prediction = WholePrediction.of(ensemble, volume, blocks_of(volume))
    image = volume.read(0, (0, 0, 0), shape).astype(np.float32)[None]
    image = prediction.normalisation(np.ascontiguousarray(image.transpose(0, *(axis + 1 for axis in transpose))))
    expected = ensemble.whole(image).transpose(np.argsort(transpose))
    assert len(np.unique(expected)) > 1
    for core in cores(shape, size):
        np.testing.assert_array_equal(prediction.labels(core), expected[core.slices])


def test_a_crop_of_the_result_equals_nnunets_prediction_of_that_crop_beyond_the_overlap(tmp_path):
    """The crop begins and ends where windows do, so nnU-Net lays the same windows over it."""
    shape, patch = (24, 24, 28), (8, 8, 8)
    volume = volume_at(tmp_path, shape)
    ensemble = Random(patch)
    prediction = WholePrediction.of(ensemble, volume, blocks_of(volume))
    crop = volume.read(0, (4, 4, 8), (16, 20, 16)).astype(np.float32)[None]
    alone = ensemble.whole(prediction.normalisation(crop))
    inner = Patch("", (8, 8, 12), (8, 12, 8))  # 4 voxels, half a network patch, from the edges of the crop
    np.testing.assert_array_equal(prediction.labels(inner), alone[4:12, 4:16, 4:12])


def test_windows_are_nnunets(tmp_path):
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    windows = Windows((40, 50, 61), (16, 24, 8))
    assert windows.starts() == compute_steps_for_sliding_window((40, 50, 61), (16, 24, 8), 0.5)
    whole = windows.part(Patch("", (0, 0, 0), (40, 50, 61)))
    assert whole.context.size == (40, 50, 61)
    assert len(whole.windows) == np.prod([len(starts) for starts in windows.starts()])


def test_grey_values_are_the_mean_of_the_blocks(tmp_path):
    volume = volume_at(tmp_path, (40, 50, 61))
    blocks = blocks_of(volume)
    parts = [volume.read(0, block.start, block.size).astype(float) for block in blocks]
    (found,) = grey_values(blocks, 1, masked=False)
    assert found.mean == pytest.approx(np.mean([part.mean() for part in parts]))
    assert found.std == pytest.approx(np.sqrt(np.mean([part.var() for part in parts])))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_killed_prediction_goes_on_and_two_processes_share_it(tmp_path, version, monkeypatch):
    volume = volume_at(tmp_path, (20, 20, 20), version=version, translation=(3.0, 4.0, 5.5))
    prediction = WholePrediction.of(Random((16, 16, 16)), volume, blocks_of(volume))
    store = LabelStore(tmp_path / "labels.ome.zarr", volume, (16, 16, 16))
    store.begin(LABELS, {"members": "a"})
    all_parts = list(cores(volume.level.shape, store.part))
    expected = np.zeros(volume.level.shape, np.uint8)
    for core in all_parts:
        expected[core.slices] = prediction.labels(core)
    store.write(all_parts[2], expected[all_parts[2].slices])
    asked = []
    known = WholePrediction.labels
    monkeypatch.setattr(WholePrediction, "labels", lambda self, core: asked.append(core) or known(self, core))
    assert not store.finished
    store.begin(LABELS, {"members": "a"})
    assert predict_parts(prediction, store, (1, 2), progress=False) == len(all_parts) // 2
    assert predict_parts(prediction, store, (0, 1), progress=False) == len(all_parts) - len(all_parts) // 2 - 1
    assert len(asked) == len(all_parts) - 1
    assert all_parts[2] not in asked
    store.finish()
    assert store.finished
    made = open_volume(store.path)
    np.testing.assert_array_equal(made.read(0, (0, 0, 0), volume.level.shape), expected)
    assert made.level == volume.level
    assert made.opened.version == version
    with pytest.raises(NnActiveError, match=r"labels\.ome\.zarr.*members"):
        store.begin(LABELS, {"members": "b"})


def test_coarser_levels_are_every_second_voxel_at_their_places(tmp_path):
    shape = (70, 300, 270)
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    volume = open_volume(write_zarr(tmp_path / "v.zarr", labels, chunks=64, levels=1, scale=(2, 1, 1), translation=(5, 6, 7)))
    store = LabelStore(tmp_path / "labels.ome.zarr", volume, (64, 64, 64))
    store.begin(LABELS, {})
    for core in cores(shape, store.part):
        store.write(core, labels[core.slices])
    store.finish()
    made = open_volume(store.path)
    assert [level.shape for level in made.levels] == [shape, (70, 150, 135)]
    coarse = made.on(1)
    np.testing.assert_array_equal(coarse.read(0, (0, 0, 0), coarse.level.shape), labels[:, ::2, ::2])
    assert coarse.level.spacing == pytest.approx((0.002, 0.002, 0.002))
    assert coarse.level.origin == pytest.approx(made.level.origin)


def test_parts_without_any_signal_are_background(tmp_path):
    voxels = brain((40, 50, 61))
    voxels[:, :, 30:] = 0
    volume = open_volume(write_zarr(tmp_path / "half.zarr", voxels))
    ensemble = Random((16, 16, 16))
    prediction = WholePrediction.of(ensemble, volume, [Block(volume.path, (0, 0, 0), (16, 16, 16))])
    ensemble.segment_windows = None  # type: ignore[method-assign]
    assert not prediction.labels(Patch("", (0, 0, 50), (16, 16, 11))).any()


def test_volumes_that_do_not_fit_are_refused(tmp_path):
    volume = volume_at(tmp_path, (40, 50, 61), scale=(2.0, 0.6, 0.6))
    with pytest.raises(NnActiveError, match="-level"):
        WholePrediction.of(Random((16, 16, 16)), volume, blocks_of(volume))
    shutil.rmtree(volume.path)
    open_volume.cache_clear()
    two = open_volume(write_zarr(tmp_path / "two.zarr", np.stack([brain((40, 50, 61))] * 2), axes="czyx"))
    with pytest.raises(NnActiveError, match="channel"):
        WholePrediction.of(Random((16, 16, 16)), two, blocks_of(two))
    (tmp_path / "mine.ome.zarr").mkdir()
    (tmp_path / "mine.ome.zarr" / "notes.txt").touch()
    with pytest.raises(NnActiveError, match="-o"):
        LabelStore(tmp_path / "mine.ome.zarr", two, (16, 16, 16)).begin(LABELS, {})
    assert (tmp_path / "mine.ome.zarr" / "notes.txt").is_file()
