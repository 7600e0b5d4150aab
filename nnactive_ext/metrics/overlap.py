"""How well a segmentation overlaps the reference: Dice of a case, and its mean over cases and classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Classes = Mapping[str, int | Sequence[int]]
"""Name of a class -> its label, or the labels of a region."""


_CHUNK = 1 << 16
"""Voxels that are counted at once: their indices stay in the cache."""
_WIDE = 1 << 20
"""A range of labels from which they are searched for instead of looked up."""


class Confusion:
    """How many voxels have which label in the prediction and which in the reference: every overlap of a case in one pass.

    Args:
        prediction: a label map, usually (z, y, x).
        reference: a label map of the same shape.
        classes: name -> label, or labels of a region.
        ignore: voxels where the *reference* has this value do not count in :attr:`dice`.

    Raises:
        ValueError: the shapes differ.

    >>> found = Confusion(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 9]), {"one": 1, "both": (1, 2)}, ignore=9)
    >>> found.dice, found.predicted
    ({'one': 0.6666666666666666, 'both': 1.0}, {'one': 2, 'both': 3})
    """

    def __init__(self, prediction: np.ndarray, reference: np.ndarray, classes: Classes, ignore: int | None = None):
        if prediction.shape != reference.shape:
            raise ValueError(f"prediction of shape {prediction.shape}, reference of shape {reference.shape}")
        wanted = {name: np.unique(np.atleast_1d(labels)).astype(np.int64) for name, labels in classes.items()}
        ignored = [np.array([ignore], np.int64)] if ignore is not None else []
        labels = np.unique(np.concatenate([np.empty(0, np.int64), *wanted.values(), *ignored]))
        self._places = {name: 1 + np.searchsorted(labels, values) for name, values in wanted.items()}
        self._counts = _counts(prediction.ravel(), reference.ravel(), labels)
        self._counted = np.ones(len(labels) + 1, bool)
        if ignore is not None:
            self._counted[1 + np.searchsorted(labels, ignore)] = False

    @property
    def dice(self) -> dict[str, float]:
        """Class -> 2 TP / (2 TP + FP + FN), 0 to 1; NaN where the class is in neither array."""
        counts, scores = self._counts[:, self._counted], {}
        kept = np.flatnonzero(self._counted)
        for name, rows in self._places.items():
            columns = np.flatnonzero(np.isin(kept, rows))
            either = int(counts[rows].sum() + counts[:, columns].sum())
            scores[name] = 2 * int(counts[np.ix_(rows, columns)].sum()) / either if either else math.nan
        return scores

    @property
    def predicted(self) -> dict[str, int]:
        """Class -> voxels of it in the prediction, those that are ``ignore`` in the reference among them."""
        return {name: int(self._counts[rows].sum()) for name, rows in self._places.items()}


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
    return Confusion(prediction, reference, classes, ignore).dice


def _counts(prediction: np.ndarray, reference: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Voxels by the place of their label among the sorted ``labels`` (0: none of them), predicted (rows) and true (columns)."""
    number = len(labels) + 1
    found = np.zeros(number * number, np.int64)
    place = _places(labels)
    for start in range(0, prediction.size, _CHUNK):
        pairs = place(prediction[start : start + _CHUNK]) * number + place(reference[start : start + _CHUNK])
        found += np.bincount(pairs, minlength=number * number)
    return found.reshape(number, number)


def _places(labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the place of each value among the sorted ``labels``, counted from 1; 0 for a value that is none of them."""
    if not len(labels):
        return lambda values: np.zeros(values.size, np.int64)
    low, high = int(labels[0]) - 1, int(labels[-1]) + 1
    table = np.zeros(high - low + 1, np.int64) if high - low < _WIDE else None
    if table is not None:
        table[labels - low] = np.arange(1, len(labels) + 1)

    def place(values: np.ndarray) -> np.ndarray:
        if values.dtype.kind == "f":
            values = np.nan_to_num(values.clip(low, high), nan=low)
            whole = values.astype(np.int64)
            whole[whole != values] = low
        else:
            whole = values.astype(np.int64).clip(low, high)
        if table is not None:
            return table[whole - low]
        found = np.searchsorted(labels, whole).clip(max=len(labels) - 1)
        return np.where(labels[found] == whole, found + 1, 0)

    return place


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
