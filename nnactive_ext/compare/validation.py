"""What a validation of uncertainty found: the values of each case, and what each score and aggregation is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nnactive_ext.metrics.averages import mean_and_spread
from nnactive_ext.metrics.failures import aurc, auroc, excess_aurc, fpr95


class Line(NamedTuple):
    """A score and how it is aggregated to one number for a case; a score of whole cases has no aggregation."""

    score: str
    aggregation: str = ""

    @property
    def name(self) -> str:
        return f"{self.score} ({self.aggregation})" if self.aggregation else self.score


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case, or one annotated patch where there is no test set.

    ``risk``: 1 - mean Dice over the classes in reference or prediction; 0 where there is none, NaN without a reference.
    ``values``: the uncertainty by each line, NaN where it has none. By score: ``ace``, NaN where no confidence could be fitted,
    and ``ncc``, NaN where a map is constant; empty where nothing was to compare with. ``ged``: the squared distance, or None.
    """

    name: str
    values: Mapping[Line, float]
    risk: float = math.nan
    ace: Mapping[str, float] = field(default_factory=dict)
    ncc: Mapping[str, float] = field(default_factory=dict)
    ged: float | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Everything that was measured of the members of one cycle.

    ``cases`` are "test cases", or "annotated patches" of cases that a member was not trained on (``unit``); ``ood``: cases out
    of distribution, without references; ``rated``: what several raters labelled. ``id_positive``: in-distribution cases are the
    positive ones. ``members``: how many were asked for a case. ``notes``: what is missing, and why, in sentences.
    """

    name: str
    cycle: int
    folds: Sequence[int | str]
    members: int
    lines: Sequence[Line]
    unit: str
    cases: Sequence[Case]
    ood: Sequence[Case] = ()
    rated: Sequence[Case] = ()
    id_positive: bool = False
    notes: Sequence[str] = ()

    @property
    def risks(self) -> list[float]:
        return [case.risk for case in self.cases]

    def values(self, line: Line) -> list[float]:
        """The uncertainty of each case."""
        return [case.values[line] for case in self.cases]


@dataclass(frozen=True)
class Worth:
    """What a line is worth; NaN where a number does not exist. ``undefined``: cases without a value, which leave it without
    AURC and AUROC. ``constant``: cases whose map is constant, which the mean ``ncc`` leaves out."""

    line: Line
    aurc: float
    excess: float
    auroc: float
    fpr95: float
    ace: float
    ncc: float
    undefined: int
    constant: int


def worth(validation: Validation) -> list[Worth]:
    """What each score and aggregation is worth.

    Args:
        validation: the values of each case.

    Returns:
        One for each line, in their order.
    """
    return [_worth(validation, line) for line in validation.lines]


def best(found: Sequence[Worth]) -> Worth | None:
    """The line of the smallest AURC, the first of equals; None where none has one."""
    ranked = [one for one in found if not math.isnan(one.aurc)]
    return min(ranked, key=lambda one: one.aurc, default=None)


def _worth(validation: Validation, line: Line) -> Worth:
    values, strange = validation.values(line), [case.values[line] for case in validation.ood]
    undefined = sum(map(math.isnan, [*values, *strange]))
    confidences = [-value for value in values]
    area, excess = (_known(metric, validation.risks, confidences) for metric in (aurc, excess_aurc))
    # FPR95 is not symmetric: with in-distribution positive, the surest are the ones to keep.
    positive, negative = (confidences, [-value for value in strange]) if validation.id_positive else (strange, values)
    separation, false = (_known(metric, positive, negative) for metric in (auroc, fpr95))
    ace = mean_and_spread([case.ace.get(line.score, math.nan) for case in validation.cases]).mean
    correlations = [case.ncc[line.score] for case in validation.rated if line.score in case.ncc]
    constant = sum(map(math.isnan, correlations))
    return Worth(line, area, excess, separation, false, ace, mean_and_spread(correlations).mean, undefined, constant)


def _known(metric: Callable[[Sequence[float], Sequence[float]], float], one: Sequence[float], other: Sequence[float]) -> float:
    return math.nan if not one or not other or np.isnan([*one, *other]).any() else metric(one, other)


def ged(validation: Validation) -> float:
    """The mean squared GED of what several raters labelled; NaN where there is nothing. It depends on no score."""
    return mean_and_spread([case.ged for case in validation.rated if case.ged is not None]).mean


def sentence(validation: Validation) -> str:
    """What a practitioner can use: how many of the worst cases the best line finds among the tenth that it ranks first (of few
    cases, among three or half of them).

    "Best" is by AURC on these very cases, and the sentence says so; what a random choice finds stands beside it.
    """
    found = best(worth(validation))
    n = len(validation.cases)
    if found is None or n < 2:
        return f"There are too few {validation.unit} ({n}) to say which uncertainty finds failures."
    if max(validation.risks) - min(validation.risks) < 1e-12:
        return f"All {n} {validation.unit} have the same Dice, so there are no failures to find."
    k = max(math.ceil(n / 10), min(3, n // 2))
    worst, unsure = (_largest(validation, values, k) for values in (validation.risks, validation.values(found.line)))
    many = f"the {k} with the largest {found.line.name} hold" if k > 1 else f"the one with the largest {found.line.name} is"
    hit = f"{len(worst & unsure)} of the {k} worst" if k > 1 else "the worst" if worst == unsure else "not the worst"
    best_of = f" It is the best of {len(validation.lines)} pairs of score and aggregation on these very {validation.unit}."
    return f"Of {n} {validation.unit} {many} {hit} (a random choice: {k * k / n:.2g}).{best_of if validation.lines[1:] else ''}"


def _largest(validation: Validation, values: Sequence[float], k: int) -> set[str]:
    """The names of the k cases with the largest values, the first by name of equals."""
    ranked = sorted(zip(values, validation.cases, strict=True), key=lambda pair: (-pair[0], pair[1].name))
    return {case.name for _, case in ranked[:k]}
