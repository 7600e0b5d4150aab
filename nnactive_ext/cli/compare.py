"""nnactive_compare: tables and figures that compare query methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.metrics.prices import Prices


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_compare",
        description="Compares query methods. The command groups experiments by setting (dataset, query patch size, budgets), "
        "checks that they may be compared, and writes a page (Markdown), tables (CSV, LaTeX) and figures. It reads the results "
        "folders only; copies of them are enough.",
    )
    made.add_argument(
        "-d",
        nargs="+",
        required=True,
        metavar="DATASET",
        help="experiments: their numbers, names or results folders, or patterns such as 'Dataset5*' or 'results/*/nnactive'",
    )
    made.add_argument(
        "-o",
        type=Path,
        default=Path("comparison"),
        metavar="FOLDER",
        help="folder for the comparison; an earlier comparison in it is replaced (default: %(default)s)",
    )
    made.add_argument(
        "-cycles", type=int, metavar="N", help="number of cycles to compare, counting cycle 0 (default: all cycles)"
    )
    made.add_argument(
        "-minutes_per_patch",
        type=float,
        metavar="MINUTES",
        help="minutes that an expert needs for a patch, for what methods save (default: as measured in roll-outs, else "
        f"{Prices.minutes_per_patch:g})",
    )
    made.add_argument(
        "-expert_rate",
        type=float,
        default=Prices.expert_rate,
        metavar="MONEY",
        help="cost of an expert per hour, in any currency (default: %(default)s)",
    )
    made.add_argument(
        "-machine_rate",
        type=float,
        default=Prices.machine_rate,
        metavar="MONEY",
        help="cost of the machine per hour, in the same currency (default: %(default)s)",
    )
    return made


@command(parser, folders=False)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.compare.compare import compare
    from nnactive_ext.compare.sources import results_folders

    prices = Prices(expert_rate=options.expert_rate, machine_rate=options.machine_rate)
    compare(results_folders(options.d), options.o, print, options.cycles, prices, options.minutes_per_patch)


if __name__ == "__main__":
    main()
