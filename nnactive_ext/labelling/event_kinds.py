"""What the events of the ledger hold, by their kind; facts that are not listed are kept as they were written."""

from __future__ import annotations

from typing import Any, TypedDict

from nnactive_ext.experiment.plan_kinds import LabelsChanged
from nnactive_ext.schemas import Count, Shape, Start, of_text, typed


class _Event(TypedDict):
    event: Count
    what: str
    who: str
    when: str


class _Answer(_Event):
    task: str
    file: str
    sha256: str
    place: str
    voxels: Count
    unsure: Count


class _Verdict(_Event):
    case: str
    task: str | None
    irrelevant: bool
    why: str
    cycle: int


class _VerdictOnPatch(_Verdict, total=False):
    start: Start
    size: Shape
    file: str


class _Withdrawal(_Event):
    task: str | None
    withdrawn: Count


class _Time(_Event):
    task: str


class _TimeInPage(_Time, total=False):
    answer: Count
    total: float
    page: str


class _Rule(_Event):
    rule: str


class _RuleOfTask(_Rule, total=False):
    task: str | None


class _Labels(_Event, LabelsChanged):
    unsure: dict[str, Count]


class _Given(_Event):
    cases: list[str]


class _Points(_Event):
    cycle: Count
    received: str


class _Covered(_Event):
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


def event_of(line: bytes) -> dict[str, Any]:
    """The event in a line of the ledger; ValueError says what is wrong with it. Kinds that are not known are of no concern."""
    found = of_text(_Event, line)
    return typed(_KINDS.get(found["what"], _Event), found)
