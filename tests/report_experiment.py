"""The tiny experiment run through its cycles with members that cost nothing and are put away as real ones are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fake_members import FakeEnsemble, fake_tools, fake_train

from nnactive_ext.experiment.archive import put_away
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import write_json
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.members.tools import Tools


def run(experiment: Experiment) -> Experiment:
    """All cycles; the members of earlier ones lie in ``nnactive/cycle_NNN``."""

    def train(e: Experiment, fold: int) -> None:
        e.model_folder.mkdir(parents=True, exist_ok=True)
        for name in ("plans.json", "dataset.json"):
            write_json(e.model_folder / name, {})
        put_away(e, fold_folder(e, fold))
        fake_train(e, fold)

    run_cycles(experiment, Tools(train, fake_tools(classes=3).open_ensemble), progress=False, say=lambda text: None)
    return experiment


class Opened:
    """Opens members that cost nothing, and remembers which."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, list[int]]] = []

    def __call__(self, experiment: Experiment, folds: Sequence[int], device: str, folder: Path) -> FakeEnsemble:
        self.calls.append((folder, list(folds)))
        return FakeEnsemble(experiment, 3)
