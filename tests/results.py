"""Made-up results folders: experiment.json and cycle files as nnactive_run writes them, with the Dice one wants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnactive_ext.files import read_json, write_json

POOL = {f"case_{i}": {"shape": [20, 30, 30], "spacing": [3.0, 1.0, 1.0]} for i in range(6)}
TEST = ["case_6", "case_7"]
NETWORK = {"patch_size": [16, 32, 32], "batch_size": 2, "architecture": {"n_stages": 3, "features": [8, 16, 32]}}
FOREGROUND = 10_000
PATCH = 100
"""Voxels of a query patch."""
ALL = "all labels"


def write_experiment(
    root: Path,
    number: int,
    dice: Sequence[float | Mapping[str, float | None] | None],
    method: str = "random",
    seed: int = 1,
    source: str = "Dataset004_Organs",
    options: Mapping[str, str] | None = None,
    shares: Sequence[float] | None = None,
    classes: Sequence[str] = ("liver", "tumour"),
    record: Mapping[str, Any] | None = None,
    old: bool = False,
    **plan: Any,
) -> Path:
    """A results folder below ``root`` whose cycles have this ``dice``: a mean that all classes share, or one per class (None
    where it has none); None for the whole cycle where its file is missing.

    ``shares`` of all foreground are 1 %, 2 %, ... if not given; ``plan`` and ``record`` replace what is there by default;
    ``old``: without what was added to cycle files later.
    """
    name = f"Dataset{number:03d}_X"
    folder = root / name / "nnactive"
    folder.mkdir(parents=True)
    planned = {
        "experiment": f"{number:012x}",
        "dataset": name,
        "source": "../elsewhere",
        "pool": POOL,
        "test": TEST,
        "patch_size_mm": [6.0, 6.0, 6.0],
        "query_size": 10,
        "starting_budget": 20,
        "cycles": len(dice),
        "seed": seed,
        "method": method,
        "method_options": dict(options or {}),
        "dropped": [],
        "folds": 5,
        "configuration": "3d_fullres",
        "trainer": "nnActiveTrainer",
        "pool_foreground_voxels": FOREGROUND,
        "tolerance_mm": 0.0,
        "purpose": "",
        "versions": {"nnactive-ext": "0.1.0", "nnunetv2": "2.8.1", "torch": "2.9.0"},
        "changes": [],
        **plan,
    }
    content = {
        "name": name,
        "source": source,
        "plan": planned,
        "network": NETWORK,
        "start": [[f"case_{i % 6}", seed, i, i, 2, 6, 6] for i in range(20)],
        "classes": {label: [i + 1] for i, label in enumerate(classes)},
        **(record or {}),
    }
    write_json(folder / "experiment.json", content)
    for cycle, value in enumerate(dice):
        if value is not None:
            share = shares[cycle] if shares else 0.01 * (cycle + 1)
            result = cycle_result(cycle, value, classes, share, planned["starting_budget"], planned["query_size"])
            write_json(
                folder / f"cycle_{cycle:03d}.json", result if not old else {k: result[k] for k in result if k not in NEW}
            )
    return folder


NEW = ("nsd_per_class", "hd95_per_class", "surface_cases_per_class", "tolerance_mm")
NEW += ("new_patches_per_class", "new_voxels_per_label", "new_foreground_share")


def cycle_result(
    cycle: int, dice: float | Mapping[str, float | None], classes: Sequence[str], share: float, start: int, query: int
) -> dict[str, Any]:
    per_class = dict(dice) if isinstance(dice, Mapping) else dict.fromkeys(classes, dice)
    known = [value for value in per_class.values() if value is not None]
    patches, voxels = start + cycle * query, (start + cycle * query) * PATCH
    foreground = round(share * FOREGROUND)
    each = {label: foreground // len(classes) for label in classes}
    new = query if cycle else start
    counts = {label: 2 if value is not None else 0 for label, value in per_class.items()}
    return {
        "cycle": cycle,
        "mean_dice": math.fsum(known) / len(known) if known else None,
        "dice_per_class": per_class,
        "cases_per_class": counts,
        "classes_left_out": [label for label, value in per_class.items() if value is None],
        "patches": patches,
        "new_patches": new,
        "annotated_cases": 6,
        "annotated_voxels": voxels,
        "annotated_voxels_per_label": {"background": voxels - foreground, **each},
        "foreground_share": foreground / voxels,
        "share_of_all_foreground": share,
        "nsd_per_class": {label: value and min(1.0, value + 0.1) for label, value in per_class.items()},
        "hd95_per_class": {label: value and 10 * (1 - value) for label, value in per_class.items()},
        "surface_cases_per_class": {label: {"nsd": n, "hd95": n, "infinite": 0} for label, n in counts.items()},
        "tolerance_mm": 3.0,
        "new_patches_per_class": dict.fromkeys(classes, new // 2),
        "new_voxels_per_label": {"background": new * PATCH, **dict.fromkeys(classes, 0)},
        "new_foreground_share": 0.1,
        "dice_per_case": {},
    }


def edit(file: Path, **changes: Any) -> None:
    """Replace what a JSON file holds at its top."""
    write_json(file, {**read_json(file), **changes})


def write_benchmark(
    root: Path,
    methods: Mapping[str, float],
    seeds: Sequence[int] = (1, 2, 3, 4),
    settings: Sequence[str] = ("Dataset004_Organs",),
    cycles: int = 5,
    full: float | None = 0.9,
    first: int = 500,
) -> list[Path]:
    """Curves 0.9 - 0.5 exp(-speed * cycle) with a little that depends on seed and setting; ``methods``: name -> speed."""
    folders, number = [], first
    for s, source in enumerate(settings):
        for m, (method, speed) in enumerate(methods.items()):
            for seed in seeds:
                shift = 0.01 * ((seed * 7 + m * 3) % 5) - 0.02 - 0.05 * s
                wobble = [0.006 * (((m * m + 3) * (seed + 1) * (c + 2)) % 5 - 2) if c else 0.0 for c in range(cycles)]
                dice = [0.9 - 0.5 * math.exp(-speed * c) + shift * (c > 0) + wobble[c] for c in range(cycles)]
                shares = [0.01 * (1 + c * (1 + 0.3 * m)) for c in range(cycles)]
                folders.append(write_experiment(root, number, dice, method, seed, source, shares=shares))
                number += 1
        if full is not None:
            folders.append(write_experiment(root, number, [full], "random", 1, source, purpose=ALL, starting_budget=6))
            number += 1
    return folders
