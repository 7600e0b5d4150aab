"""The rows of the queue: each task with its status, why it was chosen, and who has it open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnactive_ext.exchange.page import BADGES
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.repeats import status_asked, verdict_on
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.members.reasons import reason


@dataclass(frozen=True)
class Row:
    """One task; ``badge`` is a sign and a word for its status, ``by`` are the people who answered. ``verdict``: who called the
    patch, or the ``whole`` case, irrelevant, and why; empty where it is not."""

    id: str
    case: str
    status: str
    badge: str
    why: str
    by: Sequence[str]
    open_by: Sequence[str]
    draft: bool
    pictured: bool
    verdict: str = ""
    whole: bool = False


def rows(
    experiment: Experiment, tasks: Sequence[Task], opened: Mapping[str, list[str]], drafts: set[str], pictured: set[str]
) -> list[Row]:
    """The rows of ``tasks``, in their order.

    ``opened``: by task, who has it open. ``drafts``: tasks of which the person who asks has a draft. ``pictured``: tasks of
    which there are pictures.
    """
    ledger = Ledger(experiment.annotation)
    counted, ignore = CountingAnswers.of(ledger), experiment.dataset.labels.ignore
    made = []
    for task in tasks:
        status, why = status_asked(ledger, counted, task, ignore), reason(task)
        against = verdict_on(counted, task)
        made.append(
            Row(
                id=task.id,
                case=task.patch.case,
                status=status,
                badge=BADGES.get(status, status),
                why=why[:1].upper() + why[1:],
                by=[answer.who for answer in counted.answers.get(task.id, [])],
                open_by=opened.get(task.id, ()),
                draft=task.id in drafts,
                pictured=task.id in pictured,
                verdict=against.words if against else "",
                whole=against is not None and not against.task,
            )
        )
    return made


def following(rows: Sequence[Row], after: str, who: str) -> str | None:
    """The next task to do behind ``after``, from the beginning where there is none; those that others have open come last.

    None: everything else is done.
    """
    ids = [row.id for row in rows]
    place = ids.index(after) + 1 if after in ids else 0
    left = [row for row in [*rows[place:], *rows[:place]] if row.status != "done" and row.id != after]
    free = [row for row in left if not [name for name in row.open_by if name != who]]
    return next((row.id for row in free or left), None)
