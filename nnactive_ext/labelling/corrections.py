"""Cases whose labels are behind the answers of closed cycles: noted before an answer counts, struck once its labels do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json


def _file(experiment: Experiment) -> Path:
    return experiment.annotation / "corrections.json"


def noted(experiment: Experiment) -> list[str]:
    """Cases whose labels are to be written anew: a process was killed, or failed, between an answer and its labels."""
    return read_json(_file(experiment)) if _file(experiment).is_file() else []


def note(experiment: Experiment, cases: Iterable[str]) -> None:
    """Before a ledger event on a task of a closed cycle; a note without such an event costs time only."""
    cases, before = set(cases), set(noted(experiment))
    if not cases <= before:
        experiment.annotation.mkdir(exist_ok=True)
        write_json(_file(experiment), sorted(cases | before))


def strike(experiment: Experiment) -> None:
    """All labels follow the answers now."""
    _file(experiment).unlink(missing_ok=True)
