"""What the ensemble predicts in patches of an experiment's cases, from the image around them only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.members.ensemble import Members
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.metrics.ambiguity import Disagreement
from nnactive_ext.nnunet.preprocessing import Preprocessed
from nnactive_ext.query_methods.base import Statistics
from nnactive_ext.query_methods.scores import bald, predictive_entropy

if TYPE_CHECKING:
    import torch


class Apart(NamedTuple):
    """How far members are apart in a part of an image: the mean of ``bald`` over its voxels in nat, and their ``disagreement``,
    which is 1 - mean pairwise Dice of their foreground (0 to 1, NaN of a single member)."""

    bald: float
    disagreement: float


class Unsure(NamedTuple):
    """A label map (z, y, x), uint16, the ``entropy`` (z, y, x) of the members' mean in nat, float32, and how far they are
    ``apart``."""

    labels: np.ndarray
    entropy: np.ndarray
    apart: Apart


def predict_box(
    ensemble: Members,
    image: np.ndarray,
    grid: Grid,
    patch: Patch,
    window: Sequence[int],
    regions_order: Sequence[int] | None,
    without: Collection[int] = (),
) -> np.ndarray:
    """The label map (z, y, x) in ``patch`` of an image: the class of the highest mean probability over the members.

    ``image`` is preprocessed (channel, z, y, x) and ``grid`` how it came about; ``window`` is the network patch, so much
    context is predicted on each side; ``regions_order`` is nnU-Net's ``regions_class_order`` (None: no regions). Labels
    come back to the image's voxels by the nearest network voxel; what nnU-Net cropped away is background. ``without``:
    channels that no voxel gets; the likeliest of the others does.
    """
    predicted = _statistics(ensemble, image, grid, patch, window, regions_order is not None)
    if predicted is None:
        return np.zeros(patch.size, np.uint16)
    return on_image(labels_of(predicted[0].mean, regions_order, without), grid, patch, predicted[1])


def predict_with_uncertainty(
    ensemble: Members, image: np.ndarray, grid: Grid, patch: Patch, window: Sequence[int], regions_order: Sequence[int] | None
) -> Unsure:
    """:func:`predict_box`, and how unsure the members are.

    The entropy of regions is the sum of the binary entropies; it is 0 in what nnU-Net cropped away, as is BALD.
    """
    differ, each = Disagreement(), list[np.ndarray]()

    def keep(logits: torch.Tensor) -> None:
        each.append(labels_of_member(logits, regions_order) > 0)

    predicted = _statistics(ensemble, image, grid, patch, window, regions_order is not None, keep)
    if predicted is None:
        return Unsure(np.zeros(patch.size, np.uint16), np.zeros(patch.size, np.float32), Apart(0.0, 0.0))
    statistics, offset = predicted
    for mask in each:
        differ.add(on_image(mask, grid, patch, offset))
    labels = on_image(labels_of(statistics.mean, regions_order), grid, patch, offset)
    mean = float(on_image(bald(statistics), grid, patch, offset).mean(dtype=np.float64))
    return Unsure(labels, on_image(predictive_entropy(statistics), grid, patch, offset), Apart(mean, differ.value))


def _statistics(
    ensemble: Members,
    image: np.ndarray,
    grid: Grid,
    patch: Patch,
    window: Sequence[int],
    regions: bool,
    each: Callable[[torch.Tensor], None] = lambda logits: None,
) -> tuple[Statistics, Triple] | None:
    """Of the patch and the context around it, and where that begins on the network's grid; None if all was cropped away.
    ``each`` is called with every member's logits."""
    covered = grid.to_network(patch)
    if covered is None:
        return None
    context = widened(covered, window, grid.network_shape)
    running = RunningStatistics(regions)
    for name, logits in ensemble.logits(np.ascontiguousarray(image[(slice(None), *context.slices)]), patch.case):
        running.add(logits, name)
        each(logits)
    return running.result(), context.start


