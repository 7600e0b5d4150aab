"""The workers of a run: who is there, who gets steps, and what to say while there are none."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nnactive_ext.cluster.blame import QUICK, Blame
from nnactive_ext.cluster.children import Order, carry_out_in_child, pause
from nnactive_ext.cluster.proof import Proof
from nnactive_ext.cluster.steps import GPU
from nnactive_ext.experiment.experiment import Experiment

if TYPE_CHECKING:
    from distributed import Client, Future

SLOT = "slot"
"""The resource of which a worker has one, and a step needs one."""


@dataclass(frozen=True)
class Limits:
    """Seconds: without any worker, after which that is said, again and again; for the files of a finished step to become
    visible; and below which a failure may be the worker's."""

    patience: float = 600.0
    visible: float = 60.0
    quick: float = QUICK


LIMITS = Limits()


@dataclass(frozen=True)
class Worker:
    """``name``: stays when the worker is started again. ``machine``: its address without the port."""

    name: str
    address: str
    machine: str
    running: bool


class Crew:
    """All workers that offer slots to a run, from its first batch of steps to its last.

    Args:
        client: of the cluster.
        say: gets what happens.
        how_to_start: what to say where there are no workers.
        limits: see :class:`Limits`.
    """

    def __init__(self, client: Client, say: Callable[[str], None], how_to_start: str, limits: Limits):
        self._client, self.say, self._how_to_start, self.limits = client, say, how_to_start, limits
        self.blame = Blame(self._pause, say, limits.quick)
        self._proof, self._since = Proof(client), time.monotonic()
        self._workers: list[Worker] = []

    def look(self) -> list[Worker]:
        """The workers that are there now. One that was paused and has been started again stays paused."""
        found: Mapping[str, Mapping] = self._client.scheduler_info(n_workers=-1)["workers"]
        self._workers = [
            Worker(str(one["name"]), address, str(one["host"]), one["status"] == "running")
            for address, one in found.items()
            if SLOT in one["resources"]
        ]
        for worker in self._workers:
            if worker.running and worker.name in self.blame.paused:
                self._set(worker, True)
        return self._workers

    def free(self, experiment: Experiment) -> int:
        """How many steps can be carried out at once now, on machines where the lock of the run is proved."""
        workers = [worker for worker in self.look() if worker.name not in self.blame.paused]
        self._proof.of(experiment, {worker.address: worker.machine for worker in workers})
        if self._workers:
            self._since = time.monotonic()
        elif time.monotonic() - self._since >= self.limits.patience:
            minutes = f"{self.limits.patience / 60:g} minutes"
            self.say(f"There has been no worker for {minutes}. {self._how_to_start}".strip())
            self._since = time.monotonic()
        return sum(worker.running for worker in workers)

    @property
    def all_paused(self) -> bool:
        """Whether there are workers, and each of them failed too often."""
        return bool(self._workers) and all(worker.name in self.blame.paused for worker in self._workers)

    @property
    def size(self) -> int:
        """How many workers there were at the last look."""
        return len(self._workers)

    def submit(self, order: Order, needs: str) -> Future:
        """Let a worker carry out a step."""
        resources = {SLOT: 1} if needs == GPU else {}
        key = f"{order.name}-{secrets.token_hex(16)}"
        return self._client.submit(carry_out_in_child, order, key=key, pure=False, resources=resources)

    def cancel(self, futures: list[Future]) -> None:
        """Let nobody carry out these steps any more."""
        self._client.cancel(futures, force=True)

    @property
    def failures(self) -> int:
        """How often a worker may die while it carries out a step."""
        cluster: Any = self._client.cluster  # of this process
        return int(cluster.scheduler.allowed_failures)

    def _pause(self, name: str, paused: bool) -> None:
        for worker in self._workers:
            if worker.name == name:
                self._set(worker, paused)

    def _set(self, worker: Worker, paused: bool) -> None:
        with suppress(OSError, KeyError):  # it has just gone
            self._client.run(pause, paused=paused, workers=[worker.address])
