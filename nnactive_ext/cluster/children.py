"""What a worker does for a step: start its command as a child that ends with the worker, and wait for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnactive_ext.files import last_lines
from nnactive_ext.members.training_process import kill_group


@dataclass(frozen=True)
class Order:
    """A step as a worker gets it: plain values, because workers are other processes, maybe of other machines.

    ``arguments``: of the worker's own Python; ``environment``: what is added to the worker's; ``log``: the file for its output.
    """

    name: str
    arguments: tuple[str, ...]
    log: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """The exit status of a step's command, and, where it is not 0, the last lines of its log."""

    status: int
    end: str = ""


def carry_out_in_child(order: Order) -> Outcome:
    """Run the command of a step in a process group of its own; it is killed as a whole if this process is interrupted.

    A worker imports neither torch nor nnU-Net: CUDA is initialised in the child, a crash there does not take the worker with
    it, and all memory is given back.
    """
    command = [sys.executable, *order.arguments]
    log = Path(order.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        child = subprocess.Popen(
            command,
            env={**os.environ, **order.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
        try:
            status = child.wait()
        except BaseException:
            kill_group(child)
            raise
    return Outcome(status, last_lines(log) if status else "")
