"""What members say about a case or a part of it: their statistics, their labels, and each score as one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnactive_ext.compare.validation import Line
from nnactive_ext.errors import NnActiveError
from nnactive_ext.members.ensemble import Members
from nnactive_ext.members.prediction import labels_of, labels_of_member
from nnactive_ext.members.statistics import RunningStatistics
from nnactive_ext.metrics.ambiguity import Disagreement
from nnactive_ext.query_methods.aggregation import above_threshold, parse_aggregation
from nnactive_ext.query_methods.base import Statistics
from nnactive_ext.query_methods.scores import SCORES, SIGNED

DISAGREEMENT = "disagreement"
"""The score of whole cases: 1 - the mean pairwise Dice of the members' foreground."""
MEAN_FOREGROUND = "mean_foreground"
"""The aggregation that is none of patches: the mean over the voxels that are predicted as foreground."""


@dataclass(frozen=True)
class Said:
    """About a box on the network's grid: the members' ``statistics``, and the label map (z, y, x) of the mean and, if kept, of
    each member. ``disagreement``: 0 to 1, NaN of a single member."""

    statistics: Statistics
    labels: np.ndarray
    members: int
    disagreement: float
    each: tuple[np.ndarray, ...] = ()

    def within(self, box: tuple[slice, ...]) -> Said:
        """The same about a part of it; each member's labels must be kept."""
        whole = self.statistics
        energy = None if whole.energy is None else whole.energy[box]
        expected = None if whole.expected_entropy is None else whole.expected_entropy[box]
        part = Statistics(whole.mean[(slice(None), *box)], expected, whole.predicted, whole.regions, energy)
        each = tuple(labels[box] for labels in self.each)
        return replace(self, statistics=part, labels=self.labels[box], disagreement=disagreement_of(each), each=each)


def ask(members: Members, image: np.ndarray, regions_order: Sequence[int] | None, case: str = "", keep: bool = False) -> Said:
    """Predict an image as queries do, one member after another.

    Args:
        members: whom to ask.
        image: preprocessed (channel, z, y, x).
        regions_order: nnU-Net's ``regions_class_order``; None: no regions.
        case: its name; what members draw (noise, dropout, samples) depends on it.
        keep: keep each member's label map, two bytes a voxel and member.

    Raises:
        NnActiveError: a member's logits are no numbers.
    """
    running, differ, each = RunningStatistics(regions_order is not None), Disagreement(), []
    for name, logits in members.logits(np.ascontiguousarray(image), case):
        running.add(logits, name)
        labels = labels_of_member(logits, regions_order)
        del logits  # they are large: none are kept while the next member predicts
        differ.add(labels > 0)
        each += [labels] if keep else []
    statistics = running.result()
    return Said(statistics, labels_of(statistics.mean, regions_order), running.members, differ.value, tuple(each))


def disagreement_of(labels: Sequence[np.ndarray]) -> float:
    """Of the label maps of members; NaN for fewer than two."""
    differ = Disagreement()
    for one in labels:
        differ.add(one > 0)
    return differ.value


def voxel_map(score: str, statistics: Statistics) -> np.ndarray:
    """The map (z, y, x), float32, of a voxel score as queries have it; NnActiveError where it is no number."""
    found = SCORES[score](statistics)
    if not np.isfinite(found.sum(dtype=np.float64)):
        raise NnActiveError(f"the score {score} is NaN or infinite in some voxel. Look for a diverged training (NaN loss).")
    return found


def uncertainties(said: Said, lines: Sequence[Line]) -> dict[Line, float]:
    """One number for each line, the higher the more uncertain.

    A score that may be negative has no value (NaN) where it is aggregated over foreground of which there is none; others are 0
    there, as in queries.
    """
    found: dict[Line, float] = {}
    for score in dict.fromkeys(line.score for line in lines):
        if score == DISAGREEMENT:
            found[Line(score)] = said.disagreement
            continue
        values = voxel_map(score, said.statistics)
        found |= {line: aggregated(values, line, said) for line in lines if line.score == score}
    return {line: found[line] for line in lines}


def aggregated(values: np.ndarray, line: Line, said: Said) -> float:
    """One number of a voxel map; see :func:`uncertainties`."""
    foreground, signed = said.labels > 0, SCORES[line.score] in SIGNED
    if line.aggregation == MEAN_FOREGROUND:
        return float(values[foreground].mean(dtype=np.float64)) if foreground.any() else math.nan if signed else 0.0
    over = parse_aggregation(line.aggregation)
    if over is above_threshold and signed and not (values > np.quantile(values, 1 - said.statistics.foreground_share)).any():
        return math.nan
    return float(over(values, None, values.shape, said.statistics).item())  # type: ignore[arg-type]
