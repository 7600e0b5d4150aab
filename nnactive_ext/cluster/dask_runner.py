"""Carries out steps side by side on the workers of a dask.distributed cluster; all state stays in the experiment's files."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.cluster.batch import Batch
from nnactive_ext.cluster.children import Order
from nnactive_ext.cluster.crew import LIMITS, SLOT, Crew, Limits
from nnactive_ext.cluster.meeting import Meeting
from nnactive_ext.cluster.tasks import Task
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.locks import LockHeld, holder, run_file

if TYPE_CHECKING:
    from distributed import Client

SHARES = 4
"""Parts per worker into which evaluation and scoring are split: cases differ in size, and opening members costs seconds."""
_FAILURES, _FAILURES_ELSEWHERE = 3, 10
"""How often a worker may die while it carries out a step; elsewhere also because its job is preempted."""


@dataclass(frozen=True)
class OnWorkers:
    """Carries out steps on the workers of a cluster.

    ``workers``: how many there are or are waited for; ``arguments``: of Python, for a step; ``environment``: what is added
    to that of a worker; ``how_to_start``: what to say where there are no workers; ``is_visible``: whether the
    files of a finished step can be seen from here; ``limits``: see :class:`nnactive_ext.cluster.crew.Limits`.
    """

    client: Client
    workers: int
    arguments: Callable[[Task], Sequence[str]]
    environment: Mapping[str, str]
    say: Callable[[str], None] = print
    how_to_start: str = ""
    is_visible: Callable[[Any, Any], bool] = lambda step, place: True
    limits: Limits = LIMITS

    @cached_property
    def _crew(self) -> Crew:
        return Crew(self.client, self.say, self.how_to_start, self.limits)

    @property
    def parts(self) -> int:
        return SHARES * max(self.workers, len(self._crew.look()))

    def run(self, experiment: Experiment, steps: Sequence[Task], begins: Callable[[Any], None]) -> None:
        def order(step: Task) -> Order:
            return Order(step.name, tuple(self.arguments(step)), str(step.log(experiment)), dict(self.environment))

        Batch(experiment, steps, begins, self._crew, order, self.is_visible).run()


@contextmanager
def here(environments: Sequence[Mapping[str, str]], dashboard: int | None = None) -> Iterator[Client]:
    """A cluster on this machine, one worker for each of the ``environments``; it ends with the block, and its steps with it.

    Raises:
        NnActiveError: the extra ``cluster`` is not installed.
    """
    distributed = import_distributed()
    specification = {
        number: {
            "cls": distributed.Nanny,
            "options": {
                "nthreads": 1,
                "memory_limit": 0,
                "resources": {SLOT: 1},
                "env": {**environment, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"},
                "host": "127.0.0.1",
                "dashboard": False,
                "death_timeout": 600,  # of a worker that does not start; it ends with this process anyway
                "silence_logs": 50,  # it writes to the terminal of the run
            },
        }
        for number, environment in enumerate(environments)
    }
    options: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "allowed_failures": _FAILURES}
    options |= {"dashboard": dashboard is not None, "dashboard_address": f"127.0.0.1:{dashboard or 0}"}
    scheduler = {"cls": distributed.Scheduler, "options": options}
    with (
        distributed.SpecCluster(workers=specification, scheduler=scheduler, silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextmanager
def anywhere(file: Path, experiment: Experiment, interface: str = "", dashboard: int | None = None) -> Iterator[Client]:
    """A cluster whose workers are started by anybody who can read ``file``, on any machine with the same folders.

    Args:
        file: where the address and the keys are written; it is removed at the end.
        experiment: that is run.
        interface: network interface to listen on, such as ib0; empty: see :func:`address`.
        dashboard: port on 127.0.0.1, or None.

    Raises:
        NnActiveError: the extra ``cluster`` is not installed, another run is under way, or ``file`` is something else.
    """
    if who := holder(run_file(experiment.number)):  # whose workers look into the file
        raise LockHeld(f"{experiment.name}: {who} runs this experiment. Wait for it to end, or stop it.")
    distributed = import_distributed()
    from distributed.security import Security

    security = Security.temporary()
    options: dict[str, Any] = {"port": 0, "allowed_failures": _FAILURES_ELSEWHERE, "protocol": "tls://", "security": security}
    options |= {"interface": interface} if interface else {"host": address()}
    options |= {"dashboard": dashboard is not None, "dashboard_address": f"127.0.0.1:{dashboard or 0}"}
    scheduler = {"cls": distributed.Scheduler, "options": options}
    token = experiment.results / f".workers_{uuid.uuid4().hex[:8]}"
    with (
        distributed.SpecCluster(workers={}, scheduler=scheduler, security=security, silence_logs=50) as cluster,
        distributed.Client(cluster, security=security) as client,
    ):
        keys = (security.tls_client_cert, security.tls_client_key)
        meeting = Meeting.make(cluster.scheduler_address, *keys, folders_of_nnunet(), token)
        meeting.write(file)
        try:
            yield client
        finally:
            meeting.end(file)


def address() -> str:
    """The address of this host for workers of other hosts: that of its name or, where the name is unknown or leads back to this
    host (127.0.1.1 on Debian), that of its route to other networks."""
    from distributed.utils import get_ip

    try:
        named = socket.gethostbyname(socket.gethostname())
    except OSError:
        named = ""
    return named if named and not ip_address(named).is_loopback else str(get_ip())


def import_distributed() -> Any:
    """The package, set up before anything starts a worker.

    Raises:
        NnActiveError: it is not installed.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise NnActiveError(
            "Several steps at once need the package distributed. Install it: pip install 'nnactive-ext[cluster]'. Without it, "
            "steps are carried out one after another, or elsewhere by hand: --steps prints them."
        ) from None
    # A step may have a pool of processes of its own, which the children of a daemon may not.
    dask.config.set({"distributed.worker.daemon": False, "distributed.comm.timeouts.connect": "60s"})
    return distributed


def folders_of_nnunet() -> dict[str, str]:
    """The environment variables that name nnU-Net's folders, for workers that were started in another shell."""
    return {name: os.environ[name] for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}


def cpu_environments(number: int) -> list[dict[str, str]]:
    """For workers that share this machine's cores."""
    from nnactive_ext.engine.threads import cores

    threads = max(1, cores() // number)
    return [{"OMP_NUM_THREADS": str(threads)} for _ in range(number)]


def gpu_environments(gpus: Sequence[str]) -> list[dict[str, str]]:
    """For workers that have a GPU each, and share this machine's cores."""
    from nnactive_ext.engine.threads import cores

    share = max(1, cores() // len(gpus))
    # nnU-Net's default is 12 processes that augment, for one training on a machine.
    augmenting = os.environ.get("nnUNet_n_proc_DA", str(min(12, max(1, share - 1))))
    return [{"CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": str(share), "nnUNet_n_proc_DA": augmenting} for gpu in gpus]
