"""How experiments of a benchmark ended that did not reach their last cycle, as files that all parts can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from nnactive_ext.bench.runs import Run
from nnactive_ext.cluster.steps import is_evaluated
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import PLAN_FILE
from nnactive_ext.experiment.result import result_file
from nnactive_ext.files import read_json, write_json

REMEDY = "Remove the causes and run the same command again; what is done is not repeated."


class _Outcome(TypedDict):
    failed: bool
    why: str


@dataclass(frozen=True)
class Outcome:
    """Why the experiment ``folder`` ended; ``failed``, or else its pool was used up."""

    folder: str
    failed: bool
    why: str


class Outcomes:
    """Those noted in the folder of a benchmark."""

    def __init__(self, folder: Path):
        self._folder = folder / "ended"

    def note(self, run: Run, failed: bool, why: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file(run), {"failed": failed, "why": why})

    def forget(self, run: Run) -> None:
        """Because it is tried again."""
        self._file(run).unlink(missing_ok=True)

    def of(self, runs: Sequence[Run]) -> list[Outcome]:
        """The outcomes of ``runs`` that have one, in their order."""
        files = {run.folder: self._file(run) for run in runs}
        remedy = "Delete it, and run the same command again."
        found = {folder: read_json(file, _Outcome, remedy) for folder, file in files.items() if file.is_file()}
        return [Outcome(folder, content["failed"], content["why"]) for folder, content in found.items()]

    def _file(self, run: Run) -> Path:
        return self._folder / f"{run.folder}.json"


def exists(run: Run) -> bool:
    """Whether the experiment was planned, and that was finished."""
    return (Experiment(run.folder).raw / PLAN_FILE).is_file()


def is_complete(run: Run) -> bool:
    """Whether the experiment's last planned cycle has been evaluated; where its plan cannot be read, which running it tells, it
    is not."""
    experiment = Experiment(run.folder)
    try:
        last = experiment.plan.cycles - 1
        return exists(run) and result_file(experiment.results, last).is_file() and is_evaluated(experiment)
    except NnActiveError:
        return False
