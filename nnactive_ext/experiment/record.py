"""The experiment as its results folder tells it, so that results can be compared where nothing else is at hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import run_of
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import MEMBER_KIND, last_loop, loop_file, read_loop, read_loop_content
from nnactive_ext.experiment.observed import as_record, made
from nnactive_ext.experiment.plan_kinds import check_change, check_settings
from nnactive_ext.files import read_json, write_json
from nnactive_ext.schemas import Count, JsonObject, Length, Millimetres, Shape, Spacing

_QUERY = ("method", "options", "seed", "members", MEMBER_KIND, "missing")
RECORD = "experiment.json"
"""In an experiment's results folder (``nnUNet_results/DatasetNNN_Name/nnactive``), beside ``cycle_NNN.json``."""


class _Geometry(TypedDict):
    shape: Shape
    spacing: Spacing


class _PlanThen(TypedDict):
    pool: dict[str, _Geometry]
    test: list[str]
    patch_size_mm: list[Millimetres]
    query_size: Length
    starting_budget: Count
    cycles: Length
    seed: Count
    method: str


class _Plan(_PlanThen, total=False):
    """Also of earlier versions."""

    method_options: dict[str, str] | None
    purpose: str
    folds: Length | None
    trainer: str
    configuration: str
    irrelevant: list[str]
    groups: dict[str, str] | None
    pretrained: JsonObject | None
    pool_foreground_voxels: Count | None
    test_folder: str
    settings: Annotated[JsonObject, check_settings] | None
    versions: dict[str, str] | None
    changes: list[Annotated[JsonObject, check_change]]


class _Query(TypedDict, total=False):
    cycle: Count
    patches: Count
    missing: Count
    method: str | None
    options: JsonObject | None
    seed: Count
    members: list[Count | str] | None
    member_kind: str


class _RecordThen(TypedDict):
    name: str
    source: str
    plan: _Plan
    network: JsonObject
    start: list[tuple[str, Count, Count, Count, Length, Length, Length]]
    classes: dict[str, list[Count]]


class _Record(_RecordThen, total=False):
    queries: list[_Query] | None
    environments: list[JsonObject] | None


def write_record(experiment: Experiment) -> None:
    """Write down the plan, nnU-Net's settings of the network, the patches of the starting budget, the classes, and how each
    query was made."""
    content = content_of(experiment)
    experiment.results.mkdir(parents=True, exist_ok=True)
    write_json(experiment.results / RECORD, content)


def content_of(experiment: Experiment) -> dict[str, Any]:
    """What :func:`write_record` writes; a damaged file among those that it is made from is an NnActiveError."""
    plan, labels = experiment.plan, experiment.dataset.labels
    start = read_loop(loop_file(experiment.raw, 0), experiment.dataset.file_ending)
    return {
        "name": experiment.name,
        "source": experiment.source.name,
        "plan": asdict(plan),
        "network": experiment.preprocessed.plans["configurations"][plan.configuration],
        "start": [[patch.case, *patch.start, *patch.size] for patch in start],
        "classes": {name: [label] if isinstance(label, int) else list(label) for name, label in labels.classes.items()},
        "environments": as_record(made(experiment)),
        "queries": [_query(experiment, cycle) for cycle in range(1, last_loop(experiment.raw) + 1)],
    }


def _query(experiment: Experiment, cycle: int) -> dict[str, Any]:
    """What the loop file of a cycle tells of its query, which need not be the planned one."""
    content = read_loop_content(loop_file(experiment.raw, cycle))
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
    return read_json(file, _Record, lambda: f"Write it again with {run_of(folder)}")
