"""Measures images: their header, the quantiles of their intensities, descriptors of their windows, what members say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from nnactive_ext.engine import box_means
from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.grid import Grid
from nnactive_ext.geometry.patch import Triple, clipped_size
from nnactive_ext.geometry.windows import MOST, windows
from nnactive_ext.members.prediction import labels_of_member
from nnactive_ext.members.quantiles import quantiles_by_scheme
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.metrics.ambiguity import Disagreement
from nnactive_ext.ood import max_logit
from nnactive_ext.query_methods.aggregation import above_threshold
from nnactive_ext.query_methods.base import Statistics
from nnactive_ext.query_methods.scores import energy, least_confidence, predictive_entropy
from nnactive_ext.screening import names
from nnactive_ext.screening.images import Image
from nnactive_ext.screening.kept import Kept
from nnactive_ext.screening.network import Network
from nnactive_ext.screening.ratios import Annotated, Layered

if TYPE_CHECKING:
    import torch

_SIGNED = (names.MAX_LOGIT, names.ENERGY, names.ABET)


@dataclass(frozen=True)
class Measured:
    """What is known of one image.

    ``spacing`` and ``extent`` in mm along (z, y, x); ``quantiles`` float64 (channel, 101); ``windows`` float32 (windows, D);
    ``values``: disagreement and voxel scores, one number each; ``layered``: what ratios are made of. What was not measured is
    None or missing.
    """

    name: str
    spacing: tuple[float, float, float]
    extent: tuple[float, float, float]
    channels: int
    quantiles: np.ndarray | None = None
    windows: np.ndarray | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    layered: Layered | None = None


@dataclass(frozen=True)
class Measuring:
    """Measures images for some ``scores``.

    ``schemes``: nnU-Net's normalisation of each channel. ``kept``: where measurements are. ``network``: None where no member is
    asked. ``most``: windows of an image. ``aggregation``: of voxel maps. ``annotated``: the experiment's annotated patches,
    where ratios are asked for; ``new``: images are not the experiment's.
    """

    scores: Sequence[str]
    schemes: Sequence[str]
    kept: Kept
    network: Network | None = None
    most: int = MOST
    aggregation: str = "mean"
    annotated: Annotated | None = None
    new: bool = False

    def all(self, images: Sequence[Image], progress: bool) -> list[Measured]:
        """Of each image, in their order.

        Raises:
            NnActiveError: an image cannot be read or predicted; what was measured before is kept.
        """
        return [self.of(image) for image in tqdm(images, desc="Measuring images", disable=not progress)]

    def each(self, images: Sequence[Image], refused: dict[str, str], progress: bool) -> list[tuple[Image, Measured]]:
        """New images one by one: what is wrong with one goes into ``refused``, by name, and the others are measured."""
        found = []
        for image in tqdm(images, desc="Measuring new images", disable=not progress):
            try:
                found.append((image, self.of(image)))
            except NnActiveError as error:
                refused[image.name] = str(error)
        return found

    def note_disagreement(self, image: Image, value: float) -> None:
        """Keep how far the members disagree about an image that somebody else let them predict."""
        assert self.network is not None
        facts = {**self.network.facts, **_Loaded(image).facts}
        self.kept.write(image.name, "disagreement", facts, {names.DISAGREEMENT: value})

    def of(self, image: Image) -> Measured:
        """One image; of one with other channels than the members take only the header."""
        extent = tuple(n * mm for n, mm in zip(image.shape, image.spacing, strict=True))
        header = Measured(image.name, image.spacing, extent, image.channels)  # type: ignore[arg-type]
        if image.channels != len(self.schemes):
            return header
        try:
            return self._beyond_header(header, _Loaded(image))
        except (MemoryError, RuntimeError) as error:  # RuntimeError is torch's, mostly for want of memory
            raise NnActiveError(f"{image.name}: {error or 'not enough memory to measure this image.'}") from error

    def _beyond_header(self, header: Measured, loaded: _Loaded) -> Measured:
        quantiles = described = layered = None
        values: dict[str, float] = {}
        if names.HISTOGRAM in self.scores:
            facts = {"schemes": list(self.schemes), **loaded.facts}
            quantiles = self._kept(loaded, "quantiles", facts, lambda: {"q": self._quantiles(loaded)})["q"]
        if self.network:
            facts = {**self.network.facts, **loaded.facts}
            if any(score in names.WINDOWS for score in self.scores):
                more = {**facts, "most": self.most}
                described = self._kept(loaded, "windows", more, lambda: {"windows": self._described(loaded)})["windows"]
            if self.annotated and any(score in names.RATIOS for score in self.scores):
                counts = self.annotated.experiment.state["annotated"].get(loaded.image.name)
                more = {**facts, "most": self.most, "annotated": None if self.new else counts}
                layered = Layered(**self._kept(loaded, "layers", more, lambda: vars(self._layered(loaded))))
            voxels = [score for score in self.scores if score in names.VOXELS]
            shared = not self.network.single and names.DISAGREEMENT in self.scores and bool(voxels)
            if voxels:
                more = {**facts, "scores": voxels, "aggregation": self.aggregation, "shared": shared}
                found = self._kept(loaded, "voxels", more, lambda: self._voxels(loaded, voxels, shared))
                values |= {score: float(found[score]) for score in found}
            if names.DISAGREEMENT in self.scores and not shared:
                found = self._kept(loaded, "disagreement", facts, lambda: self._disagreement(loaded))
                values |= {names.DISAGREEMENT: float(found[names.DISAGREEMENT])}
        return Measured(header.name, header.spacing, header.extent, header.channels, quantiles, described, values, layered)

    def _kept(
        self, loaded: _Loaded, kind: str, facts: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, np.ndarray]:
        found = self.kept.read(loaded.image.name, kind, facts)
        if found is None:
            found = {name: np.asarray(array) for name, array in make().items()}
            self.kept.write(loaded.image.name, kind, facts, found)
        return found

    def _quantiles(self, loaded: _Loaded) -> np.ndarray:
        def normalised() -> np.ndarray:
            return loaded.preprocessed if loaded.image.load else _z_scored(loaded.stored)

        return quantiles_by_scheme(self.schemes, lambda: loaded.stored, normalised)

    def _described(self, loaded: _Loaded) -> np.ndarray:
        assert self.network is not None
        image, case = loaded.preprocessed, loaded.image.name
        size = clipped_size(self.network.size, image.shape[1:])
        found = self.network.described(image, windows(case, image.shape[1:], size, self.most), case)[0]
        if not np.isfinite(found).all():
            raise NnActiveError(
                f"{case}: a descriptor holds NaN or infinite values. Look for a diverged training (NaN loss) or for NaN in the "
                "image."
            )
        return found

    def _layered(self, loaded: _Loaded) -> Layered:
        assert self.network is not None
        assert self.annotated is not None
        network, image, case = self.network, loaded.preprocessed, loaded.image.name
        running = RunningStatistics(network.regions_order is not None)
        for name, logits in network.logits(image, case):
            running.add(logits, name)
            del logits
        boxes = windows(case, image.shape[1:], clipped_size(network.size, image.shape[1:]), self.most)
        return self.annotated.layered(
            case,
            boxes,
            running.result(),
            loaded.grid,
            lambda boxes, description: network.described(image, boxes, case, description),
            self.new,
        )

    def _disagreement(self, loaded: _Loaded) -> dict[str, float]:
        assert self.network is not None
        differ = Disagreement()
        for _, logits in self.network.compared_logits(loaded.preprocessed, loaded.image.name):
            differ.add(labels_of_member(logits, self.network.regions_order) > 0)
            del logits
        return {names.DISAGREEMENT: differ.value}

    def _voxels(self, loaded: _Loaded, scores: Sequence[str], shared: bool) -> dict[str, float]:
        """Each voxel score as one number, and with ``shared`` the disagreement by the same predictions."""
        assert self.network is not None
        regions = self.network.regions_order is not None
        running, differ, mean = RunningStatistics(regions), Disagreement(), None
        for name, logits in self.network.logits(loaded.preprocessed, loaded.image.name):
            running.add(logits, name)
            if shared:
                differ.add(labels_of_member(logits, self.network.regions_order) > 0)
            if names.MAX_LOGIT in scores:
                mean = _mean_logits(mean, logits, running.members)
            del logits  # they are large: none are kept while the next member predicts
        statistics = running.result()
        maps = (self._map(score, statistics, mean) for score in scores)
        found = {score: self._aggregated(score, one, statistics) for score, one in zip(scores, maps, strict=True)}
        return found | ({names.DISAGREEMENT: differ.value} if shared else {})

    def _map(self, score: str, statistics: Statistics, logits: torch.Tensor | None) -> np.ndarray:
        if score == names.MAX_LOGIT:
            assert logits is not None
            return max_logit(logits.cpu().numpy()).astype(np.float32)
        maps = {names.MSP: least_confidence, names.ENTROPY: predictive_entropy}
        return maps.get(score, energy)(statistics)

    def _aggregated(self, score: str, values: np.ndarray, statistics: Statistics) -> float:
        assert self.network is not None
        if self.aggregation == "mean":
            return float(values.mean(dtype=np.float64))
        shape: Triple = values.shape  # type: ignore[assignment]
        if self.aggregation == "max":
            return float(box_means(values, clipped_size(self.network.size, shape)).max())
        if score in _SIGNED and not (values > np.quantile(values, 1 - statistics.foreground_share)).any():
            return math.nan  # 0 would be a value like others
        return float(above_threshold(values, None, shape, statistics).item())


def _mean_logits(mean: torch.Tensor | None, logits: torch.Tensor, members: int) -> torch.Tensor:
    """Moved towards those of the last of so many members."""
    return logits.float().clone() if mean is None else mean.lerp_(logits.float(), 1 / members)


def _z_scored(image: np.ndarray) -> np.ndarray:
    """Each channel (z, y, x) with mean 0 and standard deviation 1, as nnU-Net has it before it crops and resamples."""
    image = image.astype(np.float32)
    mean, deviation = (f(image, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    return (image - mean) / np.maximum(deviation, 1e-8)


@dataclass
class _Loaded:
    """An image whose voxels are read at most once, and only if somebody asks for them."""

    image: Image

    @cached_property
    def stored(self) -> np.ndarray:
        return self.image.read()[0]

    @cached_property
    def _network(self) -> tuple[np.ndarray, Grid]:
        assert self.image.load is not None
        return self.image.load()

    @property
    def preprocessed(self) -> np.ndarray:
        return self._network[0]

    @property
    def grid(self) -> Grid:
        return self._network[1]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What tells the files of this image, and how they are read, from others."""
        turned = {"turned": self.image.turned} if self.image.turned else {}
        return {"files": [list(_stamp(file)) for file in self.image.files], **turned}


def _stamp(file: Path) -> Iterator[Any]:
    found = file.stat()
    yield from (file.name, found.st_size, found.st_mtime_ns)
