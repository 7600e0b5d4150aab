"""The options of commands whose steps can be carried out side by side, and the runner that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.cli.options import check_parts
from nnactive_ext.errors import NnActiveError

if TYPE_CHECKING:
    from nnactive_ext.cluster.dask_runner import OnWorkers

INSTALL = "pip install 'nnactive-ext[cluster]'"


def add_workers(parser: argparse.ArgumentParser, steps: str, np: str) -> None:
    """``steps``: what is carried out at once; ``np``: the help of ``-np``."""
    parser.add_argument(
        "-gpus",
        metavar="N|all|0,2",
        help=f"carry out several {steps} at once on this machine, each on a GPU of its own: a number of GPUs, all, or which "
        "(default: one after another)",
    )
    parser.add_argument("-np", type=int, default=1, metavar="N", help=f"{np} (default: %(default)s)")
    parser.add_argument(
        "-workers",
        type=Path,
        metavar="FILE",
        help=f"let workers carry out the {steps}; nnactive_worker FILE starts one, on any machine with the same folders (FILE "
        "is written and holds the address and the keys)",
    )
    parser.add_argument(
        "-interface", default="", metavar="NAME", help="with -workers: network interface to listen on, e.g. ib0"
    )
    parser.add_argument(
        "-dashboard",
        type=int,
        metavar="PORT",
        help="with workers on this machine or elsewhere: show what runs at http://127.0.0.1:PORT (default: off)",
    )
    parser.add_argument("--guarded", action="store_true", help=argparse.SUPPRESS)  # ends with the process that started it


def guard(options: argparse.Namespace) -> None:
    """Let a process that a worker started end with the worker."""
    if options.guarded:
        from nnactive_ext.members.training_process import end_with_parent

        end_with_parent()


def check_workers(options: argparse.Namespace) -> None:
    """Options that contradict each other are an error."""
    if options.np < 1:
        raise NnActiveError(f"-np {options.np}: at least one process is needed.")
    if options.gpus is not None and (options.device != "cuda" or options.np > 1):
        raise NnActiveError("-gpus: each step runs on a GPU of its own. Leave out -device and -np.")
    if options.workers and (options.gpus is not None or options.np > 1):
        raise NnActiveError("-workers: nnactive_worker says which GPUs are used. Leave out -gpus and -np.")
    if options.dashboard is not None and not find_spec("bokeh"):
        raise NnActiveError(f"-dashboard: it needs the package bokeh. Install it: {INSTALL}")
    if options.interface and not options.workers:
        raise NnActiveError("-interface: only workers of other machines need one. Give -workers FILE, too.")


def check_shares(options: argparse.Namespace) -> None:
    """The same, for a command whose parts either workers share or people type one by one."""
    check_parts(options)
    check_workers(options)
    if options.num_parts > 1 and (options.gpus is not None or options.workers or options.np > 1):
        raise NnActiveError(
            "-num_parts: workers share the parts. Leave out -num_parts and -part_id, or -gpus, -workers and -np."
        )


def process(program: str, options: argparse.Namespace, words: Sequence[object]) -> list[str]:
    """The arguments of Python for a step that ``nnactive_PROGRAM`` carries out; it ends with the worker that starts it."""
    how = ["-device", options.device, "--disable_progress_bar", "--guarded"]
    how += ["-precision", options.precision] if "precision" in options else []
    how += ["-lock", options.lock] if options.lock else []
    return ["-m", f"nnactive_ext.cli.{program}", *map(str, words), *how]


@contextmanager
def runner_of(
    program: str, options: argparse.Namespace, place: Any, words: Callable[[Any], Sequence[object]]
) -> Iterator[OnWorkers | None]:
    """Start, or let others start, the workers that the options ask for; they end with the block.

    Args:
        program: what carries out a step: ``nnactive_PROGRAM``.
        options: of a parser with :func:`add_workers`.
        place: the experiment, or the :class:`nnactive_ext.bench.on_workers.Place` of a benchmark.
        words: step -> the arguments of the program, but for those that say how.

    Yields:
        The runner; None where this process carries out all steps itself.

    Raises:
        NnActiveError: the options contradict each other, this machine has fewer GPUs, or the extra ``cluster`` is missing.
    """
    check_workers(options)
    if options.gpus is None and options.np == 1 and not options.workers:
        if options.dashboard is not None:
            raise NnActiveError("-dashboard: it shows workers. Give -gpus or -workers, too, or -device cpu and -np.")
        print_unused(options)
        yield None
        return
    if options.np > 1 and options.device != "cpu":
        raise NnActiveError(f"-np {options.np}: only steps on the CPU share a device. Use -device cpu, or -gpus.")
    from nnactive_ext.cluster.dask_runner import (
        OnWorkers,
        anywhere,
        cpu_environments,
        folders_of_nnunet,
        gpu_environments,
        here,
    )
    from nnactive_ext.cluster.gpus import chosen_gpus
    from nnactive_ext.experiment.commands import worker

    start = ""
    if options.workers:
        cluster, number = anywhere(options.workers, place, options.interface, options.dashboard), 1
        on_cpu = ("-device", "cpu") if options.device == "cpu" else ()
        start = f"To start one, on any machine with the same folders: {worker(options.workers.absolute(), *on_cpu)}"
    else:
        by_gpu = options.gpus is not None
        environments = gpu_environments(chosen_gpus(options.gpus)) if by_gpu else cpu_environments(options.np)
        cluster, number = here(environments, options.dashboard), len(environments)
    with cluster as client:
        if start:
            print(f"Workers carry out the steps. {start}", flush=True)
        if options.dashboard is not None:
            print(f"What runs: {client.dashboard_link}", flush=True)

        def arguments(step: Any) -> list[str]:
            return process(program, options, words(step))

        say = partial(print, flush=True)
        yield OnWorkers(client, number, arguments, folders_of_nnunet(), say, start, lambda one, place: one.is_visible(place))


def print_unused(options: argparse.Namespace) -> None:
    """Say how to use the other GPUs of this machine, if there are any."""
    if options.device != "cuda":
        return
    from nnactive_ext.cluster.gpus import gpus_here

    if (number := len(gpus_here())) > 1:
        first = "" if find_spec("distributed") else f", after {INSTALL}"
        print(f"One of the {number} GPUs of this machine is used. To use all: add -gpus all{first}.", flush=True)
