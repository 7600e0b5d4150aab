"""The labels of a whole volume, part by part: those that nnU-Net would predict of it in one piece."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.blocks import BlockTable
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.images.label_store import LabelStore
from nnactive_ext.images.lengths import length_text
from nnactive_ext.images.volumes import Block, Volume
from nnactive_ext.intake.blocks import drawn, places
from nnactive_ext.intake.volumes import SIZE, typed_size
from nnactive_ext.members.block_values import GreyValues, Normalisation, grey_values, grey_values_of
from nnactive_ext.members.ensemble import check_members
from nnactive_ext.members.windows import Windows, cores
from nnactive_ext.words import count, listed

_TYPICAL = 32
"""So many blocks stand for a volume that the experiment has none of."""


class WindowEnsemble(Protocol):
    """What :class:`nnactive_ext.members.ensemble.NnUNetEnsemble` offers to predict a volume."""

    @property
    def planned(self) -> tuple[Any, Any, Any]: ...
    def segment_windows(self, image: np.ndarray, windows: Sequence[tuple], inside: tuple, mirroring: bool) -> np.ndarray: ...


@dataclass(frozen=True)
class WholePrediction:
    """A volume, the members that label it, and how it is normalised; the order of the network's axes is nnU-Net's."""

    ensemble: WindowEnsemble
    volume: Volume
    normalisation: Normalisation
    transpose: tuple[int, ...]
    windows: Windows
    mirroring: bool = True

    @classmethod
    def of(
        cls,
        ensemble: WindowEnsemble,
        volume: Volume,
        blocks: Sequence[Block],
        mirroring: bool = True,
        known: Sequence[GreyValues] = (),
    ) -> WholePrediction:
        """Prepare a prediction.

        Args:
            ensemble: the members.
            volume: open, on the level that is predicted.
            blocks: of the volume, whose grey values stand for those of an image.
            mirroring: average over mirrored windows, as nnU-Net does.
            known: the grey values of each channel, if they were measured before; then no block is read.

        Raises:
            NnActiveError: the voxels are of another size than the members were trained on, or the channels differ in number.
        """
        plans, configuration, _ = ensemble.planned
        transpose = tuple(int(axis) for axis in plans.transpose_forward)
        _check(volume, plans, configuration, transpose)
        schemes, masked = list(configuration.normalization_schemes), [bool(one) for one in configuration.use_mask_for_norm]
        values = known or grey_values(blocks, len(volume.channels), any(masked))
        intensities: Mapping[str, Any] = plans.foreground_intensity_properties_per_channel
        shape = triple([volume.level.shape[axis] for axis in transpose])
        windows = Windows(shape, tuple(int(n) for n in configuration.patch_size))
        return cls(ensemble, volume, Normalisation(schemes, masked, intensities, values), transpose, windows, mirroring)

    def labels(self, core: Patch) -> np.ndarray:
        """The label map (z, y, x) of a box of the volume; it does not depend on the box in which a voxel is predicted.

        Where all voxels that the network would see are 0, as in chunks that were never acquired, it is background.
        """
        part = self.windows.part(self._network(core))
        context = self._image(part.context)
        channels = range(len(self.volume.channels))
        image = np.stack([self.volume.read(channel, context.start, context.size).astype(np.float32) for channel in channels])
        if not image.any():
            return np.zeros(core.size, np.uint8)
        image = self.normalisation(np.ascontiguousarray(image.transpose(0, *(axis + 1 for axis in self.transpose))))
        if np.any(part.padding):
            image = np.pad(image, ((0, 0), *part.padding))
        predicted = self.ensemble.segment_windows(image, part.windows, part.inside, self.mirroring)
        return np.ascontiguousarray(predicted.transpose(np.argsort(self.transpose)))

    def _network(self, box: Patch) -> Patch:
        """A box along the network's axes."""
        start, size = ([values[axis] for axis in self.transpose] for values in (box.start, box.size))
        return Patch("", triple(start), triple(size))

    def _image(self, box: Patch) -> Patch:
        """A box along the image's axes."""
        back = np.argsort(self.transpose)
        return Patch("", triple([box.start[axis] for axis in back]), triple([box.size[axis] for axis in back]))


@dataclass(frozen=True)
class Asked:
    """What is labelled, by which members, and where the labels go.

    Args:
        experiment: its members are trained.
        volume: open, on the level that is predicted.
        target: where the labels are written; what was begun there with the same members goes on.
        folds: the members that are asked.
        size: of the parts, as typed; by default that of the experiment's blocks.
        mirroring: average over mirrored windows, as nnU-Net does.
    """

    experiment: Experiment
    volume: Volume
    target: Path
    folds: Sequence[Fold]
    size: Sequence[str] | None = None
    mirroring: bool = True

    @cached_property
    def store(self) -> LabelStore:
        """Where the labels go."""
        typed = self.size or self.experiment.plan.settings.get("block_size") or SIZE
        return LabelStore(self.target, self.volume, typed_size(typed, self.volume))

    @cached_property
    def record(self) -> dict[str, Any]:
        """What decides the labels, besides the volume's voxels.

        Raises:
            NnActiveError: a member is missing.
        """
        experiment, volume = self.experiment, self.volume
        return {
            "experiment": experiment.plan.experiment,
            "cycle": experiment.state["cycle"],
            "folds": list(self.folds),
            "trainings": check_members(experiment, self.folds),
            "volume": volume.path.name,
            "level": volume.level.number,
            "time": volume.time,
            "shape": list(volume.level.shape),
            "block_size": list(self.store.part),
            "mirroring": self.mirroring,
        }

    def lacking(self, parts: tuple[int, int] = (0, 1)) -> int:
        """Number of blocks that are not predicted yet; 0 also where the labels are finished.

        Args:
            parts: (part id, number of parts): in which share of the blocks.

        Raises:
            NnActiveError: something else is at the target, or a member is missing.
        """
        self.store.check_place()
        if self.store.path.exists():
            self.store.check_record(self.record)
        if self.store.finished:
            return 0
        return len(_open(self.store, parts))


