"""Carries out the change that a journal describes, for the command that made it and for the one after a kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nnactive_ext.experiment import journal
from nnactive_ext.experiment.archive import put_all_away
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.freezing import freeze_labels
from nnactive_ext.experiment.journal import Journal, NewFile
from nnactive_ext.experiment.label_changes import LABELS
from nnactive_ext.experiment.locks import LockHeld
from nnactive_ext.experiment.loops import loop_file, read_loop_content
from nnactive_ext.experiment.marks import marks_in
from nnactive_ext.experiment.record import RECORD, content_of, write_record
from nnactive_ext.files import write_json
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.relabel import write_labels
from nnactive_ext.nnunet.preprocessing import refresh

_PATIENCE = 20.0
"""Seconds."""


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)  # stdout may be read by a program, as that of nnactive_status --json


def finish_change(experiment: Experiment, say: Callable[[str], None] = _to_stderr) -> Journal | None:
    """Finish the change that a killed command began, and say so in one line.

    Args:
        experiment: any; its lock must be free if there is a change to finish.
        say: gets the line.

    Returns:
        The journal of the finished change; None if there was nothing to finish.

    Raises:
        NnActiveError: another process is making the change, or the journal is damaged.
    """
    began = time.monotonic()
    while Journal.read(experiment.raw) is not None:
        try:
            with experiment.lock(finishing=True):
                found = Journal.read(experiment.raw)
                if found is not None:
                    journal.note_finished(experiment.raw, found)
                    carry_out(experiment.name, found, progress=False)
                    say(f"A change that was interrupted is finished now: {found.what}.")
                return found
        except LockHeld:  # by whoever is making the change, as a rule for seconds only
            if time.monotonic() - began > _PATIENCE:
                raise
    return None


def commit(experiment: Experiment, change: Journal, progress: bool = True) -> None:
    """Make a change: nothing of it is seen before its journal is there, and all of it will be from then on.

    Args:
        experiment: the caller holds its lock.
        change: everything it needs is prepared, and has been checked.
        progress: show progress bars.
    """
    _check_readable(experiment)
    outer = Journal.read(experiment.raw)
    if outer is not None and not change.command:
        change = replace(change, command=outer.command)
    change.write(experiment.raw)
    carry_out(experiment.name, change, progress, outer)


def _check_readable(experiment: Experiment) -> None:
    """Refuse damaged files that carrying a change out reads while they can still be mended before it."""
    marks_in(experiment.model_folder)
    for cycle in range(experiment.last_loop + 1):
        read_loop_content(loop_file(experiment.raw, cycle))
    if (experiment.results / RECORD).is_file():
        content_of(experiment)


@contextmanager
def begun(experiment: Experiment, change: Journal) -> Iterator[None]:
    """:func:`commit` a change whose consequences, such as labels, follow in the block. The journal stays until then, so that a
    command that was killed in the block is recognised when it is typed again.

    Args:
        experiment: the caller holds its lock.
        change: as for :func:`commit`; blocks and changes may be nested in it.
    """
    _check_readable(experiment)
    change = replace(change, command=journal.once.get())
    change.write(experiment.raw)
    carry_out(experiment.name, change, outer=change)
    try:
        yield
    finally:
        journal.note_finished(experiment.raw, change)
        journal.remove(experiment.raw)


def carry_out(name: str, change: Journal, progress: bool = True, outer: Journal | None = None) -> None:
    """Do what a journal says and remove it, or put back the ``outer`` one; done again after a kill, the result is the same."""
    experiment = Experiment(name)
    for file in change.files:
        write_json(_place(experiment, file), file.content)
    _add_events(Ledger(experiment.annotation), change)
    experiment = Experiment(name)  # as the files say now
    if change.put_away:
        put_all_away(experiment)
    if change.relabel:
        cycle, cases = experiment.state["cycle"], list(change.relabel)
        write_labels(experiment, cycle, cases, progress)
        if cycle >= 0:
            refresh(experiment.dataset, experiment.preprocessed, cases, experiment.plan.processes, progress)
    if any(event["what"] == LABELS for event in change.events):
        freeze_labels(experiment)
    for file in change.last:
        write_json(_place(experiment, file), file.content)
    if (experiment.results / RECORD).is_file():
        write_record(experiment)
    if outer is None:
        journal.remove(experiment.raw)
    elif outer != change:
        outer.write(experiment.raw)


def _place(experiment: Experiment, file: NewFile) -> Path:
    return (experiment.raw if file.folder == journal.RAW else experiment.preprocessed.folder) / file.name


def _add_events(ledger: Ledger, change: Journal) -> None:
    if change.events:
        there = sum(event.get("change") == change.id for event in ledger.events())
        for event in change.events[there:]:
            ledger.add(**{**event, "change": change.id})
