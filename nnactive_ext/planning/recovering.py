"""Goes on with what is whole of a damaged ledger, where there is no backup of it."""

from __future__ import annotations

from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.label_changes import LABELS
from nnactive_ext.experiment.marks import STATE, read_state
from nnactive_ext.files import replacing, write_json
from nnactive_ext.labelling import seen
from nnactive_ext.labelling.chain import digest, whole_lines
from nnactive_ext.labelling.closing import apply_corrections, note
from nnactive_ext.labelling.ledger import LEDGER
from nnactive_ext.labelling.relabel import EVENTS
from nnactive_ext.words import warned


def accept_ledger(experiment: Experiment, progress: bool = True) -> list[str]:
    """Go on with the events from the beginning of the ledger that are whole, and write the labels of closed cycles again.

    The ledger as it was is kept beside it. Killed anywhere, the same call ends right.

    Args:
        experiment: a roll-out; the caller holds its lock.
        progress: show progress bars.

    Returns:
        What was done, one text each.

    Raises:
        NnActiveError: there is no annotation, or a change of classes is among what is lost; nothing is changed then.
    """
    if not experiment.plan.human:
        raise NnActiveError(f"{experiment.name}: a simulation has no ledger of answers. Plan it anew.")
    ledger, state = experiment.annotation / LEDGER, experiment.preprocessed.folder / STATE
    content = ledger.read_bytes() if ledger.is_file() else b""
    events, end = whole_lines(ledger, content)
    changes = sum(event["what"] == LABELS for event in events)
    if changes != experiment.plan.label_version:
        raise NnActiveError(
            f"{ledger}: {experiment.plan.label_version - changes} change(s) of classes are among the lost lines, so nobody "
            "knows what labels mean. Restore the file from a backup."
        )
    experiment.annotation.mkdir(exist_ok=True)
    kept = ledger.with_name(f"ledger_damaged_{digest(content)[:8]}.jsonl")
    if content and len(content) != end.size:
        with replacing(kept) as temporary:
            temporary.write_bytes(content)
    # Labels follow the events that are left.
    if experiment.state["cycle"] >= 0:
        note(experiment, experiment.state["annotated"])
    if len(content) != end.size or not content:
        with replacing(ledger) as temporary:
            temporary.write_bytes(content[: end.size])
    seen.note(ledger, end, ledger.stat().st_ino)
    known: dict[str, Any] = {**(read_state(experiment.preprocessed.folder) or {})}
    if EVENTS in known:
        write_json(state, {**known, EVENTS: min(known[EVENTS], end.events)})
    done = f"{ledger}: it goes on after {seen.told(events)}." + (f" As it was: {kept.name}." if kept.is_file() else "")
    return [done, *warned(apply_corrections(experiment.anew(), [], progress))]
