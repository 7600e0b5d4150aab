"""The experiment as its results folder tells it, so that results can be compared where nothing else is at hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import run_of
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import MEMBER_KIND, last_loop, loop_file, read_loop
from nnactive_ext.experiment.observed import as_record, made
from nnactive_ext.files import read_json, write_json

_QUERY = ("method", "options", "seed", "members", MEMBER_KIND, "missing")
RECORD = "experiment.json"
"""In an experiment's results folder (``nnUNet_results/DatasetNNN_Name/nnactive``), beside ``cycle_NNN.json``."""


def write_record(experiment: Experiment) -> None:
    """Write down the plan, nnU-Net's settings of the network, the patches of the starting budget, the classes, and how each
    query was made."""
    plan, labels = experiment.plan, experiment.dataset.labels
    start = read_loop(loop_file(experiment.raw, 0), experiment.dataset.file_ending)
    experiment.results.mkdir(parents=True, exist_ok=True)
    content = {
        "name": experiment.name,
        "source": experiment.source.name,
        "plan": asdict(plan),
        "network": experiment.preprocessed.plans["configurations"][plan.configuration],
        "start": [[patch.case, *patch.start, *patch.size] for patch in start],
        "classes": {name: [label] if isinstance(label, int) else list(label) for name, label in labels.classes.items()},
        "environments": as_record(made(experiment)),
        "queries": [_query(experiment, cycle) for cycle in range(1, last_loop(experiment.raw) + 1)],
    }
    write_json(experiment.results / RECORD, content)


def _query(experiment: Experiment, cycle: int) -> dict[str, Any]:
    """What the loop file of a cycle tells of its query, which need not be the planned one."""
    content = read_json(loop_file(experiment.raw, cycle))
    told = {key: content[key] for key in _QUERY if key in content}
    return {"cycle": cycle, "patches": len(content["patches"]), **told}


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a results folder; a folder without one is an error."""
    file = folder / RECORD
    if not file.is_file():
        raise NnActiveError(
            f"{file}: no such file. Give the 'nnactive' folder of an experiment's results; for an experiment of an earlier "
            f"version, run once more: {run_of(folder)}"
        )
    content = read_json(file)
    missing = {"name", "source", "plan", "network", "start", "classes"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise NnActiveError(f"{file}: damaged ({', '.join(sorted(missing))} missing). Write it again with {run_of(folder)}")
    return content
