"""What an advice consists of, and its headline: which of the few things that it can say the numbers bear out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnactive_ext.experiment.result import CycleResult
from nnactive_ext.report.disagreement import Disagreement
from nnactive_ext.report.improvement import Change, Slope

GO_ON, STOP, EARLY = "go on", "consider stopping", "too early to say"
FELL, USED_UP, LIMIT = "look at it first", "nothing is left to annotate", "all labels are in use"
EMPTY = "find out first why nothing is predicted"
NOTHING = "nothing to say without "
"""How the headline begins where there are no numbers; what is missing follows."""
NOISE = 0.02
"""Dice by which two trainings on the same labels may differ on small data (docs/hippocampus.md)."""
TEST, HELD_OUT = "test set", "cross-validation"
MEANING = {
    GO_ON: "the last query still helped",
    STOP: "the last queries hardly changed anything",
    FELL: "the Dice fell with the last query",
    USED_UP: "the pool is used up",
    LIMIT: "this is what the trainer can reach on these data, and there is nothing to query",
    EMPTY: "a query of members that find nothing is as good as a random one",
    EARLY: "what there is cannot tell whether more patches help",
}
"""Headline -> what it means; one that says what is missing has none."""


@dataclass(frozen=True)
class ClassChange:
    """A class: its Dice (0 to 1) after the last cycle, None where no case has it; what the last query changed (of one test
    case or none: None), with an interval widened for the number of classes; annotated voxels of it, if they are counted."""

    name: str
    dice: float | None
    change: Change | None
    voxels: int | None

    @property
    def told(self) -> bool:
        """Whether there is anything to say: not of a class that was found neither before nor after, or in no test case."""
        return self.change is not None and not (self.dice == 0 and self.change.value == 0)

    @property
    def rises(self) -> bool:
        return rises(self.change)

    @property
    def falls(self) -> bool:
        return falls(self.change)


@dataclass(frozen=True)
class Advice:
    """``headline``: one of the constants above, :data:`NOTHING` with what is missing. ``points``: the
    reasons, a sentence or two each, plain text. ``basis``: what Dice was measured on, "" for nothing. ``levels``: cycle and
    mean Dice (0 to 1) of each result, in order; ``steps``: the change by each query, in order; ``unit``: voxels that rates are
    told for."""

    headline: str
    points: tuple[str, ...]
    basis: str
    levels: tuple[tuple[int, float], ...]
    steps: tuple[Change, ...]
    slope: Slope | None
    classes: tuple[ClassChange, ...]
    unit: int


def dice(result: CycleResult, basis: str) -> float | None:
    """The mean Dice of one result."""
    found = result if basis == TEST else result.cross_validation
    return found.mean_dice if found else None


def verdict(
    steps: Sequence[Change], classes: Sequence[ClassChange], disagreements: Sequence[Disagreement] | None, basis: str
) -> str:
    """:data:`GO_ON`, :data:`FELL`, :data:`STOP` or :data:`EARLY`. ``steps``: the change by each query, in order."""
    if not steps:
        return EARLY
    if basis == HELD_OUT:
        # Its voxels are others in every cycle, and there is no interval: only what is large counts, and a fall may only
        # mean that harder voxels were asked for.
        if steps[-1].value >= 2 * NOISE:
            return GO_ON
        return STOP if level(steps) and settled(disagreements) else EARLY
    if falls(steps[-1]):
        return FELL
    # A single class carries it where the mean, which it hardly moves, is at least as good but for noise.
    if rises(steps[-1]) or (steps[-1].value > -NOISE and any(one.rises for one in classes)):
        return GO_ON
    return STOP if len(steps) >= 2 and all(_flat(step) for step in steps[-2:]) else EARLY


def level(steps: Sequence[Change]) -> bool:
    """Whether the last two changes are smaller than two trainings may differ by; they have no intervals."""
    return len(steps) >= 2 and all(abs(step.value) < NOISE for step in steps[-2:])


def rises(found: Change | None) -> bool:
    """Surely above nothing, and by more than two trainings differ."""
    return found is not None and found.low is not None and found.low > 0 and found.value >= NOISE


def falls(found: Change | None) -> bool:
    """Surely below nothing, and by more than two trainings differ."""
    return found is not None and found.high is not None and found.high < 0 and found.value <= -NOISE


def settled(disagreements: Sequence[Disagreement] | None) -> bool:
    """Whether the ensemble is less than half as unsure about the pool as it was at first."""
    if not disagreements or len({one.query for one in disagreements}) > 1 or len(disagreements) < 2:
        return False
    return disagreements[-1].median < disagreements[0].median / 2


def _flat(step: Change) -> bool:
    """Surely less than two trainings differ by, up or down."""
    return step.low is not None and step.high is not None and -NOISE < step.low and step.high < NOISE
