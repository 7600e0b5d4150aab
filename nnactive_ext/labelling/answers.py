"""Who answered which task, and which answers count."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.label_changes import LABELS, LabelChange, mapped
from nnactive_ext.labelling.event_kinds import check_event
from nnactive_ext.labelling.ledger import LEDGER, Ledger
from nnactive_ext.labelling.votes import NOTHING_SAID, RULES, VERDICT, Opinions, Vote, counting, current, outcome_of
from nnactive_ext.refusals import RESTORE

GIVEN = "given"
"""The event of label maps that came with cases that were added."""

TIME = "time"
"""The event of time that was spent on a task: ``seconds``, and the number of the ``answer`` that came of it."""


@dataclass(frozen=True)
class Answer:
    """What one annotator says about one task: ``unsure`` of its ``voxels`` are ``ignore``; ``place`` is in the ledger's
    folder, ``file`` the name it came with. ``seconds``: how long the annotator worked on it since the annotator's answer to the
    task before; None where nobody measured that."""

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

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Answer:
        """From an event of the ledger; a time that is no number above 0 is none."""
        facts = {key: event[key] for key in cls.__dataclass_fields__ if key != "seconds"}
        return cls(**facts, seconds=_seconds(event.get("seconds")))

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
    ``handed_in``: all answers that were not taken back, also those that others replace. ``opinions``: the verdicts."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    rule: str = RULES[0]
    rules: dict[str, str] = field(default_factory=dict)
    changes: list[LabelChange] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)
    handed_in: list[Answer] = field(default_factory=list)
    opinions: Opinions = NOTHING_SAID

    @classmethod
    def of(cls, ledger: Ledger, following: Sequence[Mapping[str, Any]] = ()) -> CountingAnswers:
        """``following``: events as if they were in the ledger already."""
        stacks: dict[str, list[Answer]] = {}
        counted, votes = cls(), list[Vote]()
        for event in (*_checked(ledger), *following):
            if event["what"] == "answer":
                stacks.setdefault(event["task"], []).append(Answer.of(event))
            elif event["what"] == VERDICT:
                votes.append(Vote.of(event))
            elif event["what"] == "withdraw":
                # The annotator's answer, or verdict, before the one taken back counts again.
                stacks[event["task"]] = [a for a in stacks.get(event["task"], []) if a.event != event["withdrawn"]]
                votes = [vote for vote in votes if vote.event != event["withdrawn"]]
            elif event["what"] == TIME:
                stacks[event["task"]] = [_timed(a, event) for a in stacks.get(event["task"], [])]
            elif event["what"] == "rule":
                if event.get("task"):
                    counted.rules[event["task"]] = event["rule"]
                else:
                    counted.rule = event["rule"]
            elif event["what"] == LABELS:
                counted.changes.append(LabelChange.of(event))
                # Counted when the classes were changed, so that nobody has to read all answers to know what is open.
                stacks = {
                    task: [replace(a, unsure=event["unsure"].get(str(a.event), a.unsure)) for a in stack]
                    for task, stack in stacks.items()
                }
            elif event["what"] == GIVEN:
                counted.given |= dict.fromkeys(event["cases"], event["event"])
        counted.handed_in = [answer for stack in stacks.values() for answer in stack]
        for task, stack in stacks.items():
            if stack:
                counted.answers[task] = current(stack)
        counted.opinions = counted._opinions(votes, stacks)
        return counted

    def _opinions(self, votes: Sequence[Vote], stacks: Mapping[str, Sequence[Answer]]) -> Opinions:
        by_subject: dict[tuple[str, str], list[Vote]] = {}
        for vote in votes:
            by_subject.setdefault((vote.case, vote.task), []).append(vote)
        outcome = {}
        for (case, task), said in by_subject.items():
            answers = [answer for answer in stacks.get(task, ()) if answer.unsure < answer.voxels] if task else []
            if found := outcome_of([*said, *answers], self.rule_of(task)):
                outcome[case, task] = found
        return Opinions(by_subject, outcome)

    def since(self, event: int) -> list[LabelChange]:
        """How the classes were changed after an event; -1: since planning."""
        return [change for change in self.changes if change.event > event]

    def rule_of(self, task: str) -> str:
        return self.rules.get(task, self.rule)

    def counting(self, task: str) -> list[Answer]:
        """The answers that count: none, one, or with ``consensus`` all of them. None does where the patch is irrelevant."""
        if self.opinions.irrelevant(task):
            return []
        said = [answer for answer in self.answers.get(task, []) if not self.opinions.overrules(task, answer)]
        return counting(said, self.rule_of(task))

    def status(self, task: str) -> str:
        """``open``; ``done`` if an answer that counts leaves nothing open, or if the patch is irrelevant, else ``partial``. See
        :func:`status_of`."""
        if self.opinions.irrelevant(task):
            return "done"
        answers = self.counting(task)
        if not answers:
            return "open"
        return "done" if any(answer.complete for answer in answers) else "partial"


def _checked(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """The events, each with all that is read of it."""
    for number, event in enumerate(ledger.events(), start=1):
        try:
            check_event(event)
        except ValueError as error:
            raise NnActiveError(f"{ledger.folder / LEDGER}, line {number}: damaged ({error}). {RESTORE}") from None
        yield event


def read_answer(ledger: Ledger, counted: CountingAnswers, answer: Answer) -> np.ndarray:
    """The labels (z, y, x) of an answer in the values of today, whatever the classes were when it was handed in."""
    return mapped(ledger.read_answer(answer.place), counted.since(answer.event))


def labels_of(ledger: Ledger, counted: CountingAnswers, task: str, ignore: int) -> np.ndarray | None:
    """What counts for the patch of ``task``, (z, y, x); None while nobody has answered."""
    return merged([read_answer(ledger, counted, answer) for answer in counted.counting(task)], ignore)


def status_of(ledger: Ledger, counted: CountingAnswers, task: str, ignore: int) -> str:
    """``open``; ``partial`` while voxels of the patch are ``ignore`` in all that counts; ``done``.

    Several people may finish a task together. What they disagree on is the outcome of their rule, not work left to do.
    """
    status, answers = counted.status(task), counted.counting(task)
    if status == "partial" and len(answers) > 1:
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
