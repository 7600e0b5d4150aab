"""Which steps are carried out now, where, and since when: a small file per step that its process renews."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nnactive_ext.cluster.tasks import Task
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.lock_owner import Owner
from nnactive_ext.experiment.soft_locks import file_time
from nnactive_ext.files import read_json, write_json

RENEWED, STALE = 20.0, 90.0
"""Seconds between two renewals, and after which a file counts as left behind by a process that was killed."""
_JOBS = ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A step that is carried out: by which process of which host, on which GPU (``CUDA_VISIBLE_DEVICES``), in which job of a
    scheduler, since when (seconds since 1970). ``epoch``: the last one that its log names, -1 if none. ``boot``, ``namespace``,
    ``started``: as of :class:`nnactive_ext.experiment.lock_owner.Owner`; empty in older files."""

    step: str
    host: str
    pid: int
    boot: str = ""
    namespace: str = ""
    started: str = ""
    gpu: str = ""
    job: str = ""
    since: float = 0.0
    log: str = ""
    epoch: int = -1

    @classmethod
    def read(cls, file: Path) -> Running | None:
        """None where the step has ended meanwhile."""
        try:
            return read_json(file, cls)
        except (OSError, NnActiveError, TypeError):
            return None

    @property
    def has_ended(self) -> bool:
        """Whether the process is known to be gone; False where that cannot be known."""
        unsaid = {"user": "", "doing": "", "token": ""}
        return Owner(self.host, self.pid, self.boot, self.namespace, self.started, **unsaid).has_ended

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"


@contextmanager
def noted(experiment: Experiment, step: Task) -> Iterator[None]:
    """Say, for as long as the block lasts, that this process carries out a step."""
    file = _file(experiment, step)
    job = next((os.environ[name] for name in _JOBS if os.environ.get(name)), "")
    owner = Owner.this_process()
    running = Running(
        step=step.name,
        host=owner.host,
        pid=owner.pid,
        boot=owner.boot,
        namespace=owner.namespace,
        started=owner.started,
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
        if Running.read(file) == running:
            file.unlink(missing_ok=True)


def running(experiment: Experiment) -> list[Running]:
    """The steps of the current cycle that are carried out now, by name; files of killed processes are passed over."""
    found = []
    for file in sorted(_folder(experiment).glob("[!.]*.json")):
        try:
            age = time.time() - file.stat().st_mtime
        except OSError:  # it has ended meanwhile
            continue
        one = Running.read(file)
        if one and age < STALE and not one.has_ended:
            found.append(replace(one, epoch=_epoch(Path(one.log))))
    return found


def _at_once(text: str) -> None:
    print(text, flush=True)  # a log is read while this process waits


def others_end(experiment: Experiment, step: Task, say: Callable[[str], None] = _at_once, pause: float = 1.0) -> None:
    """Wait while another process carries out a step, as one of a run that was killed may still do: until it has ended, or has
    not renewed its file for :data:`STALE` seconds.

    Args:
        experiment: the step belongs to its current cycle.
        step: that this process is about to carry out.
        say: gets what is waited for, once for each process.
        pause: seconds between two looks.
    """
    file, told = _file(experiment, step), ""
    while (one := Running.read(file)) is not None and not one.has_ended and _age(file) < STALE:
        if told != (told := str(one)):
            say(
                f"Waiting: {one} is {step.words} already, since {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.since))}. "
                f"{step.name} begins here when that has ended, or when {file} was not renewed for {STALE:g} seconds."
            )
        time.sleep(pause)


def _age(file: Path) -> float:
    """Seconds since a file was renewed, by its file system's own clock."""
    try:
        return (file_time(file.parent) - file.stat().st_mtime_ns) / 1e9
    except FileNotFoundError:
        return STALE


def _folder(experiment: Experiment) -> Path:
    return experiment.results / f"cycle_{experiment.state['cycle']:03d}" / "running"


def _file(experiment: Experiment, step: Task) -> Path:
    return _folder(experiment) / f"{step.name}.json"


def _epoch(log: Path) -> int:
    """The last epoch in nnU-Net's log."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            found = re.findall(rb"\bEpoch (\d+)", file.read())
    except OSError:
        return -1
    return int(found[-1]) if found else -1
