"""The note on the last run that a page started: who runs it, since when, and how it ended; it outlives the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.lock_owner import Owner
from nnactive_ext.experiment.loops import loop_file
from nnactive_ext.experiment.marks import STATE
from nnactive_ext.experiment.result import read_results, result_file
from nnactive_ext.files import changed_at, read_json_if_any, write_json

NOTE, LOG = "run.json", "run.log"
"""In the server's folder. The log is of the last run."""
STOPPED = 130
"""The status of a run that was interrupted."""


@dataclass(frozen=True)
class Note:
    """``who`` pressed the button; ``began`` is in seconds since 1970; ``status`` is that of the process, None until it ends, or
    where it was killed; ``place``: see :func:`place`, at its end."""

    owner: Owner
    who: str
    began: float
    status: int | None = None
    place: Sequence[int] = ()

    @property
    def alive(self) -> bool:
        """Whether the process may still run."""
        return self.status is None and not self.owner.has_ended

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / NOTE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Note | None:
        return read_json_if_any(folder / NOTE, None, cls, "Delete it; a training that runs goes on.")


def place(experiment: Experiment) -> list[int]:
    """Where an experiment stands, as numbers that change when any command moves it on."""
    return [experiment.state["cycle"], experiment.last_loop, len(read_results(experiment.results))]


def moved_on(experiment: Experiment, folder: Path) -> bool:
    """Whether a command has moved the experiment on after the last words of the last run that a page started."""
    cycle = experiment.state["cycle"]
    files = (
        experiment.preprocessed.folder / STATE,
        loop_file(experiment.raw, experiment.last_loop),
        result_file(experiment.results, cycle),
    )
    said = folder / LOG
    last = changed_at(said)
    return bool(last) and any(changed_at(file) > last for file in files)


def end_of_log(folder: Path, lines: int = 12) -> str:
    """The last error in the log of the last run, with what follows it; else its last lines."""
    try:
        found = (folder / LOG).read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    except OSError:
        return ""
    errors = [number for number, line in enumerate(found) if line.startswith("ERROR: ")]
    told = found[errors[-1] :] if errors else found[-lines:]
    return "\n".join(told[-4 * lines :])
