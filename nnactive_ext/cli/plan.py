"""nnactive_plan: make an active-learning experiment from a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import DEFAULT_METHOD, add_method, add_quiet, method_and_options


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_plan",
        description="Makes an experiment with a simulated annotator from a fully labelled nnU-Net dataset, which is "
        "neither changed nor copied: splits it into pool and test set, sizes patches and budgets, draws the starting "
        "budget, writes partial labels, and lets nnU-Net plan and preprocess.",
    )
    made.add_argument("-d", required=True, metavar="DATASET", help="number, name or folder of the labelled dataset")
    made.add_argument("-o", required=True, type=int, metavar="NUMBER", help="number of the new dataset, e.g. 504")
    made.add_argument("-name", metavar="NAME", help="name of the new dataset (default: that of DATASET)")
    made.add_argument(
        "-patch_size",
        nargs="+",
        metavar="SIZE",
        help="query patch along z y x (or one number for a cube), in voxels (20) or mm (20mm); default: from the labels",
    )
    made.add_argument("-query_size", type=int, metavar="N", help="patches per query (default: 50 per class, if they fit)")
    made.add_argument("-starting_budget", type=int, metavar="N", help="patches before cycle 0 (default: the query size)")
    made.add_argument("-start_from", type=Path, metavar="FILE", help="take the starting budget from a loop_000.json")
    made.add_argument("-cycles", type=int, default=5, metavar="N", help="cycles, counting cycle 0 (default: %(default)s)")
    made.add_argument("-seed", type=int, default=12345, help="of patches and folds (default: %(default)s)")
    add_method(made, DEFAULT_METHOD)
    made.add_argument("-folds", type=int, default=5, metavar="N", help="members of the ensemble (default: %(default)s)")
    made.add_argument("-c", default="3d_fullres", metavar="CONFIGURATION", help="(default: %(default)s)")
    made.add_argument("-tr", metavar="TRAINER", help="(default: nnActiveTrainer, 200 epochs; with --preset cpu, 10 short ones)")
    made.add_argument("-pl", default="ExperimentPlanner", metavar="PLANNER", help="nnU-Net's planner (default: %(default)s)")
    made.add_argument("--preset", choices=("cpu",), help="cpu: a network small enough for two cores")
    made.add_argument("-np", type=int, metavar="N", help="processes for reading and preprocessing")
    add_quiet(made)
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from nnactive_ext.checks import measure
    from nnactive_ext.create import check_number, create
    from nnactive_ext.dataset import find_dataset
    from nnactive_ext.environment import require_nnunet_folders
    from nnactive_ext.experiment import locked
    from nnactive_ext.loops import read_loop
    from nnactive_ext.planning import Wishes, decide
    from nnactive_ext.report import plan_table

    require_nnunet_folders()
    source = find_dataset(options.d)
    starting_budget = len(read_loop(options.start_from, source.file_ending)) if options.start_from else options.starting_budget
    method, method_options = method_and_options(options.method)
    wishes = Wishes(
        number=options.o,
        name=options.name,
        patch_size=options.patch_size,
        query_size=options.query_size,
        starting_budget=starting_budget,
        cycles=options.cycles,
        seed=options.seed,
        method=method or DEFAULT_METHOD,
        method_options=method_options,
        folds=options.folds,
        configuration=options.c,
        trainer=options.tr,
        preset=options.preset,
        processes=options.np,
    )
    progress = not options.disable_progress_bar
    with locked(options.o):
        check_number(options.o)
        plan = decide(source, measure(source, options.np, progress), wishes)
        print(f"\n{plan.dataset} from {source.folder}\n\n{plan_table(plan.decisions)}\n")
        experiment, warnings = create(plan, source, options.preset, options.pl, options.start_from, progress)
    for warning in warnings:
        print(f"WARNING: {warning}")
    print(f"\nMade {experiment.raw}\nNext: nnactive_run -d {options.o}" + (" -device cpu" if options.preset else ""))


if __name__ == "__main__":
    main()
