"""nnactive_bench: a benchmark of query methods, from one file to all experiments and their comparison."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_device, add_lock, add_parts, add_precision, add_quiet, check_parts, prepare
from nnactive_ext.errors import NnActiveError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_bench",
        description="Runs all experiments of a benchmark: each combination of dataset, label regime, query patch size, method "
        "and seed. All methods share the starting budget and cycle 0 of a seed. The command first prints how many trainings, "
        "hours and gigabytes are needed, and writes a comparison at the end. If it was stopped or killed, run it again: it "
        "continues where it stopped.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="file that describes the benchmark, e.g. phantom.toml")
    made.add_argument(
        "-o",
        type=Path,
        metavar="FOLDER",
        help="folder for the comparison (default: nnUNet_results/benchmark_NAME/comparison)",
    )
    add_parts(made, "the experiments", ", for example on N machines")
    made.add_argument(
        "-np",
        type=int,
        default=1,
        metavar="N",
        help="number of experiments that run at the same time on this machine (default: %(default)s)",
    )
    made.add_argument(
        "--dry_run", action="store_true", help="print which experiments are left and what they will need, and exit"
    )
    made.add_argument("--part", metavar="CORES", help=argparse.SUPPRESS)  # one of -np, on these cores
    add_device(made)
    add_precision(made)
    add_quiet(made)
    add_lock(made)
    return made


def _arguments(options: argparse.Namespace, process: int) -> list[str]:
    """The arguments of one of the processes side by side, which works on a part of this part."""
    part_id = options.part_id + process * options.num_parts
    parts = ["-num_parts", str(options.num_parts * options.np), "-part_id", str(part_id)]
    how = ["-device", options.device, "-precision", options.precision, "--disable_progress_bar"]
    return [str(options.file), *parts, *how]


@command(parser)
def main(options: argparse.Namespace) -> None:
    if options.part is not None:
        from nnactive_ext.bench.side_by_side import become_one

        become_one(options.part)  # before anything counts the cores
    from nnactive_ext.nnunet.environment import check_torchvision

    if options.np < 1:
        raise NnActiveError(f"-np {options.np}: at least one process is needed.")
    check_parts(options)
    if not options.dry_run:
        prepare(options.device)  # before anything else imports torch
        check_torchvision()

    from nnactive_ext.bench.definition import read_benchmark
    from nnactive_ext.bench.estimate import overview
    from nnactive_ext.bench.finish import finish
    from nnactive_ext.bench.outcomes import Outcomes
    from nnactive_ext.bench.running import How, run_all
    from nnactive_ext.bench.runs import benchmark_folder, check_runs, part, runs_of
    from nnactive_ext.bench.side_by_side import run_side_by_side
    from nnactive_ext.compare.writing import check_output
    from nnactive_ext.members.tools import Tools

    benchmark = read_benchmark(options.file)
    folder = benchmark_folder(benchmark.name)
    output = options.o or folder / "comparison"
    check_output(output)
    runs = runs_of(benchmark, remember=False)
    check_runs(runs)
    print(overview(benchmark, runs, options.num_parts * options.np), flush=True)
    if options.dry_run:
        return
    runs, outcomes = runs_of(benchmark), Outcomes(folder)
    if options.np > 1:
        # A process that failed leaves its log. Which experiments failed is in the outcomes, shown after the comparison.
        run_side_by_side(options.np, lambda i: _arguments(options, i), folder / "logs")
    else:
        how = How(
            benchmark.name, Tools.of_nnunet(options.device), not options.disable_progress_bar, accumulators=options.precision
        )
        run_all(part(runs, options.part_id, options.num_parts), how, outcomes)
    if options.part is None:
        finish(runs, outcomes, output, others=options.num_parts > 1)


if __name__ == "__main__":
    main()
