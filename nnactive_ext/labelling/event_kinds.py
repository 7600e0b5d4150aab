"""What the events of the ledger hold, by their kind; facts that are not listed are kept as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from nnactive_ext.experiment.plan_kinds import LabelsChanged
from nnactive_ext.schemas import Count, Shape, Start, typed


class EventFacts(TypedDict):
    """What all events have."""

    event: Count
    what: str
    who: str
    when: str


class _Answer(EventFacts):
    task: str
    file: str
    sha256: str
    place: str
    voxels: Count
    unsure: Count


class _Verdict(EventFacts):
    case: str
    task: str | None
    irrelevant: bool
    why: str
    cycle: int


class _VerdictOnPatch(_Verdict, total=False):
    start: Start
    size: Shape
    file: str


class _Withdrawal(EventFacts):
    task: str | None
    withdrawn: Count


class _Time(EventFacts):
    task: str


class _TimeInPage(_Time, total=False):
    answer: Count
    total: float
    page: str


class _Rule(EventFacts):
    rule: str


class _RuleOfTask(_Rule, total=False):
    task: str | None


class _Labels(EventFacts, LabelsChanged):
    unsure: dict[str, Count]


class _Given(EventFacts):
    cases: list[str]


class _Points(EventFacts, total=False):
    cycle: Count
    received: str


class _Covered(EventFacts):
    cycle: Count
    points: list[tuple[str, str, Start, str]]


_KINDS = {
    "answer": _Answer,
    "verdict": _VerdictOnPatch,
    "withdraw": _Withdrawal,
    "time": _TimeInPage,
    "rule": _RuleOfTask,
    "labels": _Labels,
    "given": _Given,
    "points": _Points,
    "covered points": _Covered,
}


def check_event(event: Mapping[str, Any]) -> None:
    """What is read of an event is there; ValueError says what is not. Kinds that are not known are of no concern."""
    typed(_KINDS.get(event["what"], EventFacts), dict(event))
