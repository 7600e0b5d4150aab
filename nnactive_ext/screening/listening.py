"""Notes how far members disagree while a query predicts the pool, so that a screening need not predict it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.members.ensemble import Ensemble
from nnactive_ext.members.prediction import labels_of_member
from nnactive_ext.metrics.ambiguity import Disagreement
from nnactive_ext.screening.images import Image, pool_images
from nnactive_ext.screening.measuring import Measuring
from nnactive_ext.screening.network import Network, OpenEnsemble
from nnactive_ext.screening.screen import measuring_of

if TYPE_CHECKING:
    import torch


def listening(open_ensemble: OpenEnsemble) -> OpenEnsemble:
    """What opens the same members, whose disagreement about each case of the pool is kept when they have all predicted it."""

    def opened(experiment: Experiment, folds: Sequence[Fold]) -> Ensemble:
        ensemble, network = open_ensemble(experiment, folds), Network.of(experiment, open_ensemble, folds)
        # Of a single member a screening compares the mirrorings, which a query does not predict.
        if network.single:
            return ensemble
        images = {image.name: image for image in pool_images(experiment)}
        return _Listening(ensemble, measuring_of(experiment, network), network, images)

    return opened


@dataclass(frozen=True)
class _Listening:
    ensemble: Ensemble
    measuring: Measuring
    network: Network
    images: Mapping[str, Image]

    def logits(self, image: np.ndarray, case: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        differ = Disagreement()
        for name, logits in self.ensemble.logits(image, case):
            differ.add(labels_of_member(logits, self.network.regions_order) > 0)
            yield name, logits
            del logits  # they are large: none are kept while the next member predicts
        if image_of := self.images.get(case):
            self.measuring.note_disagreement(image_of, differ.value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ensemble, name)
