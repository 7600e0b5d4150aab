"""Proves that a lock which the run holds keeps the processes of other machines out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.lock_settings import VARIABLE, kind, locking
from nnactive_ext.experiment.locks import LockHeld, acquire, is_held_here, run_file

if TYPE_CHECKING:
    from distributed import Client


class Proof:
    """Lets one worker of each machine try to take the lock of the run, which must fail."""

    def __init__(self, client: Client):
        self._client, self._proved = client, set[str]()

    def of(self, experiment: Experiment, workers: Mapping[str, str]) -> None:
        """Prove the lock for machines that have not been seen yet, if this thread holds it.

        Args:
            experiment: that is run.
            workers: the address of each worker, and its machine.

        Raises:
            NnActiveError: a worker could take the lock, or cannot reach its file.
        """
        file = run_file(experiment.number)
        if not is_held_here(file):
            return
        for address, machine in workers.items():
            if machine in self._proved:
                continue
            try:
                taken = self._client.run(can_take, str(file), kind(), workers=[address])[address]
            except (OSError, KeyError):  # it is gone; the next one of this machine is asked
                continue
            if taken:
                raise NnActiveError(
                    f"{file}: the worker on {machine} could take the lock that this run holds. This file system does not lock "
                    "between machines, so never start two commands for one experiment at the same time. Run the same command "
                    f"again with -lock file (or {VARIABLE}=file in the environment, for all commands and workers): then locks "
                    "are files that their owners renew."
                )
            self._proved.add(machine)


def can_take(file: str, kind_of_lock: str) -> bool:
    """Whether this process can take a lock that another one holds; distributed calls it in a worker."""
    try:
        with locking("nnactive_worker", kind_of_lock):
            acquire(Path(file), patience=0).release()
    except LockHeld:
        return False
    return True
