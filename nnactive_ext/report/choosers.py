"""The members that chose a query: those of the cycle before, wherever they lie by now."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import is_trained, read_mark
from nnactive_ext.members.ensemble import Members, NnUNetEnsemble

if TYPE_CHECKING:
    import torch

Open = Callable[[Experiment, Sequence[int], str, Path], Members]
"""Opens the members of these folds on a device; the path is the model folder they lie in."""


@dataclass(frozen=True)
class Choosers:
    """The members of ``cycle``. ``folds``: model folder -> folds in it (two folders while the next cycle is trained);
    ``trainings``: the numbers of their trainings, as far as their marks are there; ``complete``: whether all can be opened.
    """

    experiment: Experiment
    cycle: int
    folds: dict[Path, list[int]]
    trainings: tuple[str, ...]
    complete: bool

    @classmethod
    def of(cls, experiment: Experiment, cycle: int) -> Choosers:
        """Of a cycle that has been trained, or of one whose members were deleted: then none is found."""
        identity = experiment.plan.experiment
        archive = experiment.results / f"cycle_{cycle:03d}"
        # A fold whose folder is gone was there if its training wrote a log.
        expected = {int(log.stem.rpartition("_")[2]) for log in archive.glob("train_fold_*.log") if log.stem[-1].isdigit()}
        folds: dict[Path, list[int]] = {}
        trainings: dict[int, str] = {}
        for model in (archive / experiment.model_folder.name, experiment.model_folder):
            for folder in sorted(model.glob("fold_*")):
                number = re.fullmatch(r"fold_(\d+)", folder.name)
                mark = read_mark(folder)
                if number is None or mark.get("experiment") != identity or mark.get("cycle") != cycle:
                    continue
                expected.add(int(number[1]))
                trainings[int(number[1])] = mark.get("training", "")
                if is_trained(folder, identity, cycle):
                    folds.setdefault(model, []).append(int(number[1]))
        found = sorted(fold for members in folds.values() for fold in members)
        ids = tuple(trainings[fold] for fold in sorted(trainings))
        return cls(experiment, cycle, folds, ids, bool(found) and found == sorted(expected))

    def open(self, device: str, opened: Open | None = None) -> Members:
        """As one ensemble; NnActiveError if a member cannot be opened."""
        open_members = opened or _open
        parts = [open_members(self.experiment, folds, device, model) for model, folds in self.folds.items()]
        return parts[0] if len(parts) == 1 else _Joined(parts)


def _open(experiment: Experiment, folds: Sequence[int], device: str, folder: Path) -> Members:
    return NnUNetEnsemble(experiment, folds, device, folder)


class _Joined:
    """Members that lie in several folders."""

    def __init__(self, parts: Sequence[Members]):
        self._parts = parts

    def logits(self, image: np.ndarray) -> Iterator[tuple[str, torch.Tensor]]:
        for part in self._parts:
            yield from part.logits(image)
