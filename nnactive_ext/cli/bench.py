"""nnactive_bench: a benchmark of query methods, from one file to all experiments and their comparison."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import add_accumulators, add_device, add_quiet
from nnactive_ext.errors import NnActiveError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_bench",
        description="Runs every experiment of a benchmark: datasets x label regimes x query patch sizes x methods x seeds. The "
        "starting budget and cycle 0 of a seed are made once and shared by all methods. Can be killed at any moment; "
        "the same command goes on where it stopped. Says first what it will take, and compares at the end.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="the benchmark, e.g. phantom.toml")
    made.add_argument("-o", type=Path, metavar="FOLDER", help="of the comparison (default: in nnUNet_results/benchmark_NAME)")
    made.add_argument("-num_parts", type=int, default=1, metavar="N", help="share the experiments between N such commands")
    made.add_argument("-part_id", type=int, default=0, metavar="I", help="which of them this is, from 0 (default: %(default)s)")
    made.add_argument(
        "-np", type=int, default=1, metavar="N", help="processes side by side on this machine (default: %(default)s)"
    )
    made.add_argument("--dry_run", action="store_true", help="say what there is to do and what it will take, and end")
    made.add_argument("--part", metavar="CORES", help=argparse.SUPPRESS)  # one of -np, on these cores
    add_device(made)
    add_accumulators(made)
    add_quiet(made)
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    if options.part is not None:
        from nnactive_ext.bench.side_by_side import become_one

        become_one(options.part)  # before anything counts the cores
    from nnactive_ext.nnunet.environment import check_torchvision, prepare_device, require_nnunet_folders

    require_nnunet_folders()
    if options.np < 1:
        raise NnActiveError(f"-np {options.np}: at least one process is needed.")
    if not 0 <= options.part_id < options.num_parts:
        raise NnActiveError(f"-part_id {options.part_id}: with -num_parts {options.num_parts} it goes from 0 to N - 1.")
    if not options.dry_run:
        prepare_device(options.device)  # before anything else imports torch
        check_torchvision()

    from nnactive_ext.bench.definition import read_benchmark
    from nnactive_ext.bench.estimate import overview
    from nnactive_ext.bench.finish import finish
    from nnactive_ext.bench.outcomes import Outcomes
    from nnactive_ext.bench.running import How, run_all
    from nnactive_ext.bench.runs import benchmark_folder, check_runs, part, runs_of
    from nnactive_ext.bench.side_by_side import run_side_by_side
    from nnactive_ext.compare.writing import check_output
    from nnactive_ext.loop.cycles import Tools

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
        # A process that failed has left its log; but which experiments did is in the outcomes, and told after the comparison.
        run_side_by_side(options.np, lambda i: _arguments(options, i), folder / "logs")
    else:
        how = How(
            benchmark.name, Tools.of_nnunet(options.device), not options.disable_progress_bar, accumulators=options.accumulators
        )
        run_all(part(runs, options.part_id, options.num_parts), how, outcomes)
    if options.part is None:
        finish(runs, outcomes, output, others=options.num_parts > 1)


def _arguments(options: argparse.Namespace, process: int) -> list[str]:
    """Of one of the processes side by side: a part of this part."""
    part_id = options.part_id + process * options.num_parts
    parts = ["-num_parts", str(options.num_parts * options.np), "-part_id", str(part_id)]
    return [
        str(options.file),
        *parts,
        "-device",
        options.device,
        "-accumulators",
        options.accumulators,
        "--disable_progress_bar",
    ]


if __name__ == "__main__":
    main()
