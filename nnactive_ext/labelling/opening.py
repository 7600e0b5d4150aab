"""The one way in which a command comes to its experiment."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import change_of
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.freezing import check_unfrozen, completed, freeze_descriptions, freeze_plans, stored
from nnactive_ext.experiment.input_checks import REFERENCES, compare
from nnactive_ext.experiment.inputs import INPUTS, Inputs
from nnactive_ext.experiment.preprocessed_mark import is_marked
from nnactive_ext.files import write_json
from nnactive_ext.labelling import seen
from nnactive_ext.labelling.finishing import finish_change
from nnactive_ext.labelling.ledger import LEDGER, Ledger
from nnactive_ext.labelling.relabel import EVENTS, settlement
from nnactive_ext.nnunet.splits import SPLITS, read_splits


def open_experiment(
    identifier: str | int,
    *,
    locked: bool = False,
    changed: Collection[str] = (),
    without: Collection[str] = (),
    recovering: bool = False,
) -> Experiment:
    """Find an experiment and make sure that a command can rely on it.

    A change that was interrupted is finished. What the experiment depends on is compared with what it was when it was planned.

    Args:
        identifier: the number or the name of its dataset.
        locked: the caller holds the experiment's lock; what is not frozen yet is then frozen.
        changed: kinds of inputs (:mod:`nnactive_ext.experiment.input_checks`) that the command is about to put right.
        without: cases that the command is about to take out of the pool.
        recovering: the command is about to put the ledger right.

    Returns:
        The experiment.

    Raises:
        NnActiveError: there is no such experiment, another process is changing it, or labels, plans, label maps or images have
            changed since it was planned.
    """
    experiment = Experiment.find(identifier)
    experiment.check_places()
    if not locked and finish_change(experiment):
        experiment = Experiment(experiment.name)
    if not recovering:
        _check_ledger(experiment, locked)
    _check_splits(experiment, locked)
    frozen = Inputs.read(experiment.raw)
    if frozen is None:
        _check_lost(experiment, changed)
        check_unfrozen(experiment)
        frozen = freeze_descriptions(experiment, Inputs(experiment.raw)) if locked else None
    if frozen is None:
        return experiment
    compared = compare(experiment, frozen, without)
    compared.refuse(experiment, changed)
    if locked and not without and not changed:
        _store(experiment, completed(experiment, stored(frozen, compared)))
    return experiment


def _check_ledger(experiment: Experiment, locked: bool) -> None:
    """The ledger, which is not older than the labels in place; where it was restored from a backup, that is said."""
    if experiment.plan.human:
        ledger, number = Ledger(experiment.annotation), experiment.state.get(EVENTS, 0)  # lines may be added meanwhile
        seen.check_number(ledger.folder / LEDGER, list(ledger.events()), number)
        if locked and (told := ledger.restored()):
            print(told, file=sys.stderr)


def _check_splits(experiment: Experiment, locked: bool) -> None:
    """Members are trained on annotated cases of the pool only: splits that name others, as of a copy from before a change, are
    made anew from the plan and the state."""
    state, file = experiment.state, experiment.preprocessed.folder / SPLITS
    if not locked or state["cycle"] < 0 or _are_of(file, state["annotated"]):
        return
    files, _ = settlement(experiment, state["cycle"], state["annotated"])
    write_json(file, files[SPLITS])
    print(f"{file}: named other cases than those that are annotated, and is made anew.", file=sys.stderr)


def _are_of(file: Path, annotated: Mapping[str, Any]) -> bool:
    splits = read_splits(file) if file.is_file() else []
    return bool(splits) and {case for fold in splits for case in (*fold["train"], *fold["val"])} <= annotated.keys()


def _store(experiment: Experiment, frozen: Inputs) -> None:
    if frozen != Inputs.read(experiment.raw):
        frozen.write()
    if not frozen.part("plans") and experiment.state["cycle"] >= 0:  # of an earlier version
        freeze_plans(experiment)


def _check_lost(experiment: Experiment, changed: Collection[str]) -> None:
    """An experiment whose cases carry the mark had the file: without it, nobody knows which label maps it was planned with."""
    if experiment.plan.human or REFERENCES in changed or experiment.state["cycle"] < 0:
        return
    folder, plan = experiment.preprocessed.data_folder, experiment.plan
    if any(is_marked(folder, case) for case in (*plan.pool, *plan.dropped)):
        raise NnActiveError(
            f"{experiment.raw / INPUTS}: no such file, so it is not known whether the reference label maps are those the "
            "experiment was planned with. Restore the file from a copy of the experiment; or, to use the label maps as they "
            f"are from now on: {change_of(experiment.name, '-references', 'reread')}"
        )
