"""nnactive_report: one HTML file that says how good an experiment is, how it got there, and what to do next."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import Default, add_experiment, add_quiet, prepare


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_report",
        description="Writes a report of an experiment: the scores now and over the cycles, the patches of each query with the "
        "reasons for their choice, advice on what to do next, and everything needed to repeat the experiment. The report is "
        "one HTML file that needs no network.",
    )
    add_experiment(made)
    made.add_argument(
        "-o", type=Path, metavar="FILE", help="file of the report (default: report.html in the experiment's results folder)"
    )
    made.add_argument(
        "-device",
        default=Default("cuda"),
        choices=("cuda", "cpu", "mps", "none"),
        help="device on which the members predict the patches shown; none: show only predictions that an earlier report kept "
        "(default: %(default)s)",
    )
    made.add_argument(
        "-patches",
        type=int,
        default=12,
        metavar="N",
        help="largest number of patches to show of each cycle (default: %(default)s)",
    )
    made.add_argument("-boxes", dest="patches", type=int, default=argparse.SUPPRESS, help=argparse.SUPPRESS)  # its earlier name
    add_quiet(made)
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.errors import NnActiveError
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.report.facts import gather
    from nnactive_ext.report.page import write_report

    if options.patches < 0:
        raise NnActiveError(f"-patches {options.patches}: give 0 or more.")
    experiment = open_experiment(options.d)
    experiment.clear_left_over()
    file = options.o or experiment.results / "report.html"
    if not options.o:
        file.parent.mkdir(parents=True, exist_ok=True)
    elif not file.parent.is_dir():
        raise NnActiveError(f"{file.parent}: no such folder. Make it, or choose another -o.")
    if file.is_dir():
        raise NnActiveError(f"{file}: is a folder. Choose a file with -o.")
    device = None if options.device == "none" else options.device
    if device:
        prepare(device)
    facts = gather(experiment, device, options.patches, not options.disable_progress_bar)
    size, left_out = write_report(facts, file)
    if left_out:
        print(left_out)
    print(f"{file} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
