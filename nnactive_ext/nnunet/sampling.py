"""Network patches around annotated voxels: the data loader of the trainers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from batchgeneratorsv2.transforms.base.basic_transform import SegOnlyTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from threadpoolctl import threadpool_limits

from nnactive_ext.errors import NnActiveError

Locations = Mapping[Hashable, Sequence]
"""nnU-Net's ``class_locations``: label, region or "anywhere annotated" -> (n, 4) voxels (0, z, y, x)."""

ATTEMPTS = 10
"""Draws for one sample before its augmentation is given up. A rotated or shrunk single annotated voxel vanishes in up
to a third of the draws, so the last resort is needed about once in 10^5 samples, and practically never for patches."""


def draw_voxel(locations: Locations, annotated: Hashable, force_fg: bool) -> list[int] | None:
    """Draw the voxel (z, y, x) a network patch has to contain, from numpy's global random state, as nnU-Net does.

    ``annotated`` is the key of the voxels annotated with whatever class. With ``force_fg`` a class (or region) present
    in the case is drawn first, each with the same probability, then one of its voxels; a case without any falls back
    to an annotated voxel. None means that the case has neither.
    """
    present = [key for key in locations if key != annotated and len(locations[key]) > 0] if force_fg else []
    key = present[np.random.randint(len(present))] if present else annotated  # noqa: NPY002
    voxels = locations.get(key, ())
    if len(voxels) == 0:
        return None
    return [int(v) for v in voxels[np.random.randint(len(voxels))][1:]]  # noqa: NPY002


def draw_position(final_size: Sequence[int]) -> list[int]:
    """Draw where in the final network patch the voxel lies: uniform in [0, size) along each axis."""
    return [int(np.random.randint(size)) for size in final_size]  # noqa: NPY002


def place(
    voxel: Sequence[int],
    position: Sequence[int],
    shape: Sequence[int],
    size: Sequence[int],
    final_size: Sequence[int],
    need_to_pad: Sequence[int] | None = None,
) -> list[int]:
    """First voxel of the cut-out of ``size`` whose final network patch has ``voxel`` at ``position``.

    The final network patch is the middle of the cut-out, where nnU-Net's spatial augmentation takes it from. The
    cut-out is then moved into the bounds nnU-Net keeps for an image of this ``shape``, so near a border the voxel
    lies elsewhere than at ``position``, but still in the final network patch.

    Everything is in voxels, one entry per axis; the result may be negative (the cut-out is padded).
    ``need_to_pad`` is the loader's attribute of that name, ``size - final_size`` by default.

    >>> place(voxel=[50], position=[3], shape=[100], size=[14], final_size=[10])  # final patch: 47 <= voxel < 57
    [45]
    >>> place(voxel=[1], position=[3], shape=[100], size=[14], final_size=[10])  # final patch: 0 <= voxel < 10
    [-2]
    """
    starts = []
    for d, extent in enumerate(shape):
        pad = size[d] - final_size[d] if need_to_pad is None else int(need_to_pad[d])
        pad = max(pad, size[d] - extent)
        # The two bounds are nnUNetDataLoader.get_bbox's, with its rounding.
        low, high = -pad // 2, extent + pad // 2 + pad % 2 - size[d]
        # batchgeneratorsv2's crop_tensor centres at size // 2; (size - final) // 2 is one less for an odd patch in an
        # even cut-out.
        margin = size[d] // 2 - final_size[d] // 2
        starts.append(int(min(max(voxel[d] - position[d] - margin, low), high)))
    return starts


