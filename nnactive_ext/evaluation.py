"""Evaluation of the current members on the test set, and what has been annotated for them: one JSON file per cycle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnactive_ext.ensemble import Ensemble
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment import Experiment
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loops import loop_file, read_loop
from nnactive_ext.metrics.overlap import aggregate, dice_per_case
from nnactive_ext.record import write_record


def result_file(experiment: Experiment, cycle: int) -> Path:
    return experiment.results / f"cycle_{cycle:03d}.json"


def evaluate(experiment: Experiment, open_ensemble: Callable[[], Ensemble], progress: bool = True) -> dict[str, Any]:
    """Mean Dice on the test set and the annotation it rests on; written to ``cycle_NNN.json``.

    Voxels the reference marks as ``ignore`` do not count. NaN (a class absent in prediction and reference) is null.
    """
    source, cycle = experiment.source, experiment.state["cycle"]
    labels = source.labels
    per_case = {}
    # A roll-out has no test set, and needs no members here.
    ensemble = open_ensemble() if experiment.plan.test else None
    for case in tqdm(experiment.test_cases(), desc="Evaluating the test set", disable=not progress):
        reference, _ = source.reader_writer.read_seg(str(case.label))
        try:
            assert ensemble is not None
            prediction = ensemble.segment(case)
        except RuntimeError as error:  # torch's, for want of memory or because of infinite logits
            raise NnActiveError(f"{case.name}: its prediction failed: {error}") from error
        per_case[case.name] = dice_per_case(prediction, reference[0], labels.classes, labels.ignore)
    nothing = dict.fromkeys(labels.classes, math.nan)
    dice = aggregate(per_case or {"": nothing})
    result = {
        "cycle": cycle,
        "mean_dice": _number(dice.mean),
        "dice_per_class": {name: _number(value) for name, value in dice.per_class.items()},
        "cases_per_class": dice.cases,
        "classes_left_out": list(dice.left_out),
        **annotation(experiment, cycle),
        "dice_per_case": {case: {n: _number(v) for n, v in scores.items()} for case, scores in per_case.items()},
    }
    experiment.results.mkdir(parents=True, exist_ok=True)
    write_record(experiment)
    write_json(result_file(experiment, cycle), result)
    return result


def annotation(experiment: Experiment, cycle: int) -> dict[str, Any]:
    """Patches and voxels annotated up to ``cycle`` (whose labels are in place), and the foreground among them."""
    labels, plan = experiment.source.labels, experiment.plan
    voxels: Counter[int] = Counter()
    for counts in experiment.state["annotated"].values():
        voxels.update({int(label): n for label, n in counts.items()})
    foreground = sum(voxels[label] for label in labels.foreground)
    ending = experiment.dataset.file_ending
    return {
        "patches": len(experiment.annotated_patches(cycle)),
        "new_patches": len(read_loop(loop_file(experiment.raw, cycle), ending)),
        "annotated_cases": len(experiment.state["annotated"]),
        "annotated_voxels": voxels.total(),
        "annotated_voxels_per_label": _named(voxels, {0: "background", **labels.foreground}),
        "foreground_share": foreground / voxels.total() if voxels else None,
        "share_of_all_foreground": foreground / plan.pool_foreground_voxels if plan.pool_foreground_voxels else None,
    }


def _named(voxels: Mapping[int, int], names: Mapping[int, str]) -> dict[str, int]:
    return {name: int(voxels.get(label, 0)) for label, name in names.items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def read_results(experiment: Experiment) -> list[dict[str, Any]]:
    """The results of all cycles evaluated so far, in order."""
    return [read_json(file) for file in sorted(experiment.results.glob("cycle_*.json"))]
