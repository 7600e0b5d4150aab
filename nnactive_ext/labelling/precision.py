"""How many of the patches that queries asked for were relevant: precision of each cycle, and recall in simulations."""

from __future__ import annotations

from dataclasses import dataclass

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import loop_file, read_loop
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import tasks_of
from nnactive_ext.words import count, plural

TOO_MANY = 1 / 3
"""The share of irrelevant patches in a cycle above which the images should be looked at first."""

_HALF = 0.5
"""The share of the cases to leave out that is advised."""


@dataclass(frozen=True)
class Precision:
    """``irrelevant`` of the ``asked`` patches of a cycle that somebody answered. In a simulation ``found`` of the ``relevant``
    cases of the pool were asked for up to this cycle; None in a roll-out, where nobody knows them (LaSeR, section 4.1)."""

    cycle: int
    asked: int
    irrelevant: int
    found: int | None = None
    relevant: int | None = None

    @property
    def precision(self) -> float:
        return 1 - self.irrelevant / self.asked

    @property
    def recall(self) -> float | None:
        return self.found / self.relevant if self.found is not None and self.relevant else None

    @property
    def words(self) -> str:
        """As in ``7 of 40 patches of cycle 2 were irrelevant (precision 82.5 %)``."""
        wrong = f"{self.irrelevant} of {count(self.asked, 'patch', 'patches')} of cycle {self.cycle}"
        recall = "" if self.recall is None else f", recall {100 * self.recall:.1f} %"
        return f"{wrong} {plural(self.irrelevant, 'was', 'were')} irrelevant (precision {100 * self.precision:.1f} %{recall})"


def precision_by_cycle(experiment: Experiment, counted: CountingAnswers | None = None) -> list[Precision]:
    """Precision of each cycle with an answer.

    Args:
        experiment: a simulation or a roll-out.
        counted: the ledger, for whoever has read it already.

    Returns:
        By cycle; empty where nothing was called irrelevant and, in a simulation, nothing could be. Cases that were dropped by
        hand do not count.
    """
    counted = CountingAnswers.of(Ledger(experiment.annotation)) if counted is None else counted
    if not any(vote.irrelevant for vote in counted.opinions.outcome.values()) and not experiment.plan.irrelevant:
        return []
    return _simulated(experiment) if not experiment.plan.human else _of_people(experiment, counted)


def _simulated(experiment: Experiment) -> list[Precision]:
    strangers = set(experiment.plan.irrelevant)
    relevant = {case for case in (*experiment.plan.pool, *experiment.plan.dropped) if case not in strangers}
    made, seen = [], set()
    for cycle in range(experiment.state["cycle"] + 1):
        asked = _patches(experiment, cycle)
        seen |= {patch.case for patch in asked} - strangers
        wrong = sum(patch.case in strangers for patch in asked)
        made.append(Precision(cycle, len(asked), wrong, len(seen), len(relevant)))
    return [one for one in made if one.asked]


def _of_people(experiment: Experiment, counted: CountingAnswers) -> list[Precision]:
    made, gone = [], set(experiment.plan.called_irrelevant)
    for cycle in range(experiment.last_loop + 1):
        left = sum(patch.case in gone for patch in _patches(experiment, cycle))
        ids = [task.id for task in tasks_of(experiment, cycle)]
        wrong = sum(counted.opinions.irrelevant(task) for task in ids)
        answered = sum(bool(counted.counting(task)) for task in ids)
        made.append(Precision(cycle, answered + wrong + left, wrong + left))
    return [one for one in made if one.asked]


def _patches(experiment: Experiment, cycle: int) -> list[Patch]:
    """Those that a cycle asked for, but for those in cases that were dropped by hand."""
    by_hand = set(experiment.plan.dropped) - set(experiment.plan.called_irrelevant)
    patches = read_loop(loop_file(experiment.raw, cycle), experiment.dataset.file_ending)
    return [patch for patch in patches if patch.case not in by_hand]


def advice(experiment: Experiment, found: list[Precision]) -> str:
    """What helps where more than a third of the last answered patches was irrelevant; else empty."""
    if not found or found[-1].irrelevant <= TOO_MANY * found[-1].asked:
        return ""
    text = (
        "More than a third of the last patches was irrelevant. Look for images that do not belong before the next query: "
        f"{experiment.commands.screen()}"
    )
    if (experiment.plan.settings.get("screen") or 0) >= _HALF:
        return text
    half = experiment.commands.change("-screen", _HALF)
    return f"{text}; or let queries leave out the least relevant half of the cases: {half}"
