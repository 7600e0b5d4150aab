"""A worker: offers this machine's GPUs, or a share of its cores, to a run that may be on another machine."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnactive_ext.cluster.crew import SLOT
from nnactive_ext.cluster.dask_runner import import_distributed
from nnactive_ext.cluster.meeting import Meeting
from nnactive_ext.errors import NnActiveError

DEATH = 60
"""Seconds without the run after which a worker, and the step that it carries out, ends."""


def wait_for(file: Path, seconds: float, say: Callable[[str], None], pause: float = 2.0) -> Meeting:
    """The meeting, once a run has written it that can be reached: one that was killed leaves its file behind.

    Raises:
        NnActiveError: there was none within so many seconds, or the file is something else.
    """
    end, told = time.monotonic() + seconds, ""
    while True:
        meeting = Meeting.read(file) if file.is_file() else None
        if meeting and _is_there(meeting.address):
            return meeting
        if meeting:
            found = (
                f"The run on {meeting.host} that wrote {file} cannot be reached at {meeting.address}; it may have been killed."
            )
        else:
            found = f"{file}: no such file."
        if time.monotonic() >= end:
            raise NnActiveError(f"{found} {seconds / 60:g} minutes have passed. Start the run, with -workers {file}.")
        if found != told:
            say(f"{found} Waiting until a run is started with -workers {file}.")
            told = found
        time.sleep(pause)


def _is_there(address: str) -> bool:
    """Whether anybody listens at an address, such as ``tls://10.0.0.7:4711``."""
    host, _, port = address.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError):
        return False
    return True


def work(meeting: Meeting, environments: Sequence[Mapping[str, str]], lifetime: float | None = None) -> None:
    """Carry out steps until the run ends.

    Args:
        meeting: what the run wrote.
        environments: one worker for each; what is added to the environment of its steps.
        lifetime: seconds after which the workers end, or None.

    Raises:
        NnActiveError: this worker does not fit the run, or the run cannot be reached.
    """
    os.environ.update(meeting.folders)
    meeting.check()
    asyncio.run(_work(meeting, environments, lifetime))


async def _work(meeting: Meeting, environments: Sequence[Mapping[str, str]], lifetime: float | None) -> None:
    distributed = import_distributed()
    name = f"{socket.gethostname()}-{os.getpid()}"
    options = {
        "nthreads": 1,
        "memory_limit": 0,
        "resources": {SLOT: 1},
        "security": meeting.security(),
        "death_timeout": DEATH,
        "dashboard": False,
    }
    nannies = [
        distributed.Nanny(
            meeting.address,
            name=f"{name}-{number}",
            env={**environment, **meeting.folders, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"},
            **options,
        )
        for number, environment in enumerate(environments)
    ]

    def end() -> None:
        for nanny in nannies:
            closing.append(asyncio.ensure_future(nanny.close(timeout=5)))

    closing: list[asyncio.Future[Any]] = []
    loop = asyncio.get_running_loop()
    if lifetime:  # Dask's own gives the step to another worker while it goes on here
        loop.call_later(lifetime, end)
    for number in (signal.SIGTERM, signal.SIGINT):  # of a scheduler that takes the node back, and Ctrl-C
        with suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, end)
    try:
        await asyncio.gather(*nannies)
    except (OSError, TimeoutError) as error:
        raise NnActiveError(f"{meeting.address}: the run on {meeting.host} cannot be reached ({error}).") from None
    await asyncio.gather(*(nanny.finished() for nanny in nannies))
