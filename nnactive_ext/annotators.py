"""Who answers a query."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nnactive_ext.dataset import Dataset
from nnactive_ext.labels import blank, fill
from nnactive_ext.patch import Patch


class Annotator(Protocol):
    def annotate(self, case: str, patches: Iterable[Patch]) -> tuple[np.ndarray, dict[str, Any]]:
        """The partial label map (z, y, x) of ``case`` with ``patches`` annotated, and its image's properties."""
        ...


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Copies the reference labels into the patches; outside them nothing of the reference is passed on."""

    reference: Dataset

    def annotate(self, case: str, patches: Iterable[Patch]) -> tuple[np.ndarray, dict[str, Any]]:
        answers, properties = self.reference.reader_writer.read_seg(str(self.reference.cases[case].label))
        partial = blank(answers.shape[1:], self.reference.labels.ignore)
        return fill(partial, patches, answers[0]), properties
