"""Which experiment and cycle a trained member belongs to, as a small file beside its checkpoint."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.environment import Environment, distinct, read_all
from nnactive_ext.experiment.locks import Lock, LockHeld, acquire
from nnactive_ext.files import read_json, read_json_if_any, write_json
from nnactive_ext.nnunet.splits import SPLITS, read_splits
from nnactive_ext.nnunet.trainers import snapshot_files
from nnactive_ext.schemas import Count, JsonObject, numbered

ALL = "all"
"""nnU-Net's word for the member that is trained on all cases."""
Fold = int | str
"""A number from 0, or :data:`ALL`."""

STATE = "nnactive_state.json"
"""In the preprocessed dataset folder: the experiment and the cycle whose labels lie there, written when all of them do."""
MEMBER = "nnactive_member.json"
"""In a fold's results folder: the state its training started from, on which cases, and whether the training finished."""

ENVIRONMENTS = "environments"
"""The key, here and in loop files, of the environments that something was computed in, each once."""
LABEL_VERSION = "labels"
"""In both: how many times the classes had been changed; absent where they never were."""

EXPORTING = "exporting.jsonl"
"""In the folder of annotations: what an export under way, or one that was killed, notes about each task."""

LOCK = ".nnactive_training.lock"
"""In a fold's results folder: held by the process that trains it."""
_PATIENCE = 10.0
"""Seconds in which a training whose owner was just killed ends."""
BEST = "checkpoint_best.pth"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_latest.pth", BEST)
"""nnU-Net's, in the order in which it continues from them."""


class _State(TypedDict):
    experiment: str
    cycle: Count
    annotated: dict[str, Annotated[dict[str, Count], numbered]]


class State(_State, total=False):
    """``annotated``: case -> label value -> voxels annotated so far; ``events``: how many of the ledger they rest on."""

    labels: Count
    events: Count


class Mark(TypedDict, total=False):
    """Of a member; which of it there is depends on the version that wrote it."""

    experiment: str
    cycle: int
    training: str
    finished: bool
    cases: list[str]
    labels: Count
    environments: list[JsonObject]


def read_state(preprocessed_folder: Path | str) -> State | None:
    """The state in a preprocessed dataset folder; None where there is none; a damaged one is an NnActiveError."""
    return read_json_if_any(Path(preprocessed_folder) / STATE, None, State)


def begin(
    fold_folder: Path | str, preprocessed_folder: Path | str, *, continued: bool, environment: Environment | None = None
) -> Lock | None:
    """Mark the start of a training; one that continues another cycle's training is refused.

    Returns the lock of the fold, which the caller keeps as long as it trains: a second training of one fold at the same
    time is refused too. A killed owner's lock is free; a training whose owner was just killed gets time to end.
    ``environment``: that of this process, noted in the mark; one that is continued elsewhere has several.
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
    state = read_json(state_file, State)
    if continued:
        mark = read_mark(fold_folder)
        if not label_version(mark) == label_version(state):
            raise NnActiveError(
                f"{fold_folder}: this training was begun before the classes were changed. Train it again, without --c."
            )
        if any(mark.get(key) != state.get(key) for key in ("experiment", "cycle")):
            raise NnActiveError(
                f"{fold_folder}: this training belongs to cycle {mark.get('cycle', 'unknown')}, but the labels are those "
                f"of cycle {state['cycle']}. Train it again, without --c."
            )
        # The folds may have changed since, as the labels did.
        seen = {*mark.get("cases", ()), *_training_cases(fold_folder, state_file.parent)}
        known = read_all(mark.get(ENVIRONMENTS))
        write_json(fold_folder / MEMBER, {**mark, "cases": sorted(seen), ENVIRONMENTS: distinct([*known, environment])})
        return lock
    for checkpoint in (*(fold_folder / name for name in CHECKPOINTS), *snapshot_files(fold_folder)):
        checkpoint.unlink(missing_ok=True)
    # The number of the training lets results computed with a member be recognised as outdated by the next one.
    mark = {"experiment": state["experiment"], "cycle": state["cycle"], "training": uuid.uuid4().hex}
    mark |= {LABEL_VERSION: state["labels"]} if "labels" in state else {}
    cases = sorted(_training_cases(fold_folder, state_file.parent))
    write_json(fold_folder / MEMBER, {**mark, "finished": False, "cases": cases, ENVIRONMENTS: distinct([environment])})
    return lock


def _training_cases(fold_folder: Path, preprocessed_folder: Path) -> set[str]:
    """What nnU-Net trains the fold on, as ``splits_final.json`` says now: all cases for the fold ``all`` and where it is not
    about this fold, none where there is no such file yet."""
    file, fold = preprocessed_folder / SPLITS, fold_folder.name.removeprefix("fold_")
    splits = read_splits(file) if file.is_file() else []
    if fold.isdecimal() and int(fold) < len(splits):
        return set(splits[int(fold)]["train"])
    return {case for split in splits for case in (*split["train"], *split["val"])}


def annotated_cases(preprocessed_folder: Path | str) -> list[str]:
    """All cases that the folds of an experiment train on; empty for a dataset that is no experiment."""
    folder = Path(preprocessed_folder)
    return sorted(_training_cases(folder / "fold_all", folder)) if (folder / STATE).is_file() else []


def state_of(preprocessed_folder: Path | str) -> tuple[str, int]:
    """The experiment whose labels lie in a preprocessed dataset, and their cycle; "" and 0 for a dataset that is none."""
    state = read_state(preprocessed_folder)
    return (state["experiment"], state["cycle"]) if state else ("", 0)


def finish(fold_folder: Path | str) -> None:
    """Mark the training as finished, once ``checkpoint_final.pth`` is written."""
    mark = Path(fold_folder) / MEMBER
    if mark.is_file():
        write_json(mark, {**read_mark(fold_folder), "finished": True})


def read_mark(fold_folder: Path | str) -> dict:
    """The mark of a fold: experiment, cycle, training, finished; empty where there is none."""
    file = Path(fold_folder) / MEMBER
    return read_json_if_any(file, {}, Mark, "Restore it, or delete it, and the fold is trained again.")


def marks_in(model_folder: Path) -> dict[Fold, dict]:
    """The marks of all members in one of nnU-Net's folders of models, by fold: numbers first, in order."""
    folders = {folder.name.removeprefix("fold_"): folder for folder in model_folder.glob("fold_*")}
    folds: list[Fold] = [*sorted(int(name) for name in folders if name.isdecimal()), *(name for name in folders if name == ALL)]
    return {fold: mark for fold in folds if (mark := read_mark(folders[str(fold)]))}


def label_version(content: Mapping[str, Any]) -> int:
    """The changes of the classes before a state, or before the training that a mark is of."""
    return int(content.get(LABEL_VERSION, 0))


def is_trained(fold_folder: Path | str, experiment: str, cycle: int, labels: int) -> bool:
    """Whether the fold holds a finished member of this experiment and cycle, for the classes after so many changes."""
    mark = read_mark(fold_folder)
    belongs = mark.get("experiment") == experiment and mark.get("cycle") == cycle and label_version(mark) == labels
    return belongs and bool(mark.get("finished")) and (Path(fold_folder) / "checkpoint_final.pth").is_file()
