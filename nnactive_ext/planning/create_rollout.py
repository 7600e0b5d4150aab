"""Makes a planned roll-out: dataset.json, label maps that are there, blank ones for the rest, the first tasks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import entry, loop_file, write_loop
from nnactive_ext.files import write_json
from nnactive_ext.images.dicom import convert
from nnactive_ext.intake.find import FoundCase
from nnactive_ext.intake.lattice import on_lattice
from nnactive_ext.labelling.given import keep_given, write_given_patches
from nnactive_ext.labelling.relabel import write_labels
from nnactive_ext.planning.budget import random_boxes
from nnactive_ext.planning.create import new_folders
from nnactive_ext.planning.rollout import Rollout
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import Query
from nnactive_ext.querying.pool import pool_cases, request_for


def create_rollout(rollout: Rollout, found: Mapping[str, FoundCase], progress: bool = True) -> Experiment:
    """Make the experiment with its tasks of cycle 0; whatever goes wrong, nothing is left behind."""
    plan = rollout.plan
    experiment = Experiment(plan.dataset, plan)
    names: Mapping[str, int] = rollout.json["labels"]  # type: ignore[assignment]
    with new_folders(experiment.raw):
        files = images_of(experiment, found, progress)
        write_dataset_json(experiment, rollout.json, files)
        for case, found_case in found.items():
            if found_case.label_map is not None:
                labels = on_lattice(found_case.label_map, names, rollout.spaces[case])
                keep_given(experiment, case, labels, rollout.spaces[case])
        if rollout.given:
            write_given_patches(experiment, rollout.given)
        _write_first_tasks(experiment)
        write_labels(experiment, 0, list(plan.pool), progress)
        plan.write(experiment.raw)
    return Experiment(plan.dataset)


def images_of(experiment: Experiment, found: Mapping[str, FoundCase], progress: bool) -> dict[str, list[Path]]:
    """The image files of each case; DICOM series are converted into the experiment's folder."""
    series = any(source.series for case in found.values() for source in case.sources)
    bar = tqdm(found.items(), desc="Converting DICOM series", disable=not (progress and series))
    return {case: _image_files(experiment, entry) for case, entry in bar}


def _image_files(experiment: Experiment, found: FoundCase) -> list[Path]:
    """The files nnU-Net reads: the user's own, where they are; a DICOM series is converted, because it reads no series."""
    files = []
    for channel, source in enumerate(found.sources):
        file = Path(os.path.abspath(source.path))
        if source.series:
            file = experiment.raw / "imagesTr" / f"{found.name}_{channel:04d}.nii.gz"
            file.parent.mkdir(exist_ok=True)
            convert(source.series, file)
        files.append(file)
    return files


def write_dataset_json(experiment: Experiment, content: Mapping[str, Any], files: Mapping[str, list[Path]]) -> None:
    """nnU-Net's dataset.json: ``content`` with the images of these cases beside those of the pool that it has. Images in
    the dataset's own folder go by relative paths."""

    def path(file: Path) -> str:
        inside = file.is_relative_to(experiment.raw)
        return (file.relative_to(experiment.raw) if inside else file).as_posix()

    cases = {
        case: {"images": [path(file) for file in images], "label": f"labelsTr/{case}{content['file_ending']}"}
        for case, images in files.items()
    }
    before = {case: entry for case, entry in content.get("dataset", {}).items() if case in experiment.plan.pool}
    cases = dict(sorted({**before, **cases}.items()))
    write_json(experiment.raw / "dataset.json", {**content, "numTraining": len(cases), "dataset": cases})


def _write_first_tasks(experiment: Experiment) -> None:
    """The random part of the starting budget; points that are marked later add to it."""
    plan = experiment.plan
    n = random_boxes(plan.starting_budget, len(experiment.dataset.labels.foreground))
    drawn = Query(())
    facts = {"method": "random", "cycle": 0, "seed": plan.seed, "versions": dict(plan.versions)}
    if n:
        method = methods.get("random")
        drawn = method.draw(pool_cases(experiment, references=False), request_for(experiment, n, -1))  # type: ignore[union-attr]
    entries = [entry(p.patch, experiment.dataset.file_ending, stratum=p.stratum) for p in drawn.patches]
    write_loop(loop_file(experiment.raw, 0), entries, facts)
