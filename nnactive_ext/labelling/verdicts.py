"""The verdict "irrelevant": which patches and cases do not belong to the experiment, as people, or a simulation, said."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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


class Subjects:
    """Finds the tasks and cases of an experiment by their names, however many there are."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._tasks = {name: task for task in reversed(all_asked(experiment)) for name in task.names}
        self._sorted = sorted(self._tasks)
        self._cases = {other: case for case, other in pseudonyms(experiment.annotation).items()}

    def of(self, name: str) -> Task | str:
        """The task or the case that ``name`` means: a task by its id or the beginning of it, a case by its name or pseudonym.

        Raises:
            NnActiveError: there is none, or the case was taken out with ``nnactive_change -drop``.
        """
        if name in self._tasks:
            return self._tasks[name]
        experiment, plan = self._experiment, self._experiment.plan
        case = self._cases.get(name, name)
        if case in plan.pool or case in plan.called_irrelevant:
            return case
        begun = self._beginning_with(f"{name}_")
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise NnActiveError(f"{name}: several tasks begin so: {listed([task.id for task in begun])}. Name one.")
        if case in plan.dropped:
            dropped = experiment.commands.change("-drop", case)
            raise NnActiveError(f"{name}: no verdict took this case out of the pool, but {dropped}, which cannot be undone.")
        raise NnActiveError(
            f"{experiment.name} has neither a task nor a case {name!r}. {experiment.commands.status} lists the tasks; a task "
            "of an irrelevant case is there again when its case is relevant."
        )

    def _beginning_with(self, text: str) -> list[Task]:
        found: dict[str, Task] = {}
        for name in self._sorted[bisect_left(self._sorted, text) :]:
            if not name.startswith(text):
                break
            found.setdefault(self._tasks[name].id, self._tasks[name])
        return list(found.values())


def subject_of(experiment: Experiment, name: str) -> Task | str:
    """:meth:`Subjects.of`, for one name."""
    return Subjects(experiment).of(name)


@dataclass(frozen=True)
class Said:
    """A verdict on ``subject``, a task or a case, with the reason in words; ``file``: what tells the file that it came in from
    others."""

    subject: Task | str
    irrelevant: bool
    why: str = ""
    file: str = ""


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
    return record(experiment, [Said(subject, irrelevant, why, file) for subject in subjects], who)


def record(experiment: Experiment, verdicts: Sequence[Said], who: str) -> list[str]:
    """:func:`give`, for verdicts that differ; the ledger is read once."""
    check_annotator(who)
    said = [replace(one, subject=_first(experiment, one.subject)) for one in verdicts]
    ledger, cycle = Ledger(experiment.annotation), experiment.state["cycle"]
    counted = CountingAnswers.of(ledger)
    new = [one for one in said if not repeats(counted, one.subject, one.irrelevant, who, one.why)]
    events = [_event(experiment, one) for one in new]
    if any(one.irrelevant for one in new):
        number = int(ledger.numbered({})["event"])
        following = [{**event, "event": number + i, "what": VERDICT, "who": who, "when": ""} for i, event in enumerate(events)]
        check_leaving(experiment, CountingAnswers.of(ledger, following))
    cases = list(dict.fromkeys(case for one in said for case in settled_cases(one.subject, cycle)))
    note(experiment, cases)
    for event in events:
        ledger.add(VERDICT, who, **event)
    return cases


def _first(experiment: Experiment, subject: Task | str) -> Task | str:
    return subject if isinstance(subject, str) else first_asked(experiment, subject)


def repeats(counted: CountingAnswers, subject: Task | str, irrelevant: bool, who: str, why: str) -> bool:
    """Whether a verdict is the last that ``who`` said of a task or a case."""
    mine = [vote for vote in counted.opinions.votes.get(key_of(subject), ()) if vote.who == who]
    answers = [answer.event for answer in counted.kept.get(key_of(subject)[1], ()) if answer.who == who]
    last = mine[-1] if mine else None
    return last is not None and (last.irrelevant, last.why) == (irrelevant, why) and last.event > max(answers, default=-1)


def settled_cases(subject: Task | str, cycle: int) -> list[str]:
    """The case whose labels, or whose place in the pool, follow a verdict at once, if the labels in place are those of
    ``cycle``; those of an open cycle's patches follow when the cycle is closed."""
    if isinstance(subject, str):
        return [subject]
    return [subject.patch.case] if subject.cycle <= cycle else []


def _event(experiment: Experiment, said: Said) -> dict[str, Any]:
    subject = said.subject
    facts = {"irrelevant": said.irrelevant, "why": said.why, **({"file": said.file} if said.file else {})}
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
    answers = [answer.event for answer in counted.kept.get(task, ()) if who in (None, answer.who)]
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
    cases = settled_cases(subject, experiment.state["cycle"])
    what = f"the verdict of {vote.who} on {name} is withdrawn"
    with begun(experiment, Journal(what, noting(experiment, cases), (event,))):
        yield _verdict(vote), cases
