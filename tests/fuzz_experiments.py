"""The readers of an experiment's own files, each with a file as the package writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuzzing import Target
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnactive_ext.bench.runs import read_numbers
from nnactive_ext.cluster.meeting import Meeting
from nnactive_ext.cluster.under_way import Running
from nnactive_ext.compare.trajectories import read_trajectory
from nnactive_ext.experiment.blocks import BLOCKS_FILE, BlockTable
from nnactive_ext.experiment.inputs import INPUTS, Inputs
from nnactive_ext.experiment.journal import JOURNAL, PREPROCESSED, Journal, NewFile
from nnactive_ext.experiment.lock_owner import Owner
from nnactive_ext.experiment.loops import read_loop
from nnactive_ext.experiment.marks import MEMBER, STATE, annotated_cases, read_mark, read_state
from nnactive_ext.experiment.plan import PLAN_FILE, Plan
from nnactive_ext.experiment.pseudonyms import pseudonyms
from nnactive_ext.experiment.record import RECORD
from nnactive_ext.experiment.result import CycleResult
from nnactive_ext.files import read_json
from nnactive_ext.nnunet.dataset import Dataset
from nnactive_ext.nnunet.plans_files import read_plans
from nnactive_ext.nnunet.preprocessing import Preprocessed
from nnactive_ext.nnunet.splits import read_splits
from nnactive_ext.querying.rankings import RankingFile, ranking_from_json
from nnactive_ext.serve.run_note import NOTE, Note

assert PlansManager  # imported here, because that takes a reader in a forked process seconds


def of_simulation(root: Path) -> Iterator[Target]:
    """Of a finished simulation in nnU-Net's folders below ``root``."""
    folders = [root / f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")]
    raw, preprocessed, results = (next(folder.glob("Dataset101_*")) for folder in folders)
    readers: list[tuple[str, Path, Callable[[Path], object]]] = [
        ("plan", raw / PLAN_FILE, _plan),
        ("loop file", raw / "loop_001.json", lambda file: read_loop(file, ".nii.gz")),
        ("dataset.json", raw / "dataset.json", _dataset),
        ("inputs", raw / INPUTS, lambda file: Inputs.read(file.parent)),
        ("state", preprocessed / STATE, lambda file: read_state(file.parent)),
        ("splits_final.json", preprocessed / "splits_final.json", read_splits),
        ("nnU-Net's plans", preprocessed / "nnUNetPlans.json", _plans),
        ("results of a cycle", results / "nnactive" / "cycle_001.json", CycleResult.read),
        ("record", results / "nnactive" / RECORD, lambda file: read_trajectory(file.parent)),
    ]
    readers += [
        ("mark of a member", next(results.rglob(f"fold_0/{MEMBER}")), lambda file: read_mark(file.parent)),
        ("candidates", next(results.glob("nnactive/cycle_001/candidates/*.json")), _candidates),
    ]
    for name, file, read in readers:
        yield Target(name, file.name, file.read_bytes(), read)
    state, splits = (preprocessed / STATE).read_bytes(), (preprocessed / "splits_final.json").read_bytes()
    yield Target("cases of the splits", "splits_final.json", splits, lambda file: annotated_cases(file.parent), {STATE: state})


def of_its_own() -> Iterator[Target]:
    """Files that such an experiment need not have."""
    journal = Journal("drop", (NewFile(PREPROCESSED, "splits_final.json", []),), ({"what": "given", "who": "a", "cases": []},))
    block = {"file": "v.zarr", "level": 0, "time": None, "start": [0, 0, 0], "size": [4, 4, 4], "spacing_mm": [1.0, 1.0, 1.0]}
    meeting = {name: {} if name in ("folders", "versions") else "x" for name in Meeting.__dataclass_fields__}
    note = Note(Owner.this_process(), "anna", 1.0, 0, [1, 2, 3])
    contents: list[tuple[str, str, Any, Callable[[Path], object]]] = [
        ("journal", JOURNAL, asdict(journal), lambda file: Journal.read(file.parent)),
        ("blocks", BLOCKS_FILE, {"b_0": block, "b_1": block}, lambda file: BlockTable.read(file.parent).content()),
        ("pseudonyms", "pseudonyms.json", {"tiny_1": "bcd", "tiny_2": "bcf"}, lambda file: pseudonyms(file.parent)),
        ("numbers of a benchmark", "numbers.json", {"a": 500, "b": 501}, read_numbers),
        ("meeting of workers", "meeting.json", meeting, Meeting.read),
        ("running step", "running.json", {"step": "train", "host": "h", "pid": 1, "since": 1.0}, Running.read),
        ("note of a run", NOTE, asdict(note), lambda file: Note.read(file.parent)),
        ("owner of a lock", "lock.json", asdict(Owner.this_process()), lambda file: Owner.parse(file.read_bytes())),
    ]
    for name, file, content, read in contents:
        yield Target(name, file, json.dumps(content).encode(), read)


def _plan(file: Path) -> object:
    """What commands do with a plan before they look at anything else."""
    plan = Plan.read(file.parent)
    looked: list[object] = [plan.patch_size(case) for case in plan.pool]
    looked += [plan.voxels, plan.queries, plan.label_changes, plan.called_irrelevant, plan.whole_images(), plan.method_words]
    looked += [plan.member_kind, plan.evaluation, plan.inferences(1), plan.added_since(1), plan.group(next(iter(plan.pool)))]
    plan.check(plan.whole_images(), file)
    return looked


def _dataset(file: Path) -> object:
    dataset = Dataset(file.parent)
    return dataset.labels.classes, dataset.labels.foreground, dataset.labels.ignore, dataset.file_ending, dataset.entries


def _plans(file: Path) -> object:
    read_plans(file)
    return Preprocessed(file.parent, "nnUNetPlans", "3d_fullres").data_folder


def _candidates(file: Path) -> object:
    ranking = ranking_from_json(read_json(file, RankingFile), "tiny_1")
    return list(ranking.candidates)
