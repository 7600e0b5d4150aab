"""nnactive_report: one HTML file that says how good an experiment is, how it got there, and what to do next."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import add_quiet


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_report",
        description="Writes one HTML file about an experiment, which opens from disk and needs no network: how good it is now, "
        "how it got there, what was asked and why, what should be done next, and all that is needed to repeat it.",
    )
    made.add_argument("-d", required=True, metavar="DATASET", help="number or name of the experiment")
    made.add_argument("-o", type=Path, metavar="FILE", help="(default: report.html among the experiment's results)")
    made.add_argument(
        "-device",
        default="cuda",
        choices=("cuda", "cpu", "mps", "none"),
        help="where members predict the boxes that are shown; none: only predictions kept from earlier reports are "
        "(default: %(default)s)",
    )
    made.add_argument("-boxes", type=int, default=12, metavar="N", help="shown of each cycle, at most (default: %(default)s)")
    add_quiet(made)
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from nnactive_ext.errors import NnActiveError
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.nnunet.environment import prepare_device, require_nnunet_folders
    from nnactive_ext.report.facts import gather
    from nnactive_ext.report.page import write_report

    require_nnunet_folders()
    if options.boxes < 0:
        raise NnActiveError(f"-boxes {options.boxes}: 0 or more.")
    experiment = Experiment.find(options.d)
    file = options.o or experiment.results / "report.html"
    if not options.o:
        file.parent.mkdir(parents=True, exist_ok=True)
    elif not file.parent.is_dir():
        raise NnActiveError(f"{file.parent}: no such folder. Make it, or give another -o.")
    if file.is_dir():
        raise NnActiveError(f"{file}: is a folder. Give -o a file.")
    device = None if options.device == "none" else options.device
    if device:
        prepare_device(device)
    facts = gather(experiment, device, options.boxes, not options.disable_progress_bar)
    size, left_out = write_report(facts, file)
    if left_out:
        print(left_out)
    print(f"{file} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
