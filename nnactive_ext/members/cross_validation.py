"""How good the members are where there is no test set: each on annotated voxels of cases that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import read_mark
from nnactive_ext.experiment.result import CrossValidation
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.members.ensemble import Ensemble, fold_folder
from nnactive_ext.members.prediction import Predictor
from nnactive_ext.nnunet.splits import SPLITS, read_splits

EXPLAINED = (
    "CV Dice: each member predicts the annotated voxels of cases that it was not trained on, and all these voxels are pooled.\n"
    "A query method chose these voxels, others in each cycle, so CV Dice cannot be compared with the Dice on a test set, nor\n"
    "strictly between cycles and methods."
)
"""For whoever shows these numbers."""


def cross_validate(
    experiment: Experiment,
    open_ensemble: Callable[[Sequence[int]], Ensemble],
    folds: Sequence[int],
    progress: bool = True,
) -> CrossValidation:
    """Dice per class on annotated voxels of cases that a member was not trained on.

    Single patches say little, so true positives, false positives and false negatives are summed over all annotated voxels
    of all these cases, which gives one Dice per class, not a mean over cases. A case counts when it validates one of the
    ``folds`` whose member was not trained on it. ``cases_left_out`` of the result are the other annotated cases: there are
    fewer members than folds, or answers that came after the training changed the folds.

    **Not comparable with the Dice on a test set.** A query method chose these voxels, mostly because they were hard, and
    each cycle adds others. One member predicts them, not the ensemble, and as in queries: without mirroring, from the box
    around all annotated voxels of a case and its surroundings. Reference labels are not read.

    Args:
        experiment: its members of the current cycle are trained.
        open_ensemble: gives the members of some folds.
        folds: the folds whose members are judged.
        progress: show a progress bar.

    Returns:
        Dice (0 to 1), None where a class is neither annotated nor predicted, and the counts behind it.
    """
    labels, dataset = experiment.dataset.labels, experiment.dataset
    held_out, left_out = held_out_cases(experiment, folds)
    counts = {name: np.zeros(3, np.int64) for name in labels.classes}  # true positives, false ones, false negatives
    total = sum(map(len, held_out.values()))
    with tqdm(desc="Cross-validating", total=total, disable=not progress) as bar:
        for fold, cases in held_out.items():
            predict = Predictor(experiment, partial(open_ensemble, [fold]))
            for case in cases:
                annotated = dataset.label_map(case)
                box = annotated_box(case, annotated != labels.ignore)
                said = annotated[box.slices]
                known = said != labels.ignore
                said, predicted = said[known], predict(box)[known]
                for name, values in labels.classes.items():
                    counts[name] += _compare(np.isin(predicted, values), np.isin(said, values))
                bar.update()
    dice = {name: _dice(*found) for name, found in counts.items()}
    numbers = [value for value in dice.values() if value is not None]
    return CrossValidation(
        dice_per_class=dice,
        mean_dice=math.fsum(numbers) / len(numbers) if numbers else None,
        voxels_per_class={name: int(found[0] + found[2]) for name, found in counts.items()},
        cases=total,
        cases_left_out=len(left_out),
        folds=len(held_out),
        predicted_voxels_per_class={name: int(found[0] + found[1]) for name, found in counts.items()},
    )


def held_out_cases(experiment: Experiment, folds: Sequence[int]) -> tuple[dict[int, list[str]], list[str]]:
    """Of each fold that has any, the annotated cases that validate it and of whose group its member has not seen any, each
    case in one fold only; and the other annotated cases."""
    splits = read_splits(experiment.preprocessed.folder / SPLITS)
    open_cases = [case for case, counts in experiment.state["annotated"].items() if any(counts.values())]
    held_out: dict[int, list[str]] = {}
    group = experiment.plan.group
    for fold in folds:
        # What the member itself noted; a member of an earlier version did not.
        trained_on = read_mark(fold_folder(experiment, fold)).get("cases") or splits[fold]["train"]
        seen = {group(case) for case in trained_on}
        chosen = [case for case in open_cases if case in splits[fold]["val"] and group(case) not in seen]
        if chosen:
            held_out[fold] = chosen
            open_cases = [case for case in open_cases if case not in chosen]
    return held_out, open_cases


def annotated_box(case: str, annotated: np.ndarray) -> Patch:
    (box,) = ndimage.find_objects(annotated.astype(np.uint8))
    return Patch(case, triple([s.start for s in box]), triple([s.stop - s.start for s in box]))


def _compare(predicted: np.ndarray, true: np.ndarray) -> tuple[int, int, int]:
    both = int((predicted & true).sum())
    return both, int(predicted.sum()) - both, int(true.sum()) - both


def _dice(hits: int, too_much: int, missed: int) -> float | None:
    either = int(2 * hits + too_much + missed)
    return 2 * int(hits) / either if either else None
