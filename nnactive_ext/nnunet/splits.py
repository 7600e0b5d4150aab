"""Cross-validation folds over the annotated cases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypedDict

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json
from nnactive_ext.paths import Name
from nnactive_ext.schemas import not_empty
from nnactive_ext.words import count, listed, plural

SPLITS = "splits_final.json"
"""In the preprocessed dataset folder, as nnU-Net calls it."""
_ATTEMPTS = 50
_OF_ONE = 5
"""nnU-Net's number of folds, of which a single one is taken: it trains on four fifths of the cases."""


class Split(TypedDict):
    """The cases of a fold."""

    train: list[Name]
    val: list[Name]


def read_splits(file: Path) -> list[Split]:
    """nnU-Net's ``splits_final.json``, the folds in order; an NnActiveError where it is missing, damaged or empty."""
    return read_json(file, Annotated[list[Split], not_empty], "Delete it; the next command makes it anew.")


def make_splits(
    voxels: Mapping[str, Mapping[int, int]],
    folds: int,
    rng: np.random.Generator,
    groups: Mapping[str, str] | None = None,
    names: Mapping[int, str] | None = None,
    seeds: bool = False,
) -> tuple[list[dict[str, list[str]]], tuple[str, ...]]:
    """nnU-Net's ``splits_final.json`` and what to tell the user about it.

    ``voxels``: annotated case -> annotated voxels per label value. ``groups``: case -> group, of all these cases; without them
    each case is a group of its own. ``names``: label value -> class, to name it by. The cases of a group stay together: each
    validates exactly one fold, and no fold trains on one and validates on another. The cases of each class are spread over the
    folds (rarest class first), so every class is trained on in as many folds as possible. Fewer groups than folds give fewer
    folds, never fewer than 2; fewer than 2 groups are an error.

    A single fold is the first of five in which fewest classes are missing from the training cases. ``seeds``: all folds train
    on all cases; each validates on the cases that it would leave out.
    """
    together = _together(voxels, groups)
    units = sorted(together)
    if len(voxels) < 2:
        raise NnActiveError(
            f"{len(voxels)} annotated case(s): at least 2 are needed, one to train on and one to validate. "
            "Annotate patches in more cases (a larger starting budget)."
        )
    if len(units) < 2:
        raise NnActiveError(
            f"All {len(voxels)} annotated cases are of the group {units[0]}: at least 2 groups are needed, one to train on and "
            "one to validate, because the cases of a group stay together. Annotate patches in cases of another group (a larger "
            "starting budget)."
        )
    used = min(_OF_ONE if folds == 1 else folds, len(units))
    warnings = []
    if used < folds and not seeds:
        few = f"{count(len(units), 'group')} of cases" if groups else f"{len(units)} cases"
        warnings.append(f"Only {few} are annotated: {used} folds instead of {folds}.")
    inside = {unit: _sum(voxels[case] for case in cases) for unit, cases in together.items()}
    sizes = {unit: len(cases) for unit, cases in together.items()}
    best, lacking = _best(units, inside, sizes, used, rng)
    if folds == 1:
        alone = min(range(used), key=lambda fold: sum(fold in missing for missing in lacking.values()))
        best, lacking = [best[alone]], {label: [0] * (alone in missing) for label, missing in lacking.items()}
    if seeds:
        best, lacking = [{"train": units, "val": best[fold % used]["val"]} for fold in range(folds)], {}
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for label, missing in sorted(lacking.items()):
        alike[tuple(missing)].append((names or {}).get(label, str(label)))
    for without, labels in alike.items():
        if without:
            what = f"{plural(len(labels), 'Label')} {listed(labels, 20)} {plural(len(labels), 'is', 'are')}"
            warnings.append(f"{what} not in the training cases of fold {', '.join(map(str, without))}.")
    return [_of_cases(split, together) for split in best], tuple(warnings)