def predict_volume(
    asked: Asked,
    open_ensemble: Callable[[Experiment, Sequence[Fold]], WindowEnsemble],
    parts: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> str:
    """Label a whole volume with the members of the current cycle, as OME-Zarr.

    Args:
        asked: what is labelled, and where the labels go.
        open_ensemble: opens the members of some folds; not called where all is predicted.
        parts: (part id, number of parts). With more than one, this process predicts its share; a later call without parts
            finishes the store.
        progress: show a progress bar.

    Returns:
        What was done, as a sentence.

    Raises:
        NnActiveError: something else is at the target, a member is missing, or the volume does not fit the members.
    """
    experiment, store, predicted = asked.experiment, asked.store, 0
    lacking = asked.lacking()
    if store.finished:
        return f"{asked.target} is finished already."
    if lacking or store.facts() is None:
        names = _label_values(experiment.dataset.json)
        ensemble = open_ensemble(experiment, asked.folds)
        known = [grey_values_of(fact) for fact in store.facts() or ()]
        blocks = [] if known else blocks_in(experiment, asked.volume)
        prediction = WholePrediction.of(ensemble, asked.volume, blocks, asked.mirroring, known)
        store.begin(names, asked.record)
        # Another process may have been first, and the experiment may have got blocks meanwhile.
        facts = store.agree(prediction.normalisation.facts())
        normalisation = replace(prediction.normalisation, values=[grey_values_of(fact) for fact in facts])
        predicted = predict_parts(replace(prediction, normalisation=normalisation), store, parts, progress)
    if parts[1] > 1:
        return f"Part {parts[0]} of {parts[1]} is predicted: {count(predicted, 'block')}."
    store.finish(store.facts())
    every = sum(1 for _ in cores(asked.volume.level.shape, store.part))
    return f"Wrote {asked.target}: {count(every, 'block')}, {predicted} of them predicted by this process."


def _label_values(described: Mapping[str, Any]) -> dict[str, int]:
    """Class -> value in the label map, by a dataset.json; of regions, the values of nnU-Net's ``regions_class_order``."""
    labels = {name: value for name, value in described["labels"].items() if name != "ignore"}
    if order := described.get("regions_class_order"):
        return {"background": 0, **dict(zip((name for name in labels if name != "background"), order, strict=True))}
    return labels


def blocks_in(experiment: Experiment, volume: Volume) -> list[Block]:
    """The experiment's blocks of a volume, or of a volume that it does not know, blocks drawn in the same way."""
    known = [block for block in BlockTable.read(experiment.raw).of(volume.path) if block.level == volume.level.number]
    if known:
        given = volume.opened.spacing
        return [replace(block, volume=volume.path, time=volume.time, spacing=given) for block in known]
    plan = experiment.plan
    there = places(volume, typed_size(plan.settings.get("block_size") or SIZE, volume), plan.seed, _TYPICAL)
    if not there.full:
        raise NnActiveError(f"{volume.path}: all of it is one grey value in a channel; there is nothing to predict.")
    return drawn(there, _TYPICAL, plan.seed)


def predict_parts(prediction: WholePrediction, store: LabelStore, parts: tuple[int, int], progress: bool = True) -> int:
    """Predict what the store lacks, and write it part by part.

    Args:
        prediction: what predicts.
        store: it was begun.
        parts: (part id, number of parts): which share of the parts this process predicts.
        progress: show a progress bar.

    Returns:
        How many parts were predicted; the others had been written before.
    """
    todo = _open(store, parts)
    for core in tqdm(todo, desc="Predicting blocks", disable=not progress):
        store.write(core, prediction.labels(core))
    return len(todo)


def _open(store: LabelStore, parts: tuple[int, int]) -> list[Patch]:
    """The parts of a share that are not written."""
    number, of = parts
    return [core for core in list(cores(store.volume.level.shape, store.part))[number::of] if not store.is_written(core)]


def _check(volume: Volume, plans: Any, configuration: Any, transpose: Sequence[int]) -> None:
    if configuration.previous_stage_name is not None:
        raise NnActiveError("A cascade (-c 3d_cascade_fullres) is not predicted in blocks. Train 3d_fullres or 2d.")
    channels = len(configuration.normalization_schemes)
    if len(volume.channels) != channels:
        raise NnActiveError(f"{volume.path}: {len(volume.channels)} channel(s); the members were trained on {channels}.")
    wanted = [float(mm) for mm in configuration.spacing]
    there = [volume.level.spacing[axis] for axis in transpose][-len(wanted) :]
    if not np.allclose(there, wanted, rtol=1e-2, atol=0):
        levels = listed([str(level) for level in volume.levels], 9)
        raise NnActiveError(
            f"{volume.path}: voxels of {length_text(there)} on level {volume.level.number}, but the members were trained on "
            f"{length_text(wanted)} (along the network's axes). Volumes are not resampled: choose a level of that size with "
            f"-level ({listed([levels])}), or resample the volume."
        )
