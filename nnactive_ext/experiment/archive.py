"""Where members go when others take their place: beside the results of their cycle, ready to predict."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import label_version, read_mark
from nnactive_ext.experiment.result import CycleResult, result_file
from nnactive_ext.files import copy_file, sync_folder
from nnactive_ext.paths import check_no_link

_OTHER_LABELS = "labels_*"


def put_away(experiment: Experiment, fold_folder: Path) -> None:
    """Move the member in ``fold_folder`` to the results of its cycle, unless it is one of the current cycle and classes, or
    its training did not finish. ``nnUNetv2_predict_from_modelfolder`` can use it there."""
    mark, cycle = read_mark(fold_folder), experiment.state["cycle"]
    current = (cycle, experiment.plan.label_version)
    if not mark.get("finished") or (mark["cycle"], label_version(mark)) == current:
        return
    model = fold_folder.parent
    archive = _of_cycle(experiment, mark["cycle"])
    if mark["cycle"] == cycle:  # others of this cycle will follow, for other classes
        archive /= f"labels_{label_version(mark)}"
    archive /= model.name
    archive.mkdir(parents=True, exist_ok=True)
    for name in ("plans.json", "dataset.json"):
        if (model / name).is_file():
            copy_file(model / name, archive / name)
    target = archive / fold_folder.name
    if check_no_link(target).exists():
        shutil.rmtree(target)
    os.replace(fold_folder, target)
    sync_folder(archive)


def keep_result(experiment: Experiment, cycle: int) -> None:
    """Keep the result of members that were put away when the classes were changed, before that of others replaces it."""
    file = result_file(experiment.results, cycle)
    if file.is_file() and (version := CycleResult.read(file).label_version) != experiment.plan.label_version:
        folder = _of_cycle(experiment, cycle) / f"labels_{version}"
        folder.mkdir(parents=True, exist_ok=True)
        copy_file(file, folder / file.name)


def put_all_away(experiment: Experiment) -> None:
    """All members at once: before the first of them is trained anew, whose dataset.json will not be theirs."""
    for folder in sorted(experiment.model_folder.glob("fold_*")):
        put_away(experiment, folder)


def model_folders(experiment: Experiment, cycle: int) -> list[Path]:
    """Where members of ``cycle`` may lie: put away, put away when the classes were changed, or still in their place."""
    archive, name = _of_cycle(experiment, cycle), experiment.model_folder.name
    changed = sorted(folder / name for folder in archive.glob(_OTHER_LABELS))
    return [archive / name, *changed, experiment.model_folder]


def _of_cycle(experiment: Experiment, cycle: int) -> Path:
    return experiment.results / f"cycle_{cycle:03d}"