def _together(cases: Mapping[str, object], groups: Mapping[str, str] | None) -> dict[str, list[str]]:
    """Group -> its annotated cases."""
    without = sorted(case for case in cases if groups and case not in groups)
    if without:
        raise NnActiveError(f"The plan has no group for {', '.join(without)}. Restore nnactive_plan.json.")
    found = defaultdict(list)
    for case in sorted(cases):
        found[groups[case] if groups else case].append(case)
    return dict(found)


def _sum(counts: Iterable[Mapping[int, int]]) -> Mapping[int, int]:
    total: Counter[int] = Counter()
    for one in counts:
        total.update(one)
    return total


def _of_cases(split: Mapping[str, Sequence[str]], together: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {part: sorted(case for unit in units for case in together[unit]) for part, units in split.items()}


def _best(
    units: list[str],
    voxels: Mapping[str, Mapping[int, int]],
    sizes: Mapping[str, int],
    folds: int,
    rng: np.random.Generator,
) -> tuple[list[dict[str, list[str]]], dict[int, list[int]]]:
    """Folds of ``units``, which have so many cases (``sizes``) and annotated ``voxels``; and label -> the folds that do not
    train on it."""
    classes = sorted({label for counts in voxels.values() for label in counts})
    with_class = {label: [unit for unit in units if voxels[unit].get(label)] for label in classes}
    # A class in a single unit is missing where that unit validates; any other need not be, but a greedy choice may
    # put all its units into one fold for the sake of rarer classes. Another order of the units then usually helps.
    unavoidable = sum(len(holders) == 1 for holders in with_class.values())
    best: list[dict[str, list[str]]] = []
    lacking: dict[int, list[int]] = {}
    for attempt in range(_ATTEMPTS):
        order = [units[i] for i in rng.permutation(len(units))]
        if attempt % 2 == 0:  # makes folds of even size
            order.sort(key=lambda unit: -sizes[unit])
        splits = _without_empty(_spread(order, voxels, sizes, classes, folds), units)
        without = {
            label: [i for i, split in enumerate(splits) if not set(split["train"]) & set(with_class[label])]
            for label in classes
            if with_class[label]
        }
        if not best or sum(map(len, without.values())) < sum(map(len, lacking.values())):
            best, lacking = splits, without
        if sum(map(len, lacking.values())) <= unavoidable:
            break
    return best, lacking


def _spread(
    order: list[str], voxels: Mapping[str, Mapping[int, int]], sizes: Mapping[str, int], classes: list[int], folds: int
) -> list[dict[str, list[str]]]:
    """Folds by a greedy choice: rarest class first, each unit into the fold with the fewest cases of that class, then with the
    fewest of all."""
    holders = {label: [unit for unit in order if voxels[unit].get(label)] for label in classes}
    fold_of: dict[str, int] = {}
    cases = [0] * folds
    for label in sorted(classes, key=lambda label: (len(holders[label]), label)):
        with_class = [sum(sizes[unit] for unit in holders[label] if fold_of.get(unit) == fold) for fold in range(folds)]
        for unit in holders[label]:
            if unit not in fold_of:
                fold_of[unit] = min(range(folds), key=lambda fold: (with_class[fold], cases[fold], fold))
                with_class[fold_of[unit]] += sizes[unit]
                cases[fold_of[unit]] += sizes[unit]
    found = sorted(fold_of)
    return [
        {"train": [u for u in found if fold_of[u] != fold], "val": [u for u in found if fold_of[u] == fold]}
        for fold in range(folds)
    ]


def _without_empty(splits: list[dict[str, list[str]]], units: list[str]) -> list[dict[str, list[str]]]:
    """Give an empty validation set a unit of the largest one; nnU-Net cannot validate on nothing."""
    for split in splits:
        if not split["val"]:
            largest = max(splits, key=lambda other: len(other["val"]))
            moved = largest["val"].pop()
            largest["train"] = sorted([*largest["train"], moved])
            split["val"], split["train"] = [moved], [unit for unit in units if unit != moved]
    return splits
