"""Puts back what nnU-Net planned for an experiment, after nnU-Net's own commands or an editor replaced it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.inputs import DESCRIBED, Inputs, described
from nnactive_ext.experiment.preprocessed_mark import is_marked, mark
from nnactive_ext.files import write_json
from nnactive_ext.nnunet.dataset import read_description
from nnactive_ext.nnunet.preprocessing import preprocess
from nnactive_ext.words import count


def restore_plans(experiment: Experiment, progress: bool = True) -> list[str]:
    """Write the frozen plans, fingerprint and dataset.json, and preprocess the cases and their partial labels again.

    The cases are preprocessed only where nnU-Net's preprocessing has replaced them. Killed in between, the same call ends
    right: until the cases carry their mark, no other command goes on.

    Args:
        experiment: the caller holds its lock.
        progress: show progress bars.

    Returns:
        What was done, one text each.

    Raises:
        NnActiveError: nothing is frozen, because nnU-Net has not planned yet or the experiment is of an earlier version.
    """
    frozen = Inputs.read(experiment.raw)
    then = frozen.part("plans") if frozen else {}
    if frozen is None or not then:
        raise NnActiveError(
            f"{experiment.raw}: no plans to restore. nnU-Net has not planned for it yet, or an earlier version of nnactive_ext "
            "made it and no command of this version has been run on it before the plans changed."
        )
    _own_dataset_json(experiment, frozen)
    experiment = Experiment(experiment.name)
    target = experiment.preprocessed
    target.folder.mkdir(parents=True, exist_ok=True)
    files = {
        f"{then['identifier']}.json": then["content"],
        "dataset.json": then["dataset_json"],
        "dataset_fingerprint.json": then["fingerprint"],
    }
    for name, content in files.items():
        if content is not None:
            write_json(target.folder / name, content)
    told = [f"Restored in {target.folder}: {', '.join(files)}"]
    folder = target.folder / then["data_folder"]
    if not is_marked(folder, then["marked"]):
        preprocess(experiment.dataset, target, experiment.plan.processes, progress)
        mark(folder, then["marked"])
        told.append(f"Preprocessed again: {count(len(experiment.plan.pool), 'case')}")
    return told


def _own_dataset_json(experiment: Experiment, frozen: Inputs) -> None:
    """The labels, channels and reader in the experiment's own dataset.json; its cases stay as they are."""
    file, then = experiment.raw / "dataset.json", frozen.part("dataset")
    content: Mapping[str, Any] = read_description(file) if file.is_file() else frozen.part("plans")["dataset_json"] or {}
    if described(content) != then or not file.is_file():
        write_json(file, {**{key: value for key, value in content.items() if key not in DESCRIBED}, **then})
