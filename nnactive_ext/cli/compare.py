"""nnactive_compare: tables and figures that compare query methods."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.failing import failing_clearly


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_compare",
        description="Sorts experiments into settings (dataset, query patch size, budgets), checks that they may be compared, "
        "and writes a page, tables (CSV, LaTeX) and figures. Reads results folders only; copies of them will do.",
    )
    made.add_argument(
        "-d",
        nargs="+",
        required=True,
        metavar="DATASET",
        help="experiments: numbers, names, results folders, or patterns such as 'Dataset5*' or 'results/*/nnactive'",
    )
    made.add_argument(
        "-o", type=Path, default=Path("comparison"), metavar="FOLDER", help="is replaced as a whole (default: %(default)s)"
    )
    made.add_argument("-cycles", type=int, metavar="N", help="compare only the first N cycles, counting cycle 0 (default: all)")
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from nnactive_ext.compare.compare import compare
    from nnactive_ext.compare.sources import results_folders

    compare(results_folders(options.d), options.o, cycles=options.cycles)


if __name__ == "__main__":
    main()
