"""What people said of a patch or a case, and which of it counts where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

RULES = ("latest", "first", "consensus")
"""``latest``: the last annotator who answered or corrected; ``first``: who answered first; ``consensus``: all of them, and
where they disagree the voxels stay ``ignore``. A rule may also be the name of an annotator: theirs, else the latest."""
VERDICT = "verdict"
"""The event of a verdict: ``case``, ``task`` (its id; None: the whole case), ``irrelevant``, ``why``, ``cycle``, and of a task
``start`` and ``size`` of its patch (z, y, x)."""


class Statement(Protocol):
    """An answer or a verdict: who made it, and its number in the ledger."""

    @property
    def who(self) -> str: ...
    @property
    def event(self) -> int: ...


Said = TypeVar("Said", bound=Statement)


def current(statements: Iterable[Said]) -> list[Said]:
    """The last statement of each person, in the order in which they said something first; ``statements`` are in order."""
    # A dict keeps the order in which its keys came first: who corrects a statement is still the first.
    return list({one.who: one for one in statements}.values())


def counting(statements: Sequence[Said], rule: str) -> list[Said]:
    """Those that count by ``rule``: none, one, or with ``consensus`` all of them; ``statements`` are :func:`current`."""
    if not statements or rule == "consensus":
        return list(statements)
    if rule == "first":
        return list(statements[:1])
    named = [one for one in statements if one.who == rule]
    return named or [max(statements, key=lambda one: one.event)]


@dataclass(frozen=True)
class Vote:
    """A verdict as one person gave it. ``task``: the id of the task whose patch it is about; empty: the whole case. ``file``:
    what tells the file it came in from others; empty where it came in none."""

    case: str
    task: str
    irrelevant: bool
    who: str
    why: str
    cycle: int
    when: str
    event: int
    start: tuple[int, ...] = ()
    size: tuple[int, ...] = ()
    file: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Vote:
        """From an event of the ledger."""
        facts = {key: event[key] for key in ("case", "irrelevant", "who", "why", "cycle", "when", "event")}
        start, size = (tuple(event.get(key, ())) for key in ("start", "size"))
        return cls(**facts, start=start, size=size, task=event["task"] or "", file=str(event.get("file", "")))

    @property
    def words(self) -> str:
        """What it says, by whom and why."""
        what = f"{'The patch' if self.task else 'The case'} is {'irrelevant' if self.irrelevant else 'relevant'}"
        return f"{what}, says {self.who}" + (f": {self.why}" if self.why else "")


def case_of(task: str) -> str:
    """The case of a task, by the task's id.

    >>> case_of("c001_003_liver_12")
    'liver_12'
    """
    return task.split("_", 2)[-1]


@dataclass(frozen=True)
class Opinions:
    """All that was said with a verdict and not taken back: the verdicts on each case and on each task, in order, and the one
    that counts. On a task an answer says that its patch is relevant."""

    votes: Mapping[tuple[str, str], Sequence[Vote]]
    outcome: Mapping[tuple[str, str], Vote]
    """(case, task or empty) -> a verdict that counts; without one where only answers count."""

    def irrelevant(self, task: str) -> bool:
        """Whether the patch of a task, or all of its case, counts as irrelevant."""
        return self.against(task) is not None

    def against(self, task: str) -> Vote | None:
        """The verdict by which the patch of a task, or all of its case, counts as irrelevant."""
        case = case_of(task) if self.outcome else ""
        found = (self.outcome.get(key) for key in ((case, task), (case, "")))
        return next((vote for vote in found if vote and vote.irrelevant), None)

    def words(self, task: str) -> str:
        """Who called a task's patch or case irrelevant, and why; empty where it is not."""
        vote = self.against(task)
        return vote.words if vote else ""

    @property
    def irrelevant_cases(self) -> frozenset[str]:
        return frozenset(case for (case, task), found in self.outcome.items() if not task and found.irrelevant)

    def overrules(self, task: str, answer: Statement) -> bool:
        """Whether who gave an answer has called its patch irrelevant since."""
        mine = [vote for vote in self.votes.get((case_of(task), task), ()) if vote.who == answer.who] if self.votes else []
        return bool(mine) and mine[-1].irrelevant and mine[-1].event > answer.event


NOTHING_SAID = Opinions({}, {})


def outcome_of(said: Sequence[Statement], rule: str) -> Vote | None:
    """The verdict that counts among answers and verdicts on one task, or among verdicts on one case.

    Args:
        said: in any order; answers among them say that a patch is relevant.
        rule: which of several people count.

    Returns:
        A verdict; None where answers count. Several that count together are irrelevant only if all of them say so.
    """
    found = counting(current(sorted(said, key=lambda one: one.event)), rule)
    votes = [one for one in found if isinstance(one, Vote)]
    against = [one for one in votes if not one.irrelevant]
    if len(votes) == len(found) and not against:
        return votes[-1] if votes else None
    return against[-1] if against else None
