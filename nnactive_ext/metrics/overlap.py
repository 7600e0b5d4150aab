"""How well a segmentation overlaps the reference: Dice of a case, and its mean over cases and classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Classes = Mapping[str, int | Sequence[int]]
"""Name of a class -> its label, or the labels of a region."""


def dice_per_case(
    prediction: np.ndarray, reference: np.ndarray, classes: Classes, ignore: int | None = None
) -> dict[str, float]:
    """Dice of each class in one case: 2 TP / (2 TP + FP + FN).

    Args:
        prediction: a label map, usually (z, y, x).
        reference: a label map of the same shape.
        classes: name -> label, or labels of a region.
        ignore: voxels where the *reference* has this value do not count.

    Returns:
        Class -> Dice, 0 to 1. A class that is in neither array is NaN: there was nothing to find and nothing was found,
        which is neither 0 nor 1.

    Raises:
        ValueError: the shapes differ.

    >>> dice_per_case(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2]), {"one": 1, "both": (1, 2), "three": 3})
    {'one': 0.6666666666666666, 'both': 1.0, 'three': nan}
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction of shape {prediction.shape}, reference of shape {reference.shape}")
    if ignore is not None:
        counted = reference != ignore
        prediction, reference = prediction[counted], reference[counted]
    scores = {}
    for name, labels in classes.items():
        predicted, true = np.isin(prediction, labels), np.isin(reference, labels)
        either = int(predicted.sum() + true.sum())
        scores[name] = 2 * int((predicted & true).sum()) / either if either else math.nan
    return scores


@dataclass(frozen=True)
class MeanDice:
    """Dice of a set of cases, and what each number rests on."""

    mean: float
    """Over the classes that have a value; NaN where none has."""
    per_class: dict[str, float]
    """Mean over the cases that have a value; NaN where none has."""
    cases: dict[str, int]
    """How many cases each class's mean rests on."""
    left_out: tuple[str, ...]
    """Classes without any such case; they are not in ``mean``."""


def aggregate(per_case: Mapping[str, Mapping[str, float]]) -> MeanDice:
    """Mean over cases, then over classes, leaving NaN out: ``per_case[case][class]`` -> :class:`MeanDice`.

    No case at all, or cases that do not have the same classes, are a ValueError.

    >>> result = aggregate({"a": {"one": 0.5, "two": math.nan}, "b": {"one": 0.7, "two": math.nan}})
    >>> result.mean, result.cases, result.left_out
    (0.6, {'one': 2, 'two': 0}, ('two',))
    """
    if not per_case:
        raise ValueError("there is no case to take the mean of")
    classes = list(next(iter(per_case.values())))
    for case, scores in per_case.items():
        if set(scores) != set(classes):
            raise ValueError(f"case {case} has the classes {sorted(scores)}, others have {sorted(classes)}")
    values = {name: [s[name] for s in per_case.values() if not math.isnan(s[name])] for name in classes}
    per_class = {name: _mean(v) for name, v in values.items()}
    return MeanDice(
        mean=_mean([v for v in per_class.values() if not math.isnan(v)]),
        per_class=per_class,
        cases={name: len(v) for name, v in values.items()},
        left_out=tuple(name for name, v in values.items() if not v),
    )


def _mean(values: Sequence[float]) -> float:
    # math.fsum does not depend on the order of the cases.
    return math.fsum(values) / len(values) if values else math.nan
