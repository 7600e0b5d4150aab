"""What ``nnactive_run`` would do with a roll-out now, without doing it."""

from __future__ import annotations

from dataclasses import dataclass

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.timing import STEPS, seconds_per_step
from nnactive_ext.labelling.closing import Share, share_done, too_few_cases
from nnactive_ext.loop.status import all_cycles_done
from nnactive_ext.words import count

WAIT, TRAIN, GO_ON, DONE = "wait", "train", "go on", "done"
"""Too few tasks are done; it would train on the answers; it would finish a cycle that was begun; all cycles are done."""


@dataclass(frozen=True)
class Outlook:
    """``kind``: one of the constants above. ``share``: how far the open tasks are, if there are any. ``hindrance``: why there
    is nothing to train on whatever the share of the tasks, empty for none."""

    kind: str
    share: Share | None = None
    hindrance: str = ""

    @property
    def possible(self) -> bool:
        """Whether the answers that are there could be trained on, if a smaller share of the tasks were enough."""
        return self.kind == TRAIN or (self.kind == WAIT and not self.hindrance)


def outlook(experiment: Experiment) -> Outlook:
    """Look at the files of a roll-out."""
    share = share_done(experiment)
    if share is None:
        return Outlook(DONE if all_cycles_done(experiment) else GO_ON)
    hindrance = too_few_cases(experiment, share.cycle)
    if not hindrance and share.tasks and not share.done + share.partial and share.cycle:
        hindrance = f"No task of cycle {share.cycle} is answered."
    return Outlook(TRAIN if share.enough and not hindrance else WAIT, share, hindrance)


def takes(experiment: Experiment) -> str | float:
    """Seconds that the last whole cycle took; before there is one, what was estimated when it was planned, as text."""
    steps = [step for step in STEPS if step != "plan"]
    for cycle in range(experiment.state["cycle"], -1, -1):
        seconds = seconds_per_step(experiment, cycle)
        if seconds["evaluate"]:
            return sum(seconds[step] for step in steps)
    why = next((why for what, _, why in experiment.plan.decisions if what == "training"), "")
    return f"{why.partition(':')[0]}, {count(experiment.plan.folds, 'training')}" if why else ""
