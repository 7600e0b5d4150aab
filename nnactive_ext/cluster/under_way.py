"""Which steps are carried out now, where, and since when: a small file per step that its process renews."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from nnactive_ext.cluster.steps import Step
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json

RENEWED, STALE = 20.0, 90.0
"""Seconds between two renewals, and after which a file counts as left behind by a process that was killed."""
_JOBS = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A step that is carried out: by which process of which host, on which GPU (``CUDA_VISIBLE_DEVICES``), in which job of a
    scheduler, since when (seconds since 1970). ``epoch``: the last one that its log names, -1 if none."""

    step: str
    host: str
    pid: int
    gpu: str = ""
    job: str = ""
    since: float = 0.0
    log: str = ""
    epoch: int = -1


@contextmanager
def noted(experiment: Experiment, step: Step) -> Iterator[None]:
    """Say, for as long as the block lasts, that this process carries out a step."""
    file = _folder(experiment) / f"{step.name}.json"
    job = next((os.environ[name] for name in _JOBS if os.environ.get(name)), "")
    running = Running(
        step=step.name,
        host=socket.gethostname(),
        pid=os.getpid(),
        gpu=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        job=job,
        since=time.time(),
        log=str(step.log(experiment)),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(running))
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWED):
            with suppress(OSError):
                os.utime(file)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        file.unlink(missing_ok=True)


def running(experiment: Experiment) -> list[Running]:
    """The steps of the current cycle that are carried out now, by name; files of killed processes are passed over."""
    found = []
    for file in sorted(_folder(experiment).glob("*.json")):
        try:
            age = time.time() - file.stat().st_mtime
            one = Running(**{key: value for key, value in read_json(file).items() if key in Running.__annotations__})
        except (OSError, NnActiveError, TypeError):  # it has ended meanwhile
            continue
        gone = one.host == socket.gethostname() and not _lives(one.pid)
        if age < STALE and not gone:
            found.append(Running(**{**asdict(one), "epoch": _epoch(Path(one.log))}))
    return found


def _folder(experiment: Experiment) -> Path:
    return experiment.results / f"cycle_{experiment.state['cycle']:03d}" / "running"


def _lives(pid: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _epoch(log: Path) -> int:
    """The last epoch in nnU-Net's log."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            found = re.findall(rb"\bEpoch (\d+)", file.read())
    except OSError:
        return -1
    return int(found[-1]) if found else -1
