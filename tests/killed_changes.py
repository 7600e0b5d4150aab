"""`nnactive_change` in a process of its own that dies at a chosen moment, and what it and the next command leave."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import blosc2
import numpy as np
import SimpleITK as sitk
from forked import died

from nnactive_ext.experiment.journal import JOURNAL


def command(folders: dict[str, str], plans: str, words: list[str], die_at: int = 0, count=None) -> None:
    """``words``: a command without its ``nnactive_``, and its arguments; it dies by SIGKILL right before the ``die_at``-th
    rename, removal or fsync. ``run`` has members that cost nothing. ``count``: how many such moments there are."""
    os.environ.update(folders)
    from fake_members import FakeEnsemble, fake_train

    from nnactive_ext.cli import annotate, change, query, report, run, status
    from nnactive_ext.labelling import prepare
    from nnactive_ext.loop import cycles
    from nnactive_ext.nnunet import environment, fingerprint

    done = 0

    def dying(call: Callable) -> Callable:
        def first(*arguments, **options):
            nonlocal done
            done += 1
            if done == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return first

    def quick_plans(experiment):
        shutil.copy(plans, experiment.preprocessed.folder / "nnUNetPlans.json")
        return "nnUNetPlans"

    prepare.nnunet_plans, fingerprint._SAMPLES = quick_plans, 1e5
    tools = cycles.Tools(fake_train, lambda experiment, folds: FakeEnsemble(experiment, len(experiment.dataset.labels.values)))
    cycles.Tools.of_nnunet = lambda device: tools  # type: ignore[method-assign, assignment]
    environment.prepare_device = environment.check_torchvision = lambda *device: None  # type: ignore[assignment]
    for name in ("replace", "rename", "unlink", "fsync"):
        setattr(os, name, dying(getattr(os, name)))
    modules = {"annotate": annotate, "change": change, "query": query, "report": report, "run": run, "status": status}
    modules[words[0]].main(words[1:])
    if count is not None:
        count.value = done


class Killer:
    """Runs commands on a copy of an experiment; ``plans``: what nnU-Net's planner is taken to have made."""

    def __init__(self, plans: Path):
        self.plans = plans

    def call(self, folders: SimpleNamespace, words: list[str], die_at: int = 0, may_fail: bool = False) -> int:
        """The moments there were, 0 if it was killed."""
        return died(command, folders, self.plans, words, die_at, may_fail)


def left(folders: SimpleNamespace) -> dict[str, object]:
    """Everything that a later step reads, without times and ids; of cases that are in the pool only."""
    raw = next(folders.raw.glob("Dataset*_*/nnactive_plan.json")).parent
    preprocessed = folders.preprocessed / raw.name
    plan = json.loads((raw / "nnactive_plan.json").read_text())
    for change in plan["changes"]:
        change["when"] = ""
    found: dict[str, object] = {"nnactive_plan.json": plan, "journal": (raw / JOURNAL).exists()}
    boxes = raw / "annotation" / "given" / "boxes.json"
    for file in [raw / "dataset.json", boxes, *raw.glob("loop_*.json"), *preprocessed.glob("*.json")]:
        found[str(file.relative_to(folders.raw.parent))] = json.loads(file.read_text()) if file.is_file() else None
    for folder in (raw / "labelsTr", raw / "annotation" / "given", preprocessed / "gt_segmentations"):
        for file in folder.glob("*.nii.gz"):
            if file.name.removesuffix(".nii.gz") in plan["pool"]:
                found[f"{folder.name}/{file.name}"] = sitk.GetArrayFromImage(sitk.ReadImage(str(file))).tobytes()
    for file in preprocessed.glob("*_3d_fullres/*"):
        if file.name.split(".")[0].removesuffix("_seg") not in plan["pool"]:
            continue
        if file.suffix == ".b2nd":
            found[file.name] = np.asarray(blosc2.open(str(file), mode="r")[:]).tobytes()
        elif file.suffix == ".pkl":
            locations = pickle.loads(file.read_bytes())["class_locations"]
            found[file.name] = {key: np.asarray(value).tobytes() for key, value in locations.items()}
    ledger = raw / "annotation" / "ledger.jsonl"
    events = [json.loads(line) for line in ledger.read_text().splitlines()] if ledger.is_file() else []
    found["ledger"] = [
        {key: value for key, value in event.items() if key not in ("when", "change", "previous_sha256")} for event in events
    ]
    return found


def members(folders: SimpleNamespace) -> set[str]:
    """Where the checkpoints of members lie."""
    return {str(file.relative_to(folders.results)) for file in folders.results.rglob("checkpoint_final.pth")}


def trained_on(folders: SimpleNamespace) -> set[str]:
    """The cases that any member that is left was trained on."""
    marks = folders.results.rglob("nnactive_member.json")
    return {case for mark in marks for case in json.loads(mark.read_text()).get("cases", ())}
