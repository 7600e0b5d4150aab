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

from nnactive_ext.cluster.dask_runner import SLOT, import_distributed
from nnactive_ext.cluster.meeting import Meeting
from nnactive_ext.errors import NnActiveError

DEATH = 60
"""Seconds without the run after which a worker, and the step that it carries out, ends."""


def wait_for(file: Path, seconds: float, say: Callable[[str], None], pause: float = 2.0) -> Meeting:
    """The meeting, once the run has written it.

    Raises:
        NnActiveError: it was not written within so many seconds.
    """
    end, told = time.monotonic() + seconds, False
    while not file.is_file():
        if time.monotonic() >= end:
            raise NnActiveError(f"{file}: no such file after {seconds / 60:g} minutes. Start the run, with -workers {file}.")
        if not told:
            say(f"Waiting for {file}, which a run that is given -workers {file} writes.")
            told = True
        time.sleep(pause)
    return Meeting.read(file)


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
