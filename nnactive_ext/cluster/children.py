"""What a worker does for a step: start its command as a child that ends with the worker, and wait for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnactive_ext.errors import ChildKilled
from nnactive_ext.files import last_lines
from nnactive_ext.members.training_process import KILLED, guarded, kill_group

_LOOK = 0.5
"""Seconds between two looks at whether the run is still there."""


@dataclass(frozen=True)
class Order:
    """A step as a worker gets it: plain values, because workers are other processes, maybe of other machines.

    ``arguments``: of the worker's own Python; ``environment``: what is added to the worker's; ``log``: the file for its output.
    """

    name: str
    arguments: tuple[str, ...]
    log: str
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the command of a step ended: its exit status, after so many seconds, and, where it is not 0, the last lines of its
    log. ``worker``: who carried it out, and ``where``: on which machine and GPU."""

    status: int
    seconds: float = 0.0
    end: str = ""
    worker: str = ""
    where: str = ""

    @property
    def killed(self) -> bool:
        """Whether others killed the command, or the training that it waited for."""
        return self.status in (KILLED, ChildKilled.status)


def carry_out_in_child(order: Order) -> Outcome:
    """Run the command of a step in a process group of its own; it is killed as a whole if this process is interrupted, or if
    the worker loses its run.

    A worker imports neither torch nor nnU-Net: CUDA is initialised in the child, a crash there does not take the worker with
    it, and all memory is given back.
    """
    command = [sys.executable, *order.arguments]
    log, begun = Path(order.log), time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        child = subprocess.Popen(
            command,
            env=guarded({**os.environ, **order.environment}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
        try:
            status = _wait(child)
        except BaseException:
            kill_group(child)
            raise
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Outcome(
        status=status,
        seconds=time.monotonic() - begun,
        end=last_lines(log) if status else "",
        worker=_name(),
        where=f"{socket.gethostname()}, GPU {gpu}" if gpu else socket.gethostname(),
    )


def _wait(child: subprocess.Popen) -> int:
    """The status of a child once it has ended."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(_LOOK)
        if _lost():
            raise ConnectionError("the run has ended, and its steps end with it")


def _lost() -> bool:
    """Whether the worker in whose thread this runs has lost its run: it closes then, and would wait for the thread first."""
    from distributed import Status, get_worker

    try:
        return get_worker().status in (Status.closing, Status.closed, Status.failed)
    except ValueError:  # in no worker
        return False


def _name() -> str:
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:
        return ""


def pause(dask_worker: Any, paused: bool) -> None:
    """Let a worker get no more steps, or get them again; distributed calls it in the worker itself."""
    from distributed import Status

    dask_worker.status = Status.paused if paused else Status.running
