"""nnactive_run: all cycles of an experiment, from wherever it stands."""

from __future__ import annotations

import argparse

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import add_accumulators, add_device, add_quiet


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_run",
        description="Trains the ensemble, evaluates it on the test set, queries and annotates, cycle after cycle. Can be "
        "stopped or killed at any moment; the same command goes on where it stopped.",
    )
    made.add_argument("-d", required=True, metavar="DATASET", help="number or name of the experiment")
    add_device(made)
    add_accumulators(made)
    add_quiet(made)
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from nnactive_ext.nnunet.environment import check_torchvision, prepare_device, require_nnunet_folders

    require_nnunet_folders()
    prepare_device(options.device)  # before anything else imports torch
    check_torchvision()

    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.loop.cycles import Tools, run_cycles
    from nnactive_ext.loop.tables import final_report
    from nnactive_ext.members.evaluation import read_results

    experiment = Experiment.find(options.d)
    tools = Tools.of_nnunet(options.device)
    with experiment.lock():
        try:
            run_cycles(experiment, tools, progress=not options.disable_progress_bar, accumulators=options.accumulators)
        finally:
            if read_results(experiment):
                print(f"\n{final_report(experiment)}")


if __name__ == "__main__":
    main()
