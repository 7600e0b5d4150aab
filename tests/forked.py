"""Processes forked from a server that has imported nnU-Net, so that a test pays that import once."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from nnactive_ext.errors import NOTHING_TAKEN

# The server imports once and forks every process from there, before any thread exists that a fork would lose.
PROCESSES = multiprocessing.get_context("forkserver") if os.name != "nt" else multiprocessing.get_context()
# There is one server per test process, so that this list is of all test files that use it.
PROCESSES.set_forkserver_preload(
    [
        "attack",
        "fake_members",
        "nnactive_ext.loop.cycles",
        "nnactive_ext.labelling.closing",
        "nnactive_ext.exchange.export",
        "nnactive_ext.exchange.marking",
        "nnactive_ext.exchange.receive",
        "nnactive_ext.cli.annotate",
        "nnactive_ext.loop.status",
        "nnunetv2.imageio.reader_writer_registry",
        "nnunetv2.preprocessing.cropping.cropping",
        "nnunetv2.training.dataloading.nnunet_dataset",
        "nnunetv2.utilities.plans_handling.plans_handler",
        "killed_changes",
        "nnactive_ext.cli.change",
        "nnactive_ext.cli.run",
        "fake_run",
        "test_answers_during_runs",
        "test_cycles",
        "test_killed",
        "test_locks",
        "test_rollout_killed",
        "test_serve_killed",
        "warm_kernels",
    ]
)


def died(target: Callable, folders: SimpleNamespace, plans: Path, words: list[str], die_at: int, may_fail: bool) -> int:
    """Call ``target(environment, plans, words, die_at, count)`` in a process that is killed at the ``die_at``-th moment.

    The moments there were, 0 if it was killed. With ``may_fail``, an error of the command is an end as well, and so is an
    import of which nothing was taken.
    """
    environment = {f"nnUNet_{name}": str(folder) for name, folder in vars(folders).items()}
    count = PROCESSES.Value("i", 0)
    process = PROCESSES.Process(target=target, args=(environment, str(plans), words, die_at, count))
    process.start()
    process.join()
    expected = {-signal.SIGKILL} if die_at and not count.value else {0, 1, NOTHING_TAKEN} if may_fail else {0}
    assert process.exitcode in expected, f"{words} at {die_at} ended with {process.exitcode}"
    return count.value
