"""The verdict "irrelevant": which patches and cases do not belong to the experiment, as people, or a simulation, said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.journal import Journal
from nnactive_ext.experiment.pseudonyms import pseudonyms
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.labelling.answers import CountingAnswers, check_annotator
from nnactive_ext.labelling.closing import note, noting
from nnactive_ext.labelling.dropping import check_leaving
from nnactive_ext.labelling.finishing import begun
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task, all_asked, first_asked
from nnactive_ext.labelling.votes import VERDICT, Opinions, Vote
from nnactive_ext.words import listed


@dataclass(frozen=True)
class Verdict:
    """What counts for one patch or one case: whether it is ``irrelevant``, by whom and why.

    ``patch`` is in voxels of the case's array, None where the verdict is on all of the case; ``task`` is the id of its task,
    then. ``cycle``: that of the task, or the last one that was asked for when the case was judged; -1 before the first.
    """

    case: str
    patch: Patch | None
    irrelevant: bool
    who: str
    why: str
    cycle: int
    task: str = ""


def verdicts(experiment: Experiment, opinions: Opinions | None = None) -> list[Verdict]:
    """The verdict that counts, for each case and patch that has one.

    Where people differ, the rule for answers decides (:data:`nnactive_ext.labelling.votes.RULES`). The patches of an irrelevant
    case have no verdict of their own unless somebody gave one.

    Args:
        experiment: a roll-out, or a simulation, whose annotator gives verdicts, too.
        opinions: those of its ledger, for whoever has read it already.

    Returns:
        In the order of the ledger.
    """
    found = _opinions(experiment) if opinions is None else opinions
    return [_verdict(vote) for vote in sorted(found.outcome.values(), key=lambda vote: vote.event)]


def irrelevant_cases(experiment: Experiment) -> frozenset[str]:
    """The cases that count as irrelevant, whether or not they have left the pool yet.

    Args:
        experiment: a roll-out or a simulation.

    Returns:
        Their names.
    """
    return _opinions(experiment).irrelevant_cases


def relevant_cases(experiment: Experiment) -> frozenset[str]:
    """The cases that somebody called relevant as a whole; cases without a verdict are not among them.

    Args:
        experiment: a roll-out or a simulation.

    Returns:
        Their names.
    """
    found = _opinions(experiment).outcome
    return frozenset(case for (case, task), vote in found.items() if not task and not vote.irrelevant)


def _opinions(experiment: Experiment) -> Opinions:
    return CountingAnswers.of(Ledger(experiment.annotation)).opinions


def _verdict(vote: Vote) -> Verdict:
    patch = Patch(vote.case, triple(vote.start), triple(vote.size)) if vote.task else None
    return Verdict(vote.case, patch, vote.irrelevant, vote.who, vote.why, vote.cycle, vote.task)


def subject_of(experiment: Experiment, name: str) -> Task | str:
    """The task or the case that ``name`` means: a task by its id or the beginning of it, a case by its name or pseudonym.

    Raises:
        NnActiveError: there is none, or the case was taken out with ``nnactive_change -drop``.
    """
    asked = all_asked(experiment)
    if exact := [task for task in asked if name in task.names]:
        return exact[0]
    plan, names = experiment.plan, pseudonyms(experiment.annotation)
    case = next((case for case, other in names.items() if other == name), name)
    if case in plan.pool or case in plan.called_irrelevant:
        return case
    begun = [task for task in asked if any(one.startswith(f"{name}_") for one in task.names)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise NnActiveError(f"{name}: several tasks begin so: {listed([task.id for task in begun])}. Name one.")
    if case in plan.dropped:
        dropped = experiment.commands.change("-drop", case)
        raise NnActiveError(f"{name}: no verdict took this case out of the pool, but {dropped}, which cannot be undone.")
    raise NnActiveError(
        f"{experiment.name} has neither a task nor a case {name!r}. {experiment.commands.status} lists the tasks; a task of an "
        "irrelevant case is there again when its case is relevant."
    )


def give(
    experiment: Experiment, subjects: Sequence[Task | str], irrelevant: bool, who: str, why: str = "", file: str = ""
) -> list[str]:
    """Record verdicts of ``who``; the caller holds the experiment's lock.

    A patch that is irrelevant is done, its voxels stay ``ignore``, and it is not asked for again. A case that is irrelevant
    leaves the pool with its labels (:func:`nnactive_ext.labelling.closing.apply_corrections`), until it is relevant. A verdict
    that repeats what its person said last, as a command that is typed again, is not recorded again.

    Args:
        experiment: a roll-out.
        subjects: tasks, and names of cases; of a repeated task the verdict is on the patch that it asks for again.
        irrelevant: the verdict; otherwise they are relevant.
        who: the name of the person.
        why: the reason, in words.
        file: what tells the file that the verdicts came in from others.

    Returns:
        The cases whose labels, or whose place in the pool, must follow.

    Raises:
        NnActiveError: too little would be left to train on; nothing is recorded then.
    """
    check_annotator(who)
    subjects = [one if isinstance(one, str) else first_asked(experiment, one) for one in subjects]
    ledger = Ledger(experiment.annotation)
    number, counted = sum(1 for _ in ledger.events()), CountingAnswers.of(ledger)
    new = [subject for subject in subjects if not repeats(counted, subject, irrelevant, who, why)]
    events = [_event(experiment, subject, irrelevant, why, file) for subject in new]
    following = [{**event, "event": number + i, "what": VERDICT, "who": who, "when": ""} for i, event in enumerate(events)]
    if irrelevant:
        check_leaving(experiment, CountingAnswers.of(ledger, following))
    concerned = [subject for subject in subjects if _is_settled(experiment, subject)]
    cases = list(dict.fromkeys(subject if isinstance(subject, str) else subject.patch.case for subject in concerned))
    note(experiment, cases)
    for event in events:
        ledger.add(VERDICT, who, **event)
    return cases


def repeats(counted: CountingAnswers, subject: Task | str, irrelevant: bool, who: str, why: str) -> bool:
    """Whether a verdict is the last that ``who`` said of a task or a case."""
    mine = [vote for vote in counted.opinions.votes.get(key_of(subject), ()) if vote.who == who]
    answers = [answer.event for answer in counted.handed_in if answer.task == key_of(subject)[1] and answer.who == who]
    last = mine[-1] if mine else None
    return last is not None and (last.irrelevant, last.why) == (irrelevant, why) and last.event > max(answers, default=-1)


def _is_settled(experiment: Experiment, subject: Task | str) -> bool:
    """Whether labels or the pool follow a verdict; those of an open cycle's patches follow when the cycle is closed."""
    return isinstance(subject, str) or subject.cycle <= experiment.state["cycle"]


