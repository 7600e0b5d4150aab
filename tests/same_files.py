"""An experiment run twice: its files, and its beginning once more."""

from __future__ import annotations

import pickle
import shutil
from types import SimpleNamespace

import blosc2
import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json


def written(experiment: Experiment) -> dict[str, bytes]:
    """The loop files and results."""
    files = [*experiment.raw.glob("loop_*.json"), *experiment.results.glob("cycle_*.json")]
    return {file.name: file.read_bytes() for file in files}


def contents(folders: SimpleNamespace) -> dict[str, object]:
    """Everything a later step reads: queries, labels, preprocessed labels, splits, state, results."""
    raw = next(folders.raw.glob("Dataset101_*"))
    preprocessed = next(folders.preprocessed.glob("Dataset101_*"))
    found: dict[str, object] = {f.name: f.read_bytes() for f in raw.glob("loop_*.json")}
    found |= {f"labels/{f.name}": f.read_bytes() for f in (raw / "labelsTr").iterdir()}
    found |= {f.name: f.read_bytes() for f in (preprocessed / "splits_final.json", preprocessed / "nnactive_state.json")}
    for file in (preprocessed / "nnUNetPlans_3d_fullres").iterdir():
        if file.name.endswith("_seg.b2nd"):
            found[file.name] = np.asarray(blosc2.open(str(file), mode="r")[:]).tobytes()
        elif file.suffix == ".pkl":
            locations = pickle.loads(file.read_bytes())["class_locations"]
            found[file.name] = {key: np.asarray(value).tobytes() for key, value in locations.items()}
    results = next(folders.results.glob("Dataset101_*")) / "nnactive"
    found |= {f"results/{f.name}": read_json(f) for f in results.glob("cycle_*.json")}
    return found


def begun_again(experiment: Experiment, folders: SimpleNamespace, template: SimpleNamespace) -> Experiment:
    """The experiment as it was planned, in the same folders: nothing of its run is left."""
    for name in ("raw", "preprocessed", "results"):
        shutil.rmtree(getattr(folders, name))
        getattr(folders, name).mkdir()
    for name in ("raw", "preprocessed"):
        shutil.copytree(getattr(template, name), getattr(folders, name), dirs_exist_ok=True)
    return Experiment(experiment.name)
