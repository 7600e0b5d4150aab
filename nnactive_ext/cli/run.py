"""nnactive_run: all cycles of an experiment, from wherever it stands."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import (
    CORES,
    add_device,
    add_experiment,
    add_lock,
    add_precision,
    add_quiet,
    add_report_ood,
    prepare,
)
from nnactive_ext.cli.workers import add_workers, guard, runner_of

if TYPE_CHECKING:
    from nnactive_ext.cluster.steps import Step


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
    add_workers(
        made,
        "steps (trainings of folds; evaluation and scoring are split into parts)",
        "with -device cpu: carry out so many steps at once, each on its share of the cores",
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
    add_device(made)
    add_precision(made)
    add_report_ood(made)
    add_quiet(made)
    add_lock(made)
    return made


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
    guard(options)
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

    def words(step: Step) -> list[object]:
        return ["-d", experiment.number, "-step", step.name]

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
                report_ood=options.report_ood,
            )

    try:
        with ended_by_signals(), runner_of("run", options, experiment, words) as runner:
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
