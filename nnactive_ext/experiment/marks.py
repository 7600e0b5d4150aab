"""Which experiment and cycle a trained member belongs to, as a small file beside its checkpoint."""

from __future__ import annotations

import uuid
from pathlib import Path

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.locks import Lock, LockHeld, acquire
from nnactive_ext.files import read_json, write_json

STATE = "nnactive_state.json"
"""In the preprocessed dataset folder: the experiment and the cycle whose labels lie there, written when all of them do."""
MEMBER = "nnactive_member.json"
"""In a fold's results folder: the state its training started from, on which cases, and whether the training finished."""

LOCK = ".nnactive_training.lock"
"""In a fold's results folder: held by the process that trains it."""
_PATIENCE = 10.0
"""Seconds in which a training whose owner was just killed ends."""
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth")
"""nnU-Net's, in the order in which it continues from them."""


def begin(fold_folder: Path | str, preprocessed_folder: Path | str, *, continued: bool) -> Lock | None:
    """Mark the start of a training; one that continues another cycle's training is refused.

    Returns the lock of the fold, which the caller keeps as long as it trains: a second training of one fold at the same
    time is refused too. A killed owner's lock is free; a training whose owner was just killed gets time to end.
    A dataset without an experiment (no state file) gets no mark. The fold's earlier checkpoints are removed when a new
    training starts, or a killed training would leave old ones under the new mark.
    """
    fold_folder, state_file = Path(fold_folder), Path(preprocessed_folder) / STATE
    if not state_file.is_file():
        return None
    try:
        lock = acquire(fold_folder / LOCK, _PATIENCE, f"the training of {fold_folder.name}")
    except LockHeld as error:
        raise NnActiveError(f"{error} This fold is being trained by another process.") from None
    state = read_json(state_file)
    if continued:
        mark = read_mark(fold_folder)
        if any(mark.get(key) != state[key] for key in ("experiment", "cycle")):
            raise NnActiveError(
                f"{fold_folder}: this training belongs to cycle {mark.get('cycle', 'unknown')}, but the labels are those "
                f"of cycle {state['cycle']}. Train it again, without --c."
            )
        # The folds may have changed since, as the labels did.
        seen = {*mark.get("cases", ()), *_training_cases(fold_folder, state_file.parent)}
        write_json(fold_folder / MEMBER, {**mark, "cases": sorted(seen)})
        return lock
    for name in CHECKPOINTS:
        (fold_folder / name).unlink(missing_ok=True)
    # The number of the training lets results computed with a member be recognised as outdated by the next one.
    mark = {"experiment": state["experiment"], "cycle": state["cycle"], "training": uuid.uuid4().hex}
    cases = sorted(_training_cases(fold_folder, state_file.parent))
    write_json(fold_folder / MEMBER, {**mark, "finished": False, "cases": cases})
    return lock


def _training_cases(fold_folder: Path, preprocessed_folder: Path) -> list[str]:
    """What nnU-Net trains the fold on, as ``splits_final.json`` says now: all cases where it is not about this fold,
    none where there is no such file yet."""
    file, fold = preprocessed_folder / "splits_final.json", fold_folder.name.removeprefix("fold_")
    splits = read_json(file) if file.is_file() else []
    if fold.isdecimal() and int(fold) < len(splits):
        return splits[int(fold)]["train"]
    return [case for split in splits for case in (*split["train"], *split["val"])]


def finish(fold_folder: Path | str) -> None:
    """Mark the training as finished, once ``checkpoint_final.pth`` is written."""
    mark = Path(fold_folder) / MEMBER
    if mark.is_file():
        write_json(mark, {**read_json(mark), "finished": True})


def read_mark(fold_folder: Path | str) -> dict:
    """The mark of a fold: experiment, cycle, training, finished; empty where there is none."""
    file = Path(fold_folder) / MEMBER
    return read_json(file) if file.is_file() else {}


def is_trained(fold_folder: Path | str, experiment: str, cycle: int) -> bool:
    """Whether the fold holds a finished member of this experiment and cycle."""
    mark = read_mark(fold_folder)
    belongs = mark.get("experiment") == experiment and mark.get("cycle") == cycle
    return belongs and bool(mark.get("finished")) and (Path(fold_folder) / "checkpoint_final.pth").is_file()
