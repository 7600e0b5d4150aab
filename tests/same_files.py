"""An experiment run twice: its files, and its beginning once more."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

from nnactive_ext.experiment.experiment import Experiment


def written(experiment: Experiment) -> dict[str, bytes]:
    """The loop files and results."""
    files = [*experiment.raw.glob("loop_*.json"), *experiment.results.glob("cycle_*.json")]
    return {file.name: file.read_bytes() for file in files}


def begun_again(experiment: Experiment, folders: SimpleNamespace, template: SimpleNamespace) -> Experiment:
    """The experiment as it was planned, in the same folders: nothing of its run is left."""
    for name in ("raw", "preprocessed", "results"):
        shutil.rmtree(getattr(folders, name))
        getattr(folders, name).mkdir()
    for name in ("raw", "preprocessed"):
        shutil.copytree(getattr(template, name), getattr(folders, name), dirs_exist_ok=True)
    return Experiment(experiment.name)
