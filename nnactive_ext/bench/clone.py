"""Begins an experiment with the cycle 0 of another one: same patches, labels, preprocessed cases, members and results."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnactive_ext.experiment.experiment import TURNED, Experiment
from nnactive_ext.experiment.inputs import Inputs
from nnactive_ext.experiment.marks import MEMBER, STATE
from nnactive_ext.experiment.record import write_record
from nnactive_ext.experiment.result import result_file
from nnactive_ext.experiment.timing import copy_times
from nnactive_ext.files import read_json, write_json
from nnactive_ext.labelling.ledger import LEDGER
from nnactive_ext.members.ensemble import fold_folder, trained_folds
from nnactive_ext.nnunet.dataset import nnunet_folder, read_description
from nnactive_ext.nnunet.pretrained import TENSORS
from nnactive_ext.planning.create import check_number, new_folders
from nnactive_ext.schemas import JsonObject


def clone(start: Experiment, number: int, changes: Mapping[str, Any]) -> Experiment:
    """Make the dataset ``number`` from ``start``, whose cycle 0 is trained and evaluated; its plan differs by ``changes``
    (among them its ``dataset``). Preprocessed images and checkpoints are linked where the file system can, as nobody ever
    writes into them; all else is copied. Whatever goes wrong, nothing is left behind.
    """
    plan = replace(start.plan, experiment=uuid.uuid4().hex[:12], purpose="", **changes)
    experiment = Experiment(plan.dataset, plan)
    check_number(number)
    results = nnunet_folder("nnUNet_results") / experiment.name
    with new_folders(experiment.raw, experiment.preprocessed.folder, results):
        shutil.copytree(start.raw / "labelsTr", experiment.raw / "labelsTr")
        if (start.raw / TURNED).is_dir():
            _tree(start.raw / TURNED, experiment.raw / TURNED, lambda name: name != "dataset.json")
        shutil.copyfile(start.raw / "loop_000.json", experiment.raw / "loop_000.json")
        for folder in (experiment.raw, experiment.preprocessed.folder):  # nnU-Net reads both
            _json(start.raw, folder, "dataset.json", {"name": plan.dataset})
        _preprocessed(start, experiment)
        _results(start, experiment)
        _inputs(start, experiment)
        _verdicts(start, experiment)
        plan.write(experiment.raw)  # the last thing: with it the experiment is whole
    return Experiment(plan.dataset)


def _preprocessed(start: Experiment, experiment: Experiment) -> None:
    source, target, plan = start.preprocessed.folder, experiment.preprocessed.folder, experiment.plan
    _json(source, target, f"{plan.plans_identifier}.json", {"dataset_name": plan.dataset})
    _json(source, target, STATE, {"experiment": plan.experiment})
    for name in ("dataset_fingerprint.json", "splits_final.json"):
        shutil.copyfile(source / name, target / name)
    if plan.pretrained:
        _shared(source / TENSORS, target / TENSORS)
    for folder in (start.preprocessed.gt_folder, start.preprocessed.data_folder):
        _tree(folder, target / folder.name, lambda name: name.endswith(".b2nd") and not name.endswith("_seg.b2nd"))


def _results(start: Experiment, experiment: Experiment) -> None:
    _tree(start.model_folder, experiment.model_folder, lambda name: name.startswith("checkpoint_"))
    for name, key in (("plans.json", "dataset_name"), ("dataset.json", "name")):
        if (start.model_folder / name).is_file():
            _json(start.model_folder, experiment.model_folder, name, {key: experiment.name})
    for fold in trained_folds(start):
        folder = fold_folder(experiment, fold)
        _json(folder, folder, MEMBER, {"experiment": experiment.plan.experiment})
    experiment.results.mkdir()
    shutil.copyfile(result_file(start.results, 0), result_file(experiment.results, 0))
    copy_times(start, experiment)
    write_record(experiment)


def _inputs(start: Experiment, experiment: Experiment) -> None:
    """Both depend on the same files. The plans to restore are those of the new dataset."""
    frozen = Inputs.read(start.raw)
    if frozen is None or not frozen.part("plans"):
        return  # it is frozen by the command that opens it next
    target = experiment.preprocessed.folder
    own = {
        "content": experiment.preprocessed.plans,
        "dataset_json": read_description(target / "dataset.json"),
    }
    Inputs(experiment.raw, frozen.content).having(plans={**frozen.part("plans"), **own}).write()


def _verdicts(start: Experiment, experiment: Experiment) -> None:
    """The ledger of the simulated annotator, who calls cases irrelevant; there is none where nothing was said."""
    if (start.annotation / LEDGER).is_file():
        experiment.annotation.mkdir()
        shutil.copyfile(start.annotation / LEDGER, experiment.annotation / LEDGER)


def _json(source: Path, target: Path, name: str, changed: Mapping[str, Any]) -> None:
    write_json(target / name, {**read_json(source / name, JsonObject), **changed})


def _shared(one: str | Path, other: str | Path) -> None:
    """A link to a file, where that is possible, else a copy."""
    try:
        os.link(one, other)
    except OSError:  # another device, or a file system without links
        shutil.copy2(one, other)


def _tree(source: Path, target: Path, shared: Callable[[str], bool]) -> None:
    """Copy a folder; files whose name is ``shared`` become links to the same file where that is possible."""

    def copy(one: str, other: str) -> None:
        (_shared if shared(Path(one).name) else shutil.copy2)(one, other)

    # nnU-Net's debug.json is full of paths of the training's own folders.
    shutil.copytree(source, target, copy_function=copy, ignore=shutil.ignore_patterns("debug.json"))
