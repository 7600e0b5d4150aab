"""A roll-out of any size, written as files: many cases, tasks and answers, of which every real command takes the same care."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.experiment.inputs import digest
from nnactive_ext.experiment.preprocessed_mark import KEY
from nnactive_ext.files import read_json, sha256, write_json

NUMBER = 883
NAME = f"Dataset{NUMBER:03d}_Grown"
SHAPE, SIZE = (12, 12, 12), 3
"""Voxels of an image along each axis, and of a patch: 64 patches of a case do not overlap."""
WHEN = "2026-01-01T00:00:00+00:00"
LABELS = {"organ": 1, "lesion": 2}


@dataclass(frozen=True)
class Size:
    """``cases`` of the pool and ``tasks`` in all, spread over ``cycles``; ``answered``: the first of the tasks have an answer.
    The last cycle is open, the others are closed."""

    cases: int
    tasks: int
    cycles: int = 1
    answered: int = 0


def grow(folder: Path, size: Size) -> Path:
    """Write the roll-out below ``folder``.

    Args:
        folder: that of the three folders of nnU-Net, which are made; the environment must name them.
        size: how large it is. Every case has the same image and every answer the same labels, each one file with many names.

    Returns:
        The raw folder of the experiment.
    """
    if size.tasks > size.cases * len(_places()):
        raise ValueError(f"{size.cases} cases have no {size.tasks} patches that do not overlap")
    planned = _planned(folder, max(2, size.cycles))
    raw = folder / "nnUNet_raw" / NAME
    names = [f"case_{number:05d}" for number in range(size.cases)]
    _write_cases(raw, planned, names)
    ids = list(_write_loops(raw, planned, names, size))
    if size.cycles > 1:
        _write_closed(folder / "nnUNet_preprocessed" / NAME, planned, names, size)
    _write_answers(raw / "annotation", ids[: size.answered])
    return raw


def _planned(folder: Path, cycles: int) -> dict[str, Any]:
    """The files of the same roll-out with one case, as ``nnactive_plan`` makes them."""
    import SimpleITK as sitk

    from nnactive_ext.cli import plan

    for name in ("raw", "preprocessed", "results"):
        (folder / f"nnUNet_{name}").mkdir(parents=True, exist_ok=True)
    images = folder / "images"
    images.mkdir()
    for number in range(2):
        voxels = np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(images / f"case_{number:05d}.nii.gz"))
    options = f"-name Grown -channels MRI -patch_size {SIZE} -query_size 2 -starting_budget 0 -cycles {cycles} -folds 2 -np 1"
    words = f"--labels {' '.join(LABELS)} --preset cpu -training_hours 1 --disable_progress_bar"
    plan.main(["-i", str(images), "-o", str(NUMBER), *options.split(), *words.split()])
    raw = folder / "nnUNet_raw" / NAME
    names = ("nnactive_plan.json", "dataset.json", "nnactive_inputs.json", "loop_000.json")
    return {name: read_json(raw / name) for name in names}


def _write_cases(raw: Path, planned: dict[str, Any], names: list[str]) -> None:
    images = raw.parents[1] / "images"
    first, label = images / "case_00000.nii.gz", raw / "labelsTr" / "case_00000.nii.gz"
    (images / "case_00001.nii.gz").unlink()
    for name in names:
        _named(first, images / f"{name}.nii.gz")
        _named(label, raw / "labelsTr" / f"{name}.nii.gz")
    geometry = planned["nnactive_plan.json"]["pool"]["case_00000"]
    write_json(raw / "nnactive_plan.json", {**planned["nnactive_plan.json"], "pool": dict.fromkeys(names, geometry)})
    entries = {name: {"images": [str(images / f"{name}.nii.gz")], "label": f"labelsTr/{name}.nii.gz"} for name in names}
    write_json(raw / "dataset.json", {**planned["dataset.json"], "numTraining": len(names), "dataset": entries})
    (frozen,) = planned["nnactive_inputs.json"]["images"]["case_00000"]
    found = {name: [{**frozen, "file": str(images / f"{name}.nii.gz")}] for name in names}
    write_json(raw / "nnactive_inputs.json", {**planned["nnactive_inputs.json"], "images": found})


def _places() -> list[list[int]]:
    cells = [n // SIZE for n in SHAPE]
    return (np.stack(np.unravel_index(np.arange(np.prod(cells)), cells), axis=1) * SIZE).tolist()


def _write_loops(raw: Path, planned: dict[str, Any], names: list[str], size: Size) -> Iterator[str]:
    """Write the loop files, and give the ids of the tasks, in order."""
    places, strata = _places(), ("organ", "lesion", "random")
    of_cycle = np.array_split(np.arange(size.tasks), size.cycles)
    for cycle, numbers in enumerate(of_cycle):
        patches = []
        for number, task in enumerate(numbers.tolist(), start=1):
            case = names[task % len(names)]
            place = places[task // len(names)]
            entry = {"file": f"{case}.nii.gz", "coords": place, "size": [SIZE] * 3, "stratum": strata[task % 3]}
            patches.append(entry)
            yield f"c{cycle:03d}_{number:03d}_{case}"
        write_json(raw / f"loop_{cycle:03d}.json", {**planned["loop_000.json"], "patches": patches, "cycle": cycle})


def _write_closed(folder: Path, planned: dict[str, Any], names: list[str], size: Size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    half = len(names) // 2
    write_json(folder / "splits_final.json", [{"train": names[half:], "val": names[:half]}, {"train": names[:half], "val": []}])
    annotated = {name: {"0": 9, "1": 9, "2": 9} for name in names}
    plan = planned["nnactive_plan.json"]
    state = {"experiment": plan["experiment"], "cycle": size.cycles - 2, "annotated": annotated}
    write_json(folder / "nnactive_state.json", state)
    shutil.copy(folder.parents[1] / "nnUNet_raw" / NAME / "dataset.json", folder / "dataset.json")
    made, name = {"dataset_name": NAME, "configurations": {}}, plan["plans_identifier"]
    write_json(folder / f"{name}.json", made)
    frozen = {"identifier": name, "sha256": digest(made), "data_folder": name, "marked": names[0], "content": made}
    frozen |= {"dataset_json": None, "fingerprint": None}
    raw = folder.parents[1] / "nnUNet_raw" / NAME
    write_json(raw / "nnactive_inputs.json", {**read_json(raw / "nnactive_inputs.json"), "plans": frozen})
    (folder / name).mkdir()
    (folder / name / f"{names[0]}.pkl").write_bytes(pickle.dumps({KEY: True}))


def answer() -> np.ndarray:
    """What every answer says: a third of each class."""
    return np.repeat(np.arange(SIZE, dtype=np.uint8), SIZE * SIZE).reshape((SIZE,) * 3)


def _write_answers(annotation: Path, ids: list[str]) -> None:
    from nnactive_ext.geometry.space import Space
    from nnactive_ext.labelling import chain
    from nnactive_ext.labelling.ledger import LEDGER, Ledger

    if not ids:
        return
    space = Space((SIZE,) * 3, (1.0,) * 3, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    ledger, end, lines = Ledger(annotation), chain.End(0, 0, chain.digest(b"")), []
    first = annotation / ledger.write_answer("first", "0" * 64, answer(), space)
    mark, checksum = first.name.rsplit("_", 1)[1], sha256(first)
    (annotation / "received").mkdir()
    for number, task in enumerate(ids):
        place = f"answers/{task}_{checksum[:16]}_{mark}"
        received = f"received/{checksum[:16]}_{task}.nii.gz"
        _named(first, annotation / place)
        _named(first, annotation / received)
        voxels = answer().size
        event = {
            "event": number,
            "what": "answer",
            "who": "anna",
            "when": WHEN,
            "task": task,
            "file": f"/hospital/{task}.nii.gz",
        }
        event |= {"received": received, "sha256": checksum, "place": place, "voxels": voxels, "unsure": 0, "missing": 0}
        event |= {"outside": 0, "by_name": False, "counts": {str(value): SIZE * SIZE for value in range(SIZE)}}
        line = chain.line_of(event, end)
        lines.append(line)
        end = chain.End(number + 1, end.size + len(line), chain.digest(line))
    (annotation / LEDGER).write_bytes(b"".join(lines))


def _named(file: Path, name: Path) -> None:
    """Give a file another name, unless something has it; where the file system has no links, or no more of them, copy it."""
    if name.exists():
        return
    try:
        os.link(file, name)
    except OSError:
        shutil.copy2(file, name)


def exported(raw: Path, tasks: int) -> None:
    """Write down that so many tasks were exported before, as :mod:`nnactive_ext.exchange.export` does."""
    ids = [f"c000_{number:03d}_before" for number in range(1, tasks + 1)]
    (raw / "annotation").mkdir(exist_ok=True)
    (raw / "annotation" / "exported.json").write_text(json.dumps({task: ["0" * 64] for task in ids}))