def labels_of(mean: np.ndarray, regions_order: Sequence[int] | None, without: Collection[int] = ()) -> np.ndarray:
    """The label map (z, y, x), uint16, of probabilities (channel, z, y, x); arguments as of :func:`predict_box`."""
    kept = [channel for channel in range(len(mean)) if channel not in without]
    if regions_order is None:
        return np.array(kept, np.uint16)[(mean[kept] if without else mean).argmax(axis=0)]
    predicted = np.zeros(mean.shape[1:], np.uint16)
    for channel in kept:  # later ones cover earlier ones, as in nnU-Net
        predicted[mean[channel] > 0.5] = regions_order[channel]
    return predicted


def labels_of_member(logits: torch.Tensor, regions_order: Sequence[int] | None) -> np.ndarray:
    """The label map (z, y, x), uint16, of one member."""
    if regions_order is None:
        return np.asarray(logits.argmax(0).cpu().numpy().astype(np.uint16))
    return labels_of((logits > 0).cpu().numpy().astype(np.float32), regions_order)


def widened(patch: Patch, window: Sequence[int], shape: Sequence[int]) -> Patch:
    """``patch`` with a ``window`` of context on each side, as far as an image of ``shape`` reaches."""
    start = [max(0, a - w) for a, w in zip(patch.start, window, strict=True)]
    stop = [min(n, b + w) for b, w, n in zip(patch.stop, window, shape, strict=True)]
    return Patch(patch.case, triple(start), triple([b - a for a, b in zip(start, stop, strict=True)]))


def on_image(predicted: np.ndarray, grid: Grid, patch: Patch, offset: Triple) -> np.ndarray:
    """``predicted``, which begins at ``offset`` on the network's grid, at the voxels of ``patch``."""
    indices, inside = [], []
    for axis, source in enumerate(grid.transpose):
        voxels = np.arange(patch.start[source], patch.stop[source]) - grid.crop_start[axis]
        index = np.floor((voxels + 0.5) * grid.scale[axis]).astype(int) - offset[axis]
        inside.append((voxels >= 0) & (voxels < grid.crop_size[axis]))
        indices.append(np.clip(index, 0, predicted.shape[axis] - 1))
    z, y, x = (kept.astype(predicted.dtype) for kept in inside)
    moved = predicted[np.ix_(*indices)] * (z[:, None, None] * y[:, None] * x)
    return np.ascontiguousarray(moved.transpose(np.argsort(grid.transpose)))


class Predictor:
    """Called with a patch of a case of the pool, returns its label map (z, y, x): see :func:`predict_box`.

    ``without``: names of classes that are not predicted.
    """

    def __init__(self, experiment: Experiment, open_ensemble: Callable[[], Members], without: Collection[str] = ()):
        self._experiment, self._open = experiment, open_ensemble
        channels = experiment.dataset.labels.channels
        self._without = [channel for channel, name in channels.items() if name in without]
        self._ensemble: Members | None = None
        self._loaded: tuple = ("", None, None)
        self._target: Preprocessed = experiment.preprocessed
        self._window = self._target.manager()[1].patch_size

    def __call__(self, patch: Patch) -> np.ndarray:
        return predict_box(*self._arguments(patch), without=self._without)

    def with_uncertainty(self, patch: Patch) -> Unsure:
        """See :func:`predict_with_uncertainty`."""
        return predict_with_uncertainty(*self._arguments(patch))

    def _arguments(self, patch: Patch) -> tuple[Members, np.ndarray, Grid, Patch, Sequence[int], Sequence[int] | None]:
        if self._ensemble is None:
            self._ensemble = self._open()
        if self._loaded[0] != patch.case:
            self._loaded = (patch.case, *self._target.load(patch.case))
        window = [1, *self._window][-3:] if len(self._window) == 2 else self._window
        _, image, grid = self._loaded
        return self._ensemble, image, grid, patch, window, self._experiment.dataset.labels.order
