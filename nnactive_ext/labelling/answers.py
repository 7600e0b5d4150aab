"""Who answered which task, and which answers count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.label_changes import LABELS, LabelChange, mapped
from nnactive_ext.geometry.label_values import voxels_per_value
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.votes import (
    NOTHING_SAID,
    RULES,
    VERDICT,
    Opinions,
    Vote,
    case_of,
    counting,
    current,
    outcome_of,
)

GIVEN = "given"
"""The event of label maps that came with cases that were added."""

COUNTS = "counts"
"""In the event of an answer: label value -> voxels; earlier versions did not write it."""
_Subject = tuple[str, str]
"""A case, and the id of a task; empty where it is all of the case."""
TIME = "time"
"""The event of time that was spent on a task: ``seconds``, and the number of the ``answer`` that came of it."""


@dataclass(frozen=True)
class Answer:
    """What one annotator says about one task: ``unsure`` of its ``voxels`` are ``ignore``; ``place`` is in the ledger's
    folder, ``file`` the name it came with. ``seconds``: how long the annotator worked on it since the annotator's answer to the
    task before; None where nobody measured that. ``counts``: voxels of each label value, in the values of then; None in
    answers of earlier versions."""

    task: str
    who: str
    when: str
    event: int
    file: str
    sha256: str
    place: str
    voxels: int
    unsure: int
    seconds: float | None = None
    counts: Mapping[str, int] | None = None

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Answer:
        """From an event of the ledger; a time that is no number above 0 is none."""
        facts = (event["task"], event["who"], event["when"], event["event"], event["file"], event["sha256"], event["place"])
        return cls(*facts, event["voxels"], event["unsure"], _seconds(event.get("seconds")), event.get(COUNTS))

    @property
    def complete(self) -> bool:
        return self.unsure == 0


def _timed(answer: Answer, event: Mapping[str, Any]) -> Answer:
    """The answer with the time of an event that is about it."""
    seconds = _seconds(event.get("seconds"))
    if seconds is None or event.get("answer") != answer.event:
        return answer
    return replace(answer, seconds=(answer.seconds or 0.0) + seconds)


def _seconds(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
    return float(value) if known else None


@dataclass
class CountingAnswers:
    """The ledger as it stands: per task the current answer of each annotator, in the order they first answered, and the
    rules; how the classes were changed (``changes``), and the event of each label map that came with added cases (``given``).
    ``kept``: by task all answers that were not taken back, also those that others replace. ``opinions``: the verdicts."""

    answers: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    rule: str = RULES[0]
    rules: Mapping[str, str] = field(default_factory=dict)
    changes: Sequence[LabelChange] = ()
    given: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, Sequence[Answer]] = field(default_factory=dict)
    opinions: Opinions = NOTHING_SAID

    @classmethod
    def of(cls, ledger: Ledger, following: Sequence[Mapping[str, Any]] = ()) -> CountingAnswers:
        """``following``: events as if they were in the ledger already."""
        if not following:
            return ledger.followed(_Counting, _Counting.counted)
        counting = ledger.followed(_Counting, _Counting.copy)
        for event in following:
            counting.follow(event)
        return counting.counted()

    @property
    def handed_in(self) -> list[Answer]:
        """All answers that were not taken back."""
        return [answer for stack in self.kept.values() for answer in stack]

    def since(self, event: int) -> list[LabelChange]:
        """How the classes were changed after an event; -1: since planning."""
        return [change for change in self.changes if change.event > event]

    def rule_of(self, task: str) -> str:
        return self.rules.get(task, self.rule)

    def counting(self, task: str) -> list[Answer]:
        """The answers that count: none, one, or with ``consensus`` all of them. None does where the patch is irrelevant."""
        if self.opinions.irrelevant(task):
            return []
        said = self.answers.get(task, [])
        if self.opinions.votes:
            said = [answer for answer in said if not self.opinions.overrules(task, answer)]
        return counting(said, self.rule_of(task))

    def status(self, task: str) -> str:
        """``open``; ``done`` if an answer that counts leaves nothing open, or if the patch is irrelevant, else ``partial``. See
        :func:`status_of`."""
        answers = self.counting(task)
        if not answers:
            return "done" if self.opinions.irrelevant(task) else "open"
        return "done" if any(answer.complete for answer in answers) else "partial"


class _Counting:
    """Follows the events of a ledger. What an event concerns is made anew, so that copies may share the rest."""

    def __init__(self) -> None:
        self._answers: dict[str, list[Answer]] = {}
        self._kept: dict[str, list[Answer]] = {}
        self._votes: dict[_Subject, list[Vote]] = {}
        self._outcome: dict[_Subject, Vote] = {}
        self._subjects: dict[int, _Subject] = {}
        self._rule, self._rules = RULES[0], dict[str, str]()
        self._changes: list[LabelChange] = []
        self._given: dict[str, int] = {}
        self._counted: CountingAnswers | None = None

    def copy(self) -> _Counting:
        """One that follows other events from here."""
        made = _Counting()
        for name, value in vars(self).items():
            setattr(made, name, value.copy() if isinstance(value, (dict, list)) else value)
        return made

    def counted(self) -> CountingAnswers:
        """The ledger as it stands; what is followed later does not change it."""
        if self._counted is None:
            opinions = Opinions(self._votes.copy(), self._outcome.copy()) if self._votes else NOTHING_SAID
            answers, kept, rules, given = self._answers.copy(), self._kept.copy(), self._rules.copy(), self._given.copy()
            self._counted = CountingAnswers(answers, self._rule, rules, tuple(self._changes), given, kept, opinions)
        return self._counted

    def follow(self, event: Mapping[str, Any]) -> None:
        """Take the next event into account."""
        what, task = event["what"], event.get("task") or ""
        self._counted = None
        if what == "answer":
            self._keep(task, [*self._kept.get(task, ()), Answer.of(event)])
        elif what == VERDICT:
            vote = Vote.of(event)
            subject = (vote.case, vote.task)
            self._subjects[vote.event] = subject
            self._vote(subject, [*self._votes.get(subject, ()), vote])
        elif what == "withdraw":
            # The annotator's answer, or verdict, before the one taken back counts again.
            number = event["withdrawn"]
            if subject := self._subjects.get(number):  # type: ignore[assignment]
                self._vote(subject, [vote for vote in self._votes.get(subject, ()) if vote.event != number])
            elif task in self._kept:
                self._keep(task, [answer for answer in self._kept[task] if answer.event != number])
        elif what == TIME and task in self._kept:
            self._keep(task, [_timed(answer, event) for answer in self._kept[task]])
        elif what == "rule":
            self._rule_by(task, event["rule"])
        elif what == LABELS:
            self._changes.append(LabelChange.of(event))
            # Counted when the classes were changed, so that nobody has to read all answers to know what is open.
            for name, stack in self._kept.items():
                self._keep(name, [replace(a, unsure=event["unsure"].get(str(a.event), a.unsure)) for a in stack])
        elif what == GIVEN:
            self._given |= dict.fromkeys(event["cases"], event["event"])

    def _keep(self, task: str, stack: list[Answer]) -> None:
        self._kept[task] = stack
        if stack:
            self._answers[task] = current(stack)
        else:
            self._answers.pop(task, None)
        self._decide((case_of(task), task))

    def _vote(self, subject: _Subject, said: list[Vote]) -> None:
        if said:
            self._votes[subject] = said
        else:
            self._votes.pop(subject, None)
        self._decide(subject)

    def _rule_by(self, task: str | None, rule: str) -> None:
        if task:
            self._rules[task] = rule
        else:
            self._rule = rule
        for subject in list(self._votes):
            if task in (None, "", subject[1]):
                self._decide(subject)

    def _decide(self, subject: _Subject) -> None:
        """Which verdict on a case or a task counts, if there is one."""
        said, task = self._votes.get(subject), subject[1]
        self._outcome.pop(subject, None)
        if said:
            answers = [answer for answer in self._kept.get(task, ()) if answer.unsure < answer.voxels] if task else []
            if found := outcome_of([*said, *answers], self._rules.get(task, self._rule)):
                self._outcome[subject] = found


def read_answer(ledger: Ledger, counted: CountingAnswers, answer: Answer) -> np.ndarray:
    """The labels (z, y, x) of an answer in the values of today, whatever the classes were when it was handed in."""
    return mapped(ledger.read_answer(answer.place), counted.since(answer.event))


@dataclass(frozen=True)
class Held:
    """What counts for the patch of a task: its ``counts``, voxels of each label value, and its labels (z, y, x), which ``read``
    gives. ``ignore`` is among them."""

    counts: Mapping[int, int]
    read: Callable[[], np.ndarray]

    @classmethod
    def of(cls, labels: np.ndarray) -> Held:
        """Of labels that were read already."""
        return cls(voxels_per_value(labels), lambda: labels)


def held_in(ledger: Ledger, counted: CountingAnswers, task: str, ignore: int) -> Held | None:
    """What counts for the patch of ``task``; None while nobody has answered. No file is read where the ledger tells."""
    answers = counted.counting(task)
    if len(answers) == 1 and (counts := answers[0].counts) is not None:
        values = mapped(np.array([int(value) for value in counts], np.uint16), counted.since(answers[0].event)).tolist()
        found: dict[int, int] = {}
        for value, voxels in zip(values, counts.values(), strict=True):
            found[value] = found.get(value, 0) + voxels
        return Held(found, lambda: read_answer(ledger, counted, answers[0]))
    labels = labels_of(ledger, counted, task, ignore)
    return None if labels is None else Held.of(labels)


def labels_of(ledger: Ledger, counted: CountingAnswers, task: str, ignore: int) -> np.ndarray | None:
    """What counts for the patch of ``task``, (z, y, x); None while nobody has answered."""
    return merged([read_answer(ledger, counted, answer) for answer in counted.counting(task)], ignore)


def status_of(ledger: Ledger, counted: CountingAnswers, task: str, ignore: int) -> str:
    """``open``; ``partial`` while voxels of the patch are ``ignore`` in all that counts; ``done``.

    Several people may finish a task together. What they disagree on is the outcome of their rule, not work left to do.
    """
    status = counted.status(task)
    if status == "partial" and len(answers := counted.counting(task)) > 1:
        unsure = np.logical_and.reduce([read_answer(ledger, counted, answer) == ignore for answer in answers])
        return "partial" if unsure.any() else "done"
    return status


def merged(answers: Sequence[np.ndarray], ignore: int) -> np.ndarray | None:
    """One label map from several: where one of them is ``ignore`` the others', where they disagree ``ignore``."""
    if not answers:
        return None
    result = answers[0].copy()
    disputed = np.zeros(result.shape, bool)
    for other in answers[1:]:
        both = (result != ignore) & (other != ignore)
        disputed |= both & (result != other)
        result = np.where(result == ignore, other, result)
    result[disputed] = ignore
    return result


def check_annotator(name: str, option: str = "-who") -> None:
    """A blank name, or one that says which of several answers counts, is an error; ``option`` is where it was given."""
    if not name.strip() or name in RULES:
        raise NnActiveError(f"{option} {name!r}: this is not a valid name of an annotator.")