def _event(experiment: Experiment, subject: Task | str, irrelevant: bool, why: str, file: str) -> dict[str, Any]:
    facts = {"irrelevant": irrelevant, "why": why, **({"file": file} if file else {})}
    if isinstance(subject, str):
        return {"case": subject, "task": None, "cycle": experiment.last_loop, **facts}
    box = {"start": list(subject.patch.start), "size": list(subject.patch.size)}
    return {"case": subject.patch.case, "task": subject.id, "cycle": subject.cycle, **facts, **box}


def key_of(subject: Task | str) -> tuple[str, str]:
    """Its case, and the id of the task that asked for its patch first; empty for a whole case."""
    return (subject, "") if isinstance(subject, str) else (subject.patch.case, subject.repeats or subject.id)


def verdict_is_last(experiment: Experiment, subject: Task | str, who: str | None = None) -> bool:
    """Whether the last that ``who`` (None: anybody) said of a task or a case is a verdict, and not an answer."""
    counted, key = CountingAnswers.of(Ledger(experiment.annotation)), key_of(subject)
    votes = [vote.event for vote in counted.opinions.votes.get(key, ()) if who in (None, vote.who)]
    task = "" if isinstance(subject, str) else subject.id
    answers = [answer.event for answer in counted.handed_in if answer.task == task and who in (None, answer.who)]
    return bool(votes) and max(votes) > max(answers, default=-1)


@contextmanager
def verdict_withdrawn(
    experiment: Experiment, subject: Task | str, who: str | None = None
) -> Iterator[tuple[Verdict, list[str]]]:
    """Take back the last verdict of ``who`` on a task or a case, so that the one before counts again; labels and the pool
    follow in the block, as for :func:`nnactive_ext.labelling.ruling.withdrawn`.

    Yields:
        The verdict, and the cases whose labels, or whose place in the pool, must follow.

    Raises:
        NnActiveError: there is none, several people gave one and ``who`` is None, or too little would be left to train on.
    """
    ledger = Ledger(experiment.annotation)
    subject = subject if isinstance(subject, str) else first_asked(experiment, subject)
    key = key_of(subject)
    name = key[1] or key[0]
    mine = [vote for vote in CountingAnswers.of(ledger).opinions.votes.get(key, ()) if who in (None, vote.who)]
    if not mine:
        raise NnActiveError(f"{name}: there is no verdict{f' of {who}' if who else ''} to withdraw.")
    if who is None and len({vote.who for vote in mine}) > 1:
        people = ", ".join(dict.fromkeys(vote.who for vote in mine))
        raise NnActiveError(f"{name}: {people} gave a verdict. Choose whose verdict to withdraw with -who NAME.")
    vote = mine[-1]
    event = {"what": "withdraw", "who": vote.who, "task": vote.task or None, "withdrawn": vote.event}
    check_leaving(experiment, CountingAnswers.of(ledger, [event]))
    cases = [vote.case] if _is_settled(experiment, subject) else []
    what = f"the verdict of {vote.who} on {name} is withdrawn"
    with begun(experiment, Journal(what, noting(experiment, cases), (event,))):
        yield _verdict(vote), cases
