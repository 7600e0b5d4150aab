"""Which answers count: an annotator takes an answer back, or a rule chooses among several answers to a task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import Journal
from nnactive_ext.labelling.answers import RULES, Answer, CountingAnswers
from nnactive_ext.labelling.closing import check_withdrawal, note, noting
from nnactive_ext.labelling.dropping import check_leaving
from nnactive_ext.labelling.finishing import begun
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_tasks


@contextmanager
def withdrawn(experiment: Experiment, task: Task, who: str | None = None) -> Iterator[tuple[Answer, list[str]]]:
    """Take back the last answer of ``who`` to ``task``, so that the one before counts again; labels follow in the block.

    Gives the answer, and the cases of closed cycles whose labels must be written anew. ``who`` may be None if one person
    answered. No such answer, and one without which too little is left to train on, are NnActiveErrors. A command that is killed
    in the block and typed again takes no other answer back: its journal says that it has taken this one.
    """
    ledger = Ledger(experiment.annotation)
    answers = CountingAnswers.of(ledger).answers.get(task.id, [])
    mine = [answer for answer in answers if who in (None, answer.who)]
    if not mine:
        raise NnActiveError(f"{task.id}: there is no answer{f' of {who}' if who else ''} to withdraw.")
    if who is None and len(mine) > 1:
        people = ", ".join(answer.who for answer in mine)
        raise NnActiveError(f"{task.id}: {people} have answered. Choose whose answer to withdraw with -who NAME.")
    answer, cases = mine[-1], []
    if task.in_place(experiment.state["cycle"]):
        cases = [task.patch.case]
        check_withdrawal(experiment, answer)
    event = {"what": "withdraw", "who": answer.who, "task": task.id, "withdrawn": answer.event}
    what = f"the answer of {answer.who} to {task.id} from {answer.when} is withdrawn"
    with begun(experiment, Journal(what, noting(experiment, cases), (event,))):
        yield answer, cases


def set_rule(experiment: Experiment, rule: str, who: str, task: Task | None = None) -> tuple[int, list[str]]:
    """Let ``rule`` (one of :data:`RULES`, or an annotator's name) choose the answer that counts, for ``task`` or all tasks.

    Returns the number of tasks with several answers that this concerns, and the cases of closed cycles whose labels, or whose
    place in the pool, must follow. A rule that applies already is not recorded again. Another rule is an NnActiveError, and so
    is one that leaves too little to train on.
    """
    ledger = Ledger(experiment.annotation)
    counted = CountingAnswers.of(ledger)
    votes = counted.opinions.votes
    said: dict[str, set[str]] = {}
    for one, several in counted.answers.items():
        said.setdefault(one, set()).update(answer.who for answer in several)
    for (_, one), several_votes in votes.items():
        said.setdefault(one, set()).update(vote.who for vote in several_votes)
    people = {who for several in said.values() for who in several}
    if rule not in RULES and rule not in people:
        raise NnActiveError(
            f"rule {rule}: neither {', '.join(RULES)} nor the name of an annotator ({', '.join(sorted(people)) or 'none yet'})."
        )
    event = {"rule": rule, "task": task.id if task else None}
    if votes:
        check_leaving(experiment, CountingAnswers.of(ledger, [{"what": "rule", **event}]))
    concerned = [t for t in all_tasks(experiment) if len(said.get(t.id, ())) > 1 and task in (None, t)]
    cases = [t.patch.case for t in concerned if t.cycle <= experiment.state["cycle"]]
    cases += [] if task else [case for case, one in votes if not one]
    if (counted.rules.get(task.id) if task else counted.rule) != rule:
        note(experiment, cases)
        ledger.add("rule", who, **event)
    return len(concerned), cases
