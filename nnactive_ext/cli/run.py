"""nnactive_run: all cycles of an experiment, from wherever it stands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import CORES, add_device, add_experiment, add_lock, add_precision, add_quiet, prepare
from nnactive_ext.errors import NnActiveError

if TYPE_CHECKING:
    from nnactive_ext.cluster.carrying_out import Runner
    from nnactive_ext.cluster.steps import Step
    from nnactive_ext.experiment.experiment import Experiment


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_run",
        description="Runs the cycles of an experiment: each trains the ensemble, evaluates it on the test set, and chooses "
        "the next patches. A simulation runs to its end; a roll-out stops after each query until people have annotated. If "
        "the command was stopped or killed, run it again: it continues where it stopped.",
    )
    add_experiment(made)
    made.add_argument(
        "--watch",
        action="store_true",
        help="in a roll-out: wait until the plan's share of the open tasks is done, run the next cycle, and wait again, until "
        "all cycles are done (Ctrl-C ends it)",
    )
    made.add_argument(
        "-gpus",
        metavar="N|all|0,2",
        help="carry out so many steps at once on this machine, each on a GPU of its own (trainings of folds; evaluation and "
        "scoring are shared): a number of GPUs, all, or which (default: one step after another)",
    )
    made.add_argument(
        "-np",
        type=int,
        default=1,
        metavar="N",
        help="with -device cpu: carry out so many steps at once, each on its share of the cores (default: %(default)s)",
    )
    made.add_argument(
        "-workers",
        type=Path,
        metavar="FILE",
        help="let workers carry out the steps; nnactive_worker FILE starts one, on any machine with the same folders (FILE is "
        "written and holds the address and the keys)",
    )
    made.add_argument("-interface", default="", metavar="NAME", help="with -workers: network interface to listen on, e.g. ib0")
    made.add_argument(
        "-dashboard",
        type=int,
        metavar="PORT",
        help="with -gpus, -np or -workers: show what runs at http://127.0.0.1:PORT (default: off)",
    )
    made.add_argument(
        "--steps",
        nargs="?",
        const="commands",
        choices=("commands", "slurm"),
        help="print the open steps of the current cycle as commands, which other machines with the same folders may carry out, "
        "and exit; slurm: print a script that submits them as array jobs",
    )
    made.add_argument(
        "-parts",
        type=int,
        default=4,
        metavar="N",
        help="with --steps: number of parts into which evaluation and scoring are split (default: %(default)s)",
    )
    made.add_argument("-time", default="", metavar="LIMIT", help="with --steps slurm: limit of each job, e.g. 8:00:00")
    made.add_argument("-partition", default="", metavar="NAME", help="with --steps slurm: partition of the jobs")
    made.add_argument(
        "-cpus",
        type=int,
        default=CORES,
        metavar="N",
        help="with --steps slurm: cores of each job; 0: SLURM's default (default: %(default)s)",
    )
    made.add_argument("-step", metavar="NAME", help="carry out one step, as --steps prints them, and exit")
    made.add_argument("-cycle", type=int, metavar="N", help="with -step: the cycle of the step (default: the current one)")
    made.add_argument("--guarded", action="store_true", help=argparse.SUPPRESS)  # ends with the process that started it
    add_device(made)
    add_precision(made)
    add_quiet(made)
    add_lock(made)
    return made


@contextmanager
def _runner(options: argparse.Namespace, experiment: Experiment) -> Iterator[Runner | None]:
    """Who carries out the steps; None for this process alone."""
    from nnactive_ext.cluster.gpus import chosen_gpus

    if options.np < 1:
        raise NnActiveError(f"-np {options.np}: at least one process is needed.")
    if options.gpus and (options.device != "cuda" or options.np > 1):
        raise NnActiveError("-gpus: each step runs on a GPU of its own. Leave out -device and -np.")
    if options.np > 1 and options.device != "cpu":
        raise NnActiveError(f"-np {options.np}: only steps on the CPU share a device. Use -device cpu, or -gpus.")
    if options.workers and (options.gpus or options.np > 1):
        raise NnActiveError("-workers: nnactive_worker says which GPUs are used. Leave out -gpus and -np.")
    if not options.gpus and options.np == 1 and not options.workers:
        yield None
        return
    from nnactive_ext.cluster.dask_runner import (
        OnWorkers,
        anywhere,
        cpu_environments,
        folders_of_nnunet,
        gpu_environments,
        here,
    )
    from nnactive_ext.experiment.commands import worker

    def arguments(step: Step) -> list[str]:
        words = ["-m", "nnactive_ext.cli.run", "-d", str(experiment.number), "-step", step.name, "-device", options.device]
        words += ["-precision", options.precision, "--disable_progress_bar", "--guarded"]
        return words + (["-lock", options.lock] if options.lock else [])

    start = ""
    if options.workers:
        cluster, workers = anywhere(options.workers, experiment, options.interface, options.dashboard), 1
        on_cpu = ("-device", "cpu") if options.device == "cpu" else ()
        start = f"To start one, on any machine with the same folders: {worker(options.workers.absolute(), *on_cpu)}"
    else:
        environments = gpu_environments(chosen_gpus(options.gpus)) if options.gpus else cpu_environments(options.np)
        cluster, workers = here(environments, options.dashboard), len(environments)
    with cluster as client:
        if start:
            print(f"Workers carry out the steps. {start}", flush=True)
        if options.dashboard is not None:
            print(f"What runs: {client.dashboard_link}", flush=True)
        yield OnWorkers(client, workers, arguments, folders_of_nnunet(), partial(print, flush=True), start)


def _print_steps(options: argparse.Namespace) -> None:
    from nnactive_ext.cluster.scripts import as_commands, for_slurm
    from nnactive_ext.cluster.steps import open_steps
    from nnactive_ext.labelling.opening import open_experiment

    experiment = open_experiment(options.d)
    steps = open_steps(experiment, options.parts)
    device = "cpu" if experiment.plan.preset == "cpu" else options.device
    slurm = options.steps == "slurm"
    limits = (options.time, options.partition, options.cpus)
    print(for_slurm(experiment, steps, device, *limits) if slurm else as_commands(experiment, steps, device))


def _carry_out(options: argparse.Namespace) -> None:
    """One step; the last one of a cycle merges what the others left, and needs no device if they left everything."""
    from nnactive_ext.cluster.carrying_out import carry_out
    from nnactive_ext.cluster.steps import FINISH, Step
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.cycles import finish
    from nnactive_ext.members.tools import Tools
    from nnactive_ext.nnunet.environment import check_torchvision

    step, experiment, progress = Step.named(options.step), open_experiment(options.d), not options.disable_progress_bar
    if step.is_over(experiment, options.cycle):
        print(f"{step.name}: done; {experiment.name} is in cycle {experiment.state['cycle']}")
        return
    tools = Tools.of_nnunet(options.device, lambda: prepare(options.device))
    if step.kind == FINISH:
        finish(experiment, tools, progress, accumulators=options.precision)
    else:
        check_torchvision()
        carry_out(experiment, step, tools, options.precision, progress)
    print(f"{step.name}: done")


@command(parser)
def main(options: argparse.Namespace) -> None:
    if options.guarded:
        from nnactive_ext.members.training_process import end_with_parent

        end_with_parent()
    if options.steps:
        return _print_steps(options)
    if options.step:
        return _carry_out(options)
    from nnactive_ext.nnunet.environment import check_torchvision

    elsewhere = options.workers and options.device != "cpu"  # this machine needs no GPU while others compute
    if not elsewhere:
        prepare(options.device)  # before anything else imports torch
    check_torchvision()

    from nnactive_ext.experiment.result import read_results
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.cycles import run_cycles
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.loop.tables import final_report
    from nnactive_ext.loop.watching import ended_by_signals, watch
    from nnactive_ext.members.tools import Tools

    tools = Tools.of_nnunet(options.device, *([partial(prepare, options.device)] if elsewhere else []))
    experiment = open_experiment(options.d)

    def run() -> None:
        with experiment.running():
            with experiment.lock(wait=True):
                opened = open_experiment(options.d, locked=True)
            run_cycles(
                opened,
                tools,
                progress=not options.disable_progress_bar,
                accumulators=options.precision,
                runner=runner,
            )

    try:
        with ended_by_signals(), _runner(options, experiment) as runner:
            if options.watch:
                from nnactive_ext.report.worth import worth

                watch(lambda: open_experiment(options.d), run, worth, say=partial(print, flush=True))
            else:
                run()
    finally:
        if read_results(experiment.results):
            print(f"\n{final_report(experiment.anew())}")
    print(f"\n{next_step(experiment.anew())}")


if __name__ == "__main__":
    main()
