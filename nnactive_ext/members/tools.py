"""The two expensive things that a cycle does, which tests replace: training a fold, and opening the members of some folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.members.ensemble import Ensemble, NnUNetEnsemble
from nnactive_ext.members.training import train_member


@dataclass(frozen=True)
class Tools:
    """``train``: the member of a fold; ``open_ensemble``: the members of some folds, for prediction."""

    train: Callable[[Experiment, int], None]
    open_ensemble: Callable[[Experiment, Sequence[Fold]], Ensemble]

    @classmethod
    def of_nnunet(cls, device: str, prepare: Callable[[], None] = lambda: None) -> Tools:
        """nnU-Net's, on a device; ``prepare`` is called before the device is used."""

        def train(experiment: Experiment, fold: int) -> None:
            prepare()
            train_member(experiment, fold, device)

        def open_ensemble(experiment: Experiment, folds: Sequence[Fold]) -> Ensemble:
            prepare()
            return NnUNetEnsemble(experiment, folds, device)

        return cls(train, open_ensemble)
