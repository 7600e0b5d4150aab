"""What the ensemble predicts in a box, from the image around it only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnactive_ext.ensemble import Ensemble
from nnactive_ext.grid import Grid
from nnactive_ext.patch import Patch, Triple, triple
from nnactive_ext.statistics import RunningStatistics


def predict_box(
    ensemble: Ensemble, image: np.ndarray, grid: Grid, patch: Patch, window: Sequence[int], regions_order: Sequence[int] | None
) -> np.ndarray:
    """The label map (z, y, x) in ``patch`` of an image: the class of the highest mean probability over the members.

    ``image`` is preprocessed (channel, z, y, x) and ``grid`` how it came about; ``window`` is the network patch, so much
    context is predicted on each side; ``regions_order`` is nnU-Net's ``regions_class_order`` (None: no regions). Labels
    come back to the image's voxels by the nearest network voxel; what nnU-Net cropped away is background.
    """
    covered = grid.to_network(patch)
    labels = np.zeros(patch.size, np.uint16)
    if covered is None:
        return labels
    context = _widened(covered, window, grid.network_shape)
    running = RunningStatistics(regions_order is not None)
    for name, logits in ensemble.logits(np.ascontiguousarray(image[(slice(None), *context.slices)])):
        running.add(logits, name)
    mean = running.result().mean
    if regions_order is None:
        predicted = mean.argmax(axis=0).astype(np.uint16)
    else:
        predicted = np.zeros(mean.shape[1:], np.uint16)
        for region, value in zip(mean, regions_order, strict=True):  # later ones cover earlier ones, as in nnU-Net
            predicted[region > 0.5] = value
    return _on_image(predicted, grid, patch, context.start)


def _widened(patch: Patch, window: Sequence[int], shape: Sequence[int]) -> Patch:
    start = [max(0, a - w) for a, w in zip(patch.start, window, strict=True)]
    stop = [min(n, b + w) for b, w, n in zip(patch.stop, window, shape, strict=True)]
    return Patch(patch.case, triple(start), triple([b - a for a, b in zip(start, stop, strict=True)]))


def _on_image(predicted: np.ndarray, grid: Grid, patch: Patch, offset: Triple) -> np.ndarray:
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
