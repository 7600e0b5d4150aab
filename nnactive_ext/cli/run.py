"""nnactive_run: all cycles of an experiment, from wherever it stands."""

from __future__ import annotations

import argparse
from functools import partial

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_device, add_experiment, add_lock, add_precision, add_quiet, prepare


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
    add_device(made)
    add_precision(made)
    add_quiet(made)
    add_lock(made)
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.nnunet.environment import check_torchvision

    prepare(options.device)  # before anything else imports torch
    check_torchvision()

    from nnactive_ext.experiment.result import read_results
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.loop.cycles import Tools, run_cycles
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.loop.tables import final_report
    from nnactive_ext.loop.watching import ended_by_signals, watch

    tools = Tools.of_nnunet(options.device)
    experiment = open_experiment(options.d)

    def run() -> None:
        with experiment.running():
            with experiment.lock(wait=True):
                opened = open_experiment(options.d, locked=True)
            run_cycles(opened, tools, progress=not options.disable_progress_bar, accumulators=options.precision)

    try:
        if options.watch:
            from nnactive_ext.report.worth import worth

            with ended_by_signals():
                watch(lambda: open_experiment(options.d), run, worth, say=partial(print, flush=True))
        else:
            run()
    finally:
        if read_results(experiment.results):
            print(f"\n{final_report(experiment.anew())}")
    print(f"\n{next_step(experiment.anew())}")


if __name__ == "__main__":
    main()