class RegionDataLoader(nnUNetDataLoader):
    """nnU-Net's loader, except that each network patch holds an annotated voxel, uniformly anywhere in it.

    The voxel is any annotated one, or, for the samples nnU-Net oversamples, one of a random foreground class. It lies
    uniformly in the *final* network patch (not at its centre, and not in the larger cut-out the augmentation starts
    from). A sample that lost all its annotated voxels to the augmentation is drawn again. Padding is not annotated:
    with an ignore label it is ignored in the target, where nnU-Net would teach it as background.

    Without an ignore label everything is annotated, and only the oversampled patches differ from nnU-Net's.

    ``described`` names the cases in the error raised when none of them has an annotated voxel. The other arguments are
    those of ``nnUNetDataLoader``. Cascades are not supported.
    """

    # Of the untyped base class.
    patch_size: Sequence[int]
    final_patch_size: Sequence[int]
    indices: list[str]
    sampling_probabilities: np.ndarray | None

    def __init__(
        self, data, batch_size, patch_size, final_patch_size, label_manager, *, described="the given cases", **options
    ):
        super().__init__(data, batch_size, patch_size, final_patch_size, label_manager, **options)
        self.patch_size = [int(n) for n in self.patch_size]
        self.final_patch_size = [int(n) for n in self.final_patch_size]
        self.has_regions = label_manager.has_regions
        self.ignore_label = label_manager.ignore_label
        self.outside = self.ignore_label if self.has_ignore else -1
        steps = self.transforms.transforms if isinstance(self.transforms, ComposeTransforms) else []
        for step in steps:
            if isinstance(step, SpatialTransform):
                step.padding_value_seg = self.outside
        self.label_transforms = ComposeTransforms([step for step in steps if isinstance(step, SegOnlyTransform)])
        if self.has_ignore:
            self._keep_annotated_cases(described)

    def _keep_annotated_cases(self, described: str) -> None:
        """Draw from the cases with an annotated voxel only; checked here, where an error still reaches the user."""
        keep = [
            i
            for i, case in enumerate(self.indices)
            if len(self._data.load_case(case)[-1]["class_locations"].get(self.annotated_classes_key, ())) > 0
        ]
        if not keep:
            raise NnActiveError(
                f"No voxel is annotated in {described} ({len(self.indices)} in all): there is nothing to learn from. "
                "Annotate a patch in one of them and preprocess it again, or make a new splits_final.json in which "
                "each fold's training and validation cases include annotated ones."
            )
        if self.sampling_probabilities is not None:
            kept = np.asarray(self.sampling_probabilities, dtype=float)[keep]
            self.sampling_probabilities = kept / kept.sum()
        self.indices = [self.indices[i] for i in keep]

    def get_bbox(self, data_shape, force_fg, class_locations, overwrite_class=None, verbose=False):
        """Draw the cut-out for one sample: its first voxels and the ones after its last."""
        voxel = None
        if force_fg or self.has_ignore:
            asked = class_locations if overwrite_class is None else {overwrite_class: class_locations[overwrite_class]}
            voxel = draw_voxel(asked, self.annotated_classes_key, force_fg)
        if voxel is None:  # nothing to aim at: nnU-Net's uniform crop
            return super().get_bbox(data_shape, False, class_locations)
        position = draw_position(self.final_patch_size)
        starts = place(voxel, position, data_shape, self.patch_size, self.final_patch_size, self.need_to_pad)
        return starts, [start + size for start, size in zip(starts, self.patch_size, strict=True)]

    def generate_train_batch(self) -> dict:
        """nnU-Net's batch: ``data`` (b, c, [z,] y, x) float32, ``target`` and ``keys``, the cases.

        ``target`` has one channel, or one per region and then the ignore mask; with deep supervision it is a list of
        such arrays, the finest first.
        """
        cases = self.get_indices()
        with torch.no_grad(), threadpool_limits(limits=1, user_api=None):
            samples = [self._sample(case, self.get_do_oversample(j)) for j, case in enumerate(cases)]
        images, targets = zip(*samples, strict=True)
        scales = isinstance(targets[0], list)
        target = [torch.stack(scale) for scale in zip(*targets, strict=True)] if scales else torch.stack(targets)
        return {"data": torch.stack(images), "target": target, "keys": cases}

    def _sample(self, case: str, force_fg: bool):
        data, seg, _, properties = self._data.load_case(case)
        shape, locations = data.shape[1:], properties["class_locations"]
        for _ in range(ATTEMPTS):
            starts, stops = self.get_bbox(shape, force_fg, locations)
            image, target = self._cut(data, seg, starts, stops, self.transforms)
            if not self.has_ignore or self._has_annotated(target):
                return image, target
        # Without augmentation the voxel cannot get lost.
        voxel = draw_voxel(locations, self.annotated_classes_key, force_fg)
        size = self.final_patch_size
        assert voxel is not None, case  # cases without one have been left out
        starts = place(voxel, draw_position(size), shape, size, size)
        stops = [start + extent for start, extent in zip(starts, size, strict=True)]
        return self._cut(data, seg, starts, stops, self.label_transforms)

    def _cut(self, data, seg, starts, stops, transforms):
        box = [[start, stop] for start, stop in zip(starts, stops, strict=True)]
        image = torch.from_numpy(crop_and_pad_nd(data, box, 0)).float()
        target = torch.from_numpy(crop_and_pad_nd(seg, box, self.outside, cast_cropped_to=np.int16)).to(torch.int16)
        if self.patch_size_was_2d:
            image, target = image[:, 0], target[:, 0]
        if transforms is None:
            return image, target
        sample = transforms(image=image, segmentation=target)
        return sample["image"], sample["segmentation"]

    def _has_annotated(self, target) -> bool:
        finest = target[0] if isinstance(target, list) else target
        # With regions the last channel is the ignore mask; a target not yet converted to regions is a label map.
        if self.has_regions and len(finest) > 1:
            return bool((finest[-1] == 0).any())
        return bool((finest[0] != self.ignore_label).any())
