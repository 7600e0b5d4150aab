"""Carries out steps side by side on the workers of a dask.distributed cluster; all state stays in the experiment's files."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.cluster.children import Order, Outcome, carry_out_in_child
from nnactive_ext.cluster.meeting import Meeting
from nnactive_ext.cluster.steps import GPU, Step
from nnactive_ext.cluster.under_way import running
from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.words import count, listed

if TYPE_CHECKING:
    from distributed import Client, Future

SHARES = 4
"""Parts per worker into which evaluation and scoring are split: cases differ in size, and opening members costs seconds."""
SLOT = "slot"
"""The resource of which a worker has one, and a step needs one."""
PATIENCE = 600.0
"""Seconds without any worker after which that is said, again and again."""
_FAILURES = 3
"""Workers that may die while they carry out a step, before it counts as failed."""


@dataclass(frozen=True)
class OnWorkers:
    """``workers``: how many there are or are waited for; ``arguments``: of Python, for a step; ``environment``: what is added
    to that of a worker; ``how_to_start``: what to say where there are no workers."""

    client: Client
    workers: int
    arguments: Callable[[Step], Sequence[str]]
    environment: Mapping[str, str]
    say: Callable[[str], None] = print
    how_to_start: str = ""

    @property
    def parts(self) -> int:
        return SHARES * max(self.workers, len(self.client.scheduler_info(n_workers=-1)["workers"]))

    def run(self, experiment: Experiment, steps: Sequence[Step], begins: Callable[[Step], None]) -> None:
        left = {self._submit(experiment, step): step for step in steps}
        waiting, failed, seen = _Waiting(self), {}, set[str]()
        try:
            while left:
                ended = [future for future in left if future.done()]
                short = {left[future].name for future in ended}  # they may have begun and ended since the last look
                for step in _begun(experiment, left.values(), seen, short):
                    begins(step)
                for future in ended:
                    step = left.pop(future)
                    if text := _failure(future, step, experiment):
                        failed[step.name] = text
                if not ended:
                    waiting.look()
                    time.sleep(0.2)
        except BaseException:
            self.client.cancel(list(left), force=True)
            raise
        if failed:
            remedy = "Remove the cause and run the same command again; finished steps are not repeated."
            raise NnActiveError("\n".join([*failed.values(), f"{listed(list(failed))} failed. {remedy}"]))

    def _submit(self, experiment: Experiment, step: Step) -> Future:
        order = Order(step.name, tuple(self.arguments(step)), str(step.log(experiment)), dict(self.environment))
        resources = {SLOT: 1} if step.needs == GPU else {}
        key = f"{step.name}-{uuid.uuid4().hex}"
        return self.client.submit(carry_out_in_child, order, key=key, pure=False, resources=resources)


class _Waiting:
    """Says now and then that there is no worker."""

    def __init__(self, runner: OnWorkers):
        self._runner, self._since = runner, time.monotonic()

    def look(self) -> None:
        if self._runner.client.scheduler_info(n_workers=1)["workers"]:
            self._since = time.monotonic()
        elif time.monotonic() - self._since >= PATIENCE:
            self._runner.say(f"There has been no worker for {PATIENCE / 60:g} minutes. {self._runner.how_to_start}".strip())
            self._since = time.monotonic()


def _begun(experiment: Experiment, steps: Any, seen: set[str], ended: set[str]) -> Iterator[Step]:
    """Steps that have begun since the last look, those that have ``ended`` among them."""
    names = ({one.step for one in running(experiment)} | ended) - seen
    for step in steps:
        if step.name in names:
            seen.add(step.name)
            yield step


def _failure(future: Future, step: Step, experiment: Experiment) -> str:
    """Why a step that has ended is not done; empty if it is."""
    if future.status == "finished":
        outcome: Outcome = future.result()
        log = step.log(experiment)
        return f"{step.name} failed with status {outcome.status}. The end of {log}:\n{outcome.end}" if outcome.status else ""
    error = future.exception() if future.status == "error" else future.status
    return f"{step.name}: {count(_FAILURES, 'worker')} died while they carried it out ({error}). See {step.log(experiment)}."


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
                "death_timeout": 60,
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
        interface: network interface to listen on, such as ib0; empty: the one by which this host's name is known.
        dashboard: port on 127.0.0.1, or None.

    Raises:
        NnActiveError: the extra ``cluster`` is not installed.
    """
    distributed = import_distributed()
    from distributed.security import Security

    security = Security.temporary()
    options: dict[str, Any] = {"port": 0, "allowed_failures": 10, "protocol": "tls://", "security": security}
    options |= {"interface": interface} if interface else {"host": socket.gethostbyname(socket.gethostname())}
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
