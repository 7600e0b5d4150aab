"""What nnUNetv2_train is about to train on, compared with what was frozen of the experiment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import change_of
from nnactive_ext.experiment.input_differences import description_differences, plans_differences
from nnactive_ext.experiment.inputs import Inputs, described, digest, remedy
from nnactive_ext.experiment.preprocessed_mark import is_marked
from nnactive_ext.paths import check_name, check_no_link


def check_places(plans: Mapping[str, Any], configuration: str, trainer: str, fold: int | str) -> None:
    """Refuse names in nnU-Net's plans, and links, by which a training would read or write elsewhere.

    Args:
        plans: nnU-Net's, as they were read.
        configuration: what is trained.
        trainer: the name of the trainer's class.
        fold: the fold.

    Raises:
        NnActiveError: before anything is written.
    """
    where = f"{plans.get('plans_name')}.json"
    for key in ("dataset_name", "plans_name"):
        check_name(plans[key], key, where)
    check_name(configuration, "the configuration", where)
    for one in plans["configurations"].values():
        if "data_identifier" in one:
            check_name(one["data_identifier"], "the data_identifier", where)
    if results := os.environ.get("nnUNet_results"):
        fold_folder = Path(results, plans["dataset_name"], f"{trainer}__{plans['plans_name']}__{configuration}", f"fold_{fold}")
        check_no_link(fold_folder)
        for file in fold_folder.glob("*"):
            check_no_link(file)


def check_training(
    dataset: str, identifier: str, data_folder: Path | str, plans: Mapping[str, Any], dataset_json: Mapping[str, Any]
) -> None:
    """Refuse to train on other plans, labels or preprocessed cases than the experiment was planned with.

    A dataset that is no experiment, or whose raw folder is not on this machine, is not looked at.

    Args:
        dataset: its name.
        identifier: the name of nnU-Net's plans.
        data_folder: the preprocessed cases.
        plans: nnU-Net's plans, as they were read.
        dataset_json: nnU-Net's copy of dataset.json, as it was read.

    Raises:
        NnActiveError: they differ; the message names both values and a remedy.
    """
    raw = os.environ.get("nnUNet_raw")
    frozen = Inputs.read(Path(raw) / dataset) if raw else None
    if frozen is None:
        return
    if frozen.part("rereading"):
        raise NnActiveError(f"{frozen.folder}: its reference labels are being read again. {remedy(frozen.folder)}")
    then = frozen.part("plans")
    if not then or then["identifier"] != identifier:
        return
    copied = then.get("dataset_json")
    problems = description_differences(described(copied), described(dataset_json)) if copied else []
    if digest(plans) != then["sha256"]:
        problems.append(plans_differences(then["content"], plans))
    if Path(data_folder).name == then["data_folder"] and not is_marked(Path(data_folder), then["marked"]):
        problems.append(f"{data_folder}: its cases were preprocessed by another program")
    if problems:
        raise NnActiveError(
            f"{dataset} is not as it was when it was planned: {'; '.join(problems)}. Put back what was planned: "
            f"{change_of(dataset, '-plans', 'restore')}"
        )
