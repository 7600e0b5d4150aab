"""nnactive_bench: a benchmark of query methods, from one file to all experiments and their comparison."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_device, add_lock, add_parts, add_precision, add_quiet, check_parts, prepare
from nnactive_ext.cli.workers import add_workers, check_workers, guard, runner_of
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
    add_workers(
        made,
        "experiments",
        "number of processes that run experiments at the same time on this machine, each on its share of the cores, and with "
        "-device cuda on the GPUs in turn",
    )
    made.add_argument(
        "--dry_run", action="store_true", help="print which experiments are left and what they will need, and exit"
    )
    _add_seeds_needed(made)
    made.add_argument("--part", metavar="CORES", help=argparse.SUPPRESS)  # one of -np, on these cores
    made.add_argument("-experiment", metavar="NAME", help=argparse.SUPPRESS)  # what a worker carries out
    add_device(made)
    add_precision(made)
    add_quiet(made)
    add_lock(made)
    return made


def _add_seeds_needed(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--seeds_needed",
        action="store_true",
        help="print how many seeds are needed to tell methods apart, from the experiments that are finished, and exit",
    )
    made.add_argument(
        "-difference",
        type=float,
        nargs="+",
        metavar="POINTS",
        help="with --seeds_needed: differences to find, in points (percentage points) of Dice (default: 1 2 5)",
    )
    made.add_argument(
        "-saved",
        type=float,
        metavar="PERCENT",
        help="with --seeds_needed: share of the annotated patches that a method saves, in percent, to find (default: 20)",
    )
    made.add_argument("--json", action="store_true", help="with --seeds_needed: print one JSON object, for programs to read")


def _arguments(options: argparse.Namespace, process: int) -> list[str]:
    """The arguments of one of the processes side by side, which works on a part of this part."""
    part_id = options.part_id + process * options.num_parts
    parts = ["-num_parts", str(options.num_parts * options.np), "-part_id", str(part_id)]
    how = ["-device", options.device, "-precision", options.precision, "--disable_progress_bar"]
    return [str(options.file), *parts, *how]


def _at_once(options: argparse.Namespace) -> int:
    """How many experiments run at the same time here, as far as this command knows."""
    from nnactive_ext.cluster.gpus import chosen_gpus

    return options.np if options.gpus is None else len(chosen_gpus(options.gpus))


def _turns(processes: int, device: str) -> list[dict[str, str]]:
    """The environments of processes side by side, which keep each to one GPU."""
    from nnactive_ext.cluster.dask_runner import gpu_environments
    from nnactive_ext.cluster.gpus import gpus_here

    gpus = gpus_here() if device == "cuda" else []
    if not gpus:
        return []
    print(f"{processes} processes use in turn: GPU {', '.join(gpus[:processes])}", flush=True)
    return gpu_environments([gpus[number % len(gpus)] for number in range(processes)])


def _answer(options: argparse.Namespace) -> None:
    """How many seeds the benchmark needs."""
    from nnactive_ext.bench.definition import read_benchmark
    from nnactive_ext.bench.seeds import seeds_needed

    differences = options.difference or [1.0, 2.0, 5.0]
    saved = 20.0 if options.saved is None else options.saved
    print(seeds_needed(read_benchmark(options.file), str(options.file), differences, saved, options.json), flush=True)


@command(parser)
def main(options: argparse.Namespace) -> None:
    if options.part is not None:
        from nnactive_ext.bench.side_by_side import become_one

        become_one(options.part)  # before anything counts the cores
    if options.seeds_needed:
        return _answer(options)
    if options.json or options.difference is not None or options.saved is not None:
        raise NnActiveError(
            "-difference, -saved and --json need --seeds_needed. Add it, or leave them out to run the benchmark."
        )
    from nnactive_ext.nnunet.environment import check_torchvision

    guard(options)
    check_workers(options)
    check_parts(options)
    if options.np > 1 and options.dashboard is not None:
        raise NnActiveError("-dashboard: it shows workers; -np starts processes that know nothing of each other. Use -gpus.")
    if not options.dry_run and not options.workers:  # whose machines have the device
        prepare(options.device)  # before anything else imports torch
    if not options.dry_run:
        check_torchvision()

    from nnactive_ext.bench.definition import read_benchmark
    from nnactive_ext.bench.estimate import overview
    from nnactive_ext.bench.finish import finish
    from nnactive_ext.bench.on_workers import Place, run_on_workers, run_one
    from nnactive_ext.bench.outcomes import Outcomes
    from nnactive_ext.bench.running import How, run_all
    from nnactive_ext.bench.runs import benchmark_folder, check_runs, part, runs_of
    from nnactive_ext.bench.side_by_side import run_side_by_side
    from nnactive_ext.compare.writing import check_output
    from nnactive_ext.loop.watching import ended_by_signals
    from nnactive_ext.members.tools import Tools

    benchmark = read_benchmark(options.file)
    folder = benchmark_folder(benchmark.name)
    outcomes, place = Outcomes(folder), Place(folder)
    tools = Tools.of_nnunet(options.device, lambda: prepare(options.device))
    how = How(benchmark.name, tools, not options.disable_progress_bar, accumulators=options.precision)
    if options.experiment:
        return run_one(options.experiment, runs_of(benchmark), how, place)
    output = options.o or folder / "comparison"
    check_output(output)
    runs = runs_of(benchmark, remember=False)
    check_runs(runs)
    print(overview(benchmark, runs, options.num_parts * _at_once(options)), flush=True)
    if options.dry_run:
        return
    runs = runs_of(benchmark)
    own = part(runs, options.part_id, options.num_parts)
    if options.np > 1:
        # A process that failed leaves its log. Which experiments failed is in the outcomes, shown after the comparison.
        environments = _turns(options.np, options.device)
        run_side_by_side(options.np, lambda i: _arguments(options, i), folder / "logs", environments=environments)
    else:
        file = options.file.absolute()
        with ended_by_signals(), runner_of("bench", options, place, lambda one: [file, "-experiment", one.name]) as runner:
            if runner:
                run_on_workers(own, runner, how, place)
            else:
                run_all(own, how, outcomes)
    if options.part is None:
        finish(runs, outcomes, output, others=options.num_parts > 1)


if __name__ == "__main__":
    main()
