"""Predicts boxes of an experiment's cases: opens the members for the first box, and the image once for boxes of one case."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.members.ensemble import Members
from nnactive_ext.members.prediction import predict_box, predict_with_uncertainty
from nnactive_ext.nnunet.preprocessing import Preprocessed


class Predictor:
    """Called with a box of a case of the pool, returns its label map (z, y, x): see :func:`predict_box`."""

    def __init__(self, experiment: Experiment, open_ensemble: Callable[[], Members]):
        self._experiment, self._open = experiment, open_ensemble
        self._ensemble: Members | None = None
        self._loaded: tuple = ("", None, None)
        self._target: Preprocessed = experiment.preprocessed
        self._window = self._target.manager()[1].patch_size

    def __call__(self, patch: Patch) -> np.ndarray:
        return predict_box(*self._arguments(patch))

    def with_uncertainty(self, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
        """See :func:`predict_with_uncertainty`."""
        return predict_with_uncertainty(*self._arguments(patch))

    def _arguments(self, patch: Patch) -> tuple:
        if self._ensemble is None:
            self._ensemble = self._open()
        if self._loaded[0] != patch.case:
            self._loaded = (patch.case, *self._target.load(patch.case))
        window = [1, *self._window][-3:] if len(self._window) == 2 else self._window
        return self._ensemble, *self._loaded[1:], patch, window, self._experiment.dataset.labels.order
