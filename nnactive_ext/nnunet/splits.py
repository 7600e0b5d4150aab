"""Cross-validation folds over the annotated cases."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnactive_ext.errors import NnActiveError

_ATTEMPTS = 50


def make_splits(
    voxels: Mapping[str, Mapping[int, int]], folds: int, rng: np.random.Generator
) -> tuple[list[dict[str, list[str]]], tuple[str, ...]]:
    """nnU-Net's ``splits_final.json`` and what to tell the user about it.

    ``voxels``: annotated case -> annotated voxels per label value. Each case validates exactly one fold, and the cases
    of each class are spread over the folds (rarest class first), so every class is trained on in as many folds as
    possible. Fewer annotated cases than folds give fewer folds, never fewer than 2; fewer than 2 cases are an error.
    """
    cases = sorted(voxels)
    if len(cases) < 2:
        raise NnActiveError(
            f"{len(cases)} annotated case(s): at least 2 are needed, one to train on and one to validate. "
            "Annotate patches in more cases (a larger starting budget)."
        )
    used = min(folds, len(cases))
    warnings = []
    if used < folds:
        warnings.append(f"Only {len(cases)} cases are annotated: {used} folds instead of {folds}.")
    classes = sorted({label for counts in voxels.values() for label in counts})
    with_class = {label: [case for case in cases if voxels[case].get(label)] for label in classes}
    # A class in a single case is missing where that case validates; any other need not be, but a greedy choice may
    # put all its cases into one fold for the sake of rarer classes. Another order of the cases then usually helps.
    unavoidable = sum(len(holders) == 1 for holders in with_class.values())
    best: list[dict[str, list[str]]] = []
    lacking: dict[int, list[int]] = {}
    for _ in range(_ATTEMPTS):
        order = [cases[i] for i in rng.permutation(len(cases))]
        splits = _without_empty(_spread(order, voxels, classes, used), cases)
        without = {
            label: [i for i, split in enumerate(splits) if not set(split["train"]) & set(with_class[label])]
            for label in classes
            if with_class[label]
        }
        if not best or sum(map(len, without.values())) < sum(map(len, lacking.values())):
            best, lacking = splits, without
        if sum(map(len, lacking.values())) <= unavoidable:
            break
    for label, missing in lacking.items():
        if missing:
            warnings.append(f"Label {label} is not in the training cases of fold {', '.join(map(str, missing))}.")
    return best, tuple(warnings)


def _spread(
    order: list[str], voxels: Mapping[str, Mapping[int, int]], classes: list[int], folds: int
) -> list[dict[str, list[str]]]:
    """Folds by a greedy choice: rarest class first, each case into the fold with the fewest cases of that class."""
    holders = {label: [case for case in order if voxels[case].get(label)] for label in classes}
    fold_of: dict[str, int] = {}
    for label in sorted(classes, key=lambda label: (len(holders[label]), label)):
        for case in holders[label]:
            if case not in fold_of:
                sizes = np.bincount(list(fold_of.values()), minlength=folds)
                with_class = np.bincount([fold_of[c] for c in holders[label] if c in fold_of], minlength=folds)
                fold_of[case] = min(range(folds), key=lambda fold: (with_class[fold], sizes[fold], fold))
    cases = sorted(fold_of)
    return [
        {"train": [c for c in cases if fold_of[c] != fold], "val": [c for c in cases if fold_of[c] == fold]}
        for fold in range(folds)
    ]


def _without_empty(splits: list[dict[str, list[str]]], cases: list[str]) -> list[dict[str, list[str]]]:
    """Give an empty validation set a case of the largest one; nnU-Net cannot validate on nothing."""
    for split in splits:
        if not split["val"]:
            largest = max(splits, key=lambda other: len(other["val"]))
            moved = largest["val"].pop()
            largest["train"] = sorted([*largest["train"], moved])
            split["val"], split["train"] = [moved], [case for case in cases if case != moved]
    return splits
