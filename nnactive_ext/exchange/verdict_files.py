"""Verdicts that come back in a folder: ``verdicts.csv`` with a task or a case, the verdict, and why, in each line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.received import Received
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import IRRELEVANT, RELEVANT
from nnactive_ext.files import sha256
from nnactive_ext.intake.tables import read_table
from nnactive_ext.labelling.answers import CountingAnswers
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.labelling.verdicts import Said, Subjects, key_of, record, repeats, settled_cases
from nnactive_ext.labelling.votes import VERDICT
from nnactive_ext.refusals import refusing
from nnactive_ext.words import text_of_cell

COLUMNS = ("task_or_case", "verdict", "why")
_NAME = re.compile(r"verdicts(?:_(\d{8}T\d{6}Z))?(?:[ -]?\(\d+\)|-\d+)?\.csv", re.IGNORECASE)
"""As people and ``index.html`` call the file, with the time in UTC, and what browsers put behind it."""


@dataclass(frozen=True)
class _Row:
    """A line of a file that is not known yet."""

    file: Path
    said: Said

    @property
    def task(self) -> Task | None:
        return None if isinstance(self.said.subject, str) else self.said.subject

    @property
    def name(self) -> str:
        return self.task.id if self.task else str(self.said.subject)


def is_verdicts(file: Path) -> bool:
    """Whether a file holds verdicts, by its name."""
    return _NAME.fullmatch(file.name) is not None


def receive_verdicts(experiment: Experiment, files: Sequence[Path], who: str) -> list[Received]:
    """Take over the verdicts in files; what a later line says of a task or a case replaces what an earlier one says.

    Args:
        experiment: a roll-out; the caller holds its lock.
        files: tables with the columns of :data:`COLUMNS`, of which those that ``index.html`` saved later count more.
        who: the name of the annotator.

    Returns:
        What became of each line, or of each file that cannot be read. Lines that came with the same file before, or repeat the
        annotator's last verdict, change nothing.
    """
    results: list[Received] = []
    rows: dict[tuple[str, str], _Row] = {}
    subjects = Subjects(experiment) if files else None
    for file in sorted(files, key=_saved):
        try:
            assert subjects
            with refusing(file):
                rows |= _read(subjects, file)
        except NnActiveError as error:
            results.append(Received(file, None, False, str(error).removeprefix(f"{file}: "), refused=True))
    if not rows:
        return results
    known, counted = _known(experiment, who), CountingAnswers.of(Ledger(experiment.annotation))
    new: list[_Row] = []
    for key, row in rows.items():
        said = row.said
        if repeats(counted, said.subject, said.irrelevant, who, said.why) or (*key, said.file) in known:
            results.append(Received(row.file, row.task, False, f"{row.name}: handed in by {who} before", counts=True))
        else:
            new.append(row)
    cycle = experiment.state["cycle"]
    try:
        record(experiment, [row.said for row in new], who)
    except NnActiveError:  # together they leave too little: those that can be are taken
        return results + [_take(experiment, row, who, cycle) for row in new]
    return results + [_taken(row, cycle) for row in new]


def _saved(file: Path) -> str:
    found = _NAME.fullmatch(file.name)
    return (found[1] if found else None) or ""


def _identity(file: Path) -> str:
    """What tells a file from others; the same ticks saved again later are news."""
    return f"{sha256(file)} {_saved(file)}".strip()


def _read(subjects: Subjects, file: Path) -> Mapping[tuple[str, str], _Row]:
    """The lines of a file by what they are about.

    Raises:
        NnActiveError: a line names no task and no case, or its verdict is none; the whole file is refused.
    """
    found, identity = {}, _identity(file)
    for line in read_table(file):
        name, verdict, *words = (*map(text_of_cell, line.cells), "", "")
        why = ", ".join(word for word in words if word)  # a comma without quotes is one of the reason's
        if (name.lower(), verdict.lower()) == COLUMNS[:2]:
            continue
        if verdict.lower() not in (IRRELEVANT, RELEVANT):
            raise NnActiveError(
                f"{file}: line {line.number}: the verdict {verdict!r} is neither {IRRELEVANT} nor {RELEVANT}; the columns are "
                f"{', '.join(COLUMNS)}."
            )
        try:
            subject = subjects.of(name)
        except NnActiveError as error:
            raise NnActiveError(f"{file}: line {line.number}: {error}") from None
        found[key_of(subject)] = _Row(file, Said(subject, verdict.lower() == IRRELEVANT, why, identity))
    return found


def _known(experiment: Experiment, who: str) -> set[tuple[str, str, str]]:
    """Case, task and file of the verdicts of ``who`` that came in files, also of those that were withdrawn."""
    events = Ledger(experiment.annotation).events()
    mine = [event for event in events if event["what"] == VERDICT and event["who"] == who and event.get("file")]
    return {(event["case"], event["task"] or "", event["file"]) for event in mine}


def _take(experiment: Experiment, row: _Row, who: str, cycle: int) -> Received:
    try:
        record(experiment, [row.said], who)
    except NnActiveError as error:
        return Received(row.file, row.task, False, f"{row.name}: {error}", refused=True)
    return _taken(row, cycle)


def _taken(row: _Row, cycle: int) -> Received:
    verdict = IRRELEVANT if row.said.irrelevant else RELEVANT
    of = f"all of case {row.name} is {verdict}" if row.task is None else verdict
    text = of + (f": {row.said.why}" if row.said.why else "")
    return Received(row.file, row.task, True, text, follow=tuple(settled_cases(row.said.subject, cycle)))
