"""nnactive_plan: make an active-learning experiment from a dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.cli.failing import failing_clearly
from nnactive_ext.cli.options import DEFAULT_METHOD, add_method, add_quiet
from nnactive_ext.errors import NnActiveError

if TYPE_CHECKING:
    from nnactive_ext.planning.simulation import Wishes


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_plan",
        description="Makes an experiment. From a fully labelled nnU-Net dataset (-d), with a simulated annotator: splits "
        "it into pool and test set, sizes patches and budgets, draws the starting budget, writes partial labels, and lets "
        "nnU-Net plan and preprocess. From a folder of images (-i), for people who annotate: checks every file, sizes "
        "patches and budgets, and makes the first tasks. Images are neither changed nor copied.",
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument("-d", metavar="DATASET", help="number, name or folder of the labelled dataset")
    source.add_argument(
        "-i", type=Path, metavar="FOLDER", help="folder of images: a file or folder per case, any common format"
    )
    made.add_argument("-o", required=True, type=int, metavar="NUMBER", help="number of the new dataset, e.g. 504")
    made.add_argument("-name", metavar="NAME", help="name of the new dataset (default: that of DATASET or FOLDER)")
    made.add_argument(
        "-patch_size",
        nargs="+",
        metavar="SIZE",
        help="query patch along z y x (or one number for a cube), in voxels (20) or mm (20mm); default: from the labels",
    )
    made.add_argument("-query_size", type=int, metavar="N", help="patches per query (default: 50 per class, if they fit)")
    made.add_argument("-starting_budget", type=int, metavar="N", help="patches before cycle 0 (default: the query size)")
    made.add_argument("-start_from", type=Path, metavar="FILE", help="take the starting budget from a loop_000.json")
    made.add_argument(
        "--all_labels", action="store_true", help="annotate the whole pool at once: what the trainer can reach, in one cycle"
    )
    made.add_argument("-cycles", type=int, default=5, metavar="N", help="cycles, counting cycle 0 (default: %(default)s)")
    made.add_argument(
        "-tolerance", type=float, metavar="MM", help="surfaces so near count as equal (default: one voxel of the coarsest axis)"
    )
    made.add_argument("-seed", type=int, default=12345, help="of patches and folds (default: %(default)s)")
    add_method(made, DEFAULT_METHOD)
    made.add_argument("-folds", type=int, default=5, metavar="N", help="members of the ensemble (default: %(default)s)")
    made.add_argument("-c", default="3d_fullres", metavar="CONFIGURATION", help="(default: %(default)s)")
    made.add_argument("-tr", metavar="TRAINER", help="(default: nnActiveTrainer, 200 epochs; with --preset cpu, 10 short ones)")
    made.add_argument("-pl", default="ExperimentPlanner", metavar="PLANNER", help="nnU-Net's planner (default: %(default)s)")
    made.add_argument("--preset", choices=("cpu",), help="cpu: a network small enough for two cores")
    made.add_argument("-np", type=int, metavar="N", help="processes for reading and preprocessing")
    add_quiet(made)
    rollout = made.add_argument_group("roll-out (with -i)")
    rollout.add_argument("--labels", nargs="+", metavar="NAME", help="the structures to be labelled, e.g. liver tumour")
    rollout.add_argument(
        "-channels", nargs="+", metavar="NAME", help="of each case's images, e.g. CT, or T1 T2 (default: guessed)"
    )
    rollout.add_argument("-pattern", metavar="PATTERN", help="of the files, e.g. '{case}_{channel}' or '{case}/{channel}'")
    rollout.add_argument(
        "-label_maps", type=Path, metavar="FOLDER", help="label maps of some cases, dense or partial, named like them"
    )
    rollout.add_argument("-label_pattern", default="{case}", metavar="PATTERN", help="of their names (default: %(default)s)")
    rollout.add_argument("-structures", nargs="+", default=(), metavar="NAME=MM", help="how large they are, e.g. tumour=25")
    rollout.add_argument(
        "--hard", nargs="+", default=(), metavar="NAME", help="labels that vary much: 100 patches a query, not 50"
    )
    rollout.add_argument("-share", type=float, default=1.0, help="of a cycle's tasks that must be done to train (default: 1)")
    rollout.add_argument("-expert", default="", metavar="NAME", help="who annotates, where nothing else is said")
    rollout.add_argument(
        "-minutes_per_box", type=float, default=3.0, metavar="MIN", help="for the estimate (default: %(default)s)"
    )
    rollout.add_argument("-training_hours", type=float, default=2.0, metavar="H", help="of one member (default: %(default)s)")
    rollout.add_argument("-expert_rate", type=float, default=100.0, metavar="MONEY", help="per hour (default: %(default)s)")
    rollout.add_argument("-machine_rate", type=float, default=2.0, metavar="MONEY", help="per hour (default: %(default)s)")
    return made


def main(args: list[str] | None = None) -> None:
    options = parser().parse_args(args)
    with failing_clearly():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    # Imported late, so that --help answers at once.
    from nnactive_ext.experiment.experiment import locked
    from nnactive_ext.nnunet.environment import require_nnunet_folders
    from nnactive_ext.planning.create import check_number

    require_nnunet_folders()
    with locked(options.o):
        check_number(options.o)
        if options.i:
            _rollout(options)
        else:
            _simulation(options)


def _simulation(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment.loops import read_loop
    from nnactive_ext.loop.tables import plan_table
    from nnactive_ext.nnunet.dataset import find_dataset
    from nnactive_ext.planning.create import create
    from nnactive_ext.planning.measure import measure
    from nnactive_ext.planning.simulation import decide

    if options.labels or options.label_maps or options.pattern or options.channels:
        raise NnActiveError("--labels, -channels, -pattern and -label_maps are for a folder of images: give it with -i.")
    if options.all_labels and (options.start_from or options.starting_budget or options.query_size):
        raise NnActiveError("--all_labels annotates the whole pool: leave out -start_from, -starting_budget and -query_size.")
    source = find_dataset(options.d)
    starting_budget = len(read_loop(options.start_from, source.file_ending)) if options.start_from else options.starting_budget
    progress = not options.disable_progress_bar
    plan = decide(source, measure(source, options.np, progress), _wishes(options, starting_budget))
    print(f"\n{plan.dataset} from {source.folder}\n\n{plan_table(plan.decisions)}\n")
    experiment, warnings = create(plan, source, options.start_from, progress)
    for warning in warnings:
        print(f"WARNING: {warning}")
    print(f"\nMade {experiment.raw}\nNext: nnactive_run -d {options.o}{plan.device_words}")


def _rollout(options: argparse.Namespace) -> None:
    from nnactive_ext.intake.find import find_cases
    from nnactive_ext.intake.inspect import inspect
    from nnactive_ext.loop.status import next_step
    from nnactive_ext.loop.tables import plan_table
    from nnactive_ext.parallel import default_processes
    from nnactive_ext.planning.create import create_rollout
    from nnactive_ext.planning.rollout import RolloutWishes, check_wishes, decide_rollout, label_names

    if not options.labels:
        raise NnActiveError("--labels: name the structures to be labelled, e.g. --labels liver tumour")
    if options.start_from or options.all_labels:
        raise NnActiveError("-start_from and --all_labels are for simulations; mark points instead (nnactive_annotate points).")
    more = RolloutWishes(
        labels=options.labels,
        channels=options.channels,
        structures=options.structures,
        hard=options.hard,
        share=options.share,
        expert=options.expert,
        minutes_per_box=options.minutes_per_box,
        training_hours=options.training_hours,
        expert_rate=options.expert_rate,
        machine_rate=options.machine_rate,
    )
    progress = not options.disable_progress_bar
    wishes = _wishes(options, options.starting_budget)
    check_wishes(options.i, wishes, more)  # before every image is read
    names = label_names(options.labels)
    found = find_cases(options.i, options.channels, options.pattern, options.label_maps, options.label_pattern)
    sizes = (file.stat().st_size for case in found.values() for source in case.sources for file in source.files)
    inspected = inspect(found, names, options.np or default_processes(sum(sizes)), progress)
    rollout = decide_rollout(options.i, found, inspected, wishes, more)
    print(f"\n{rollout.plan.dataset} from {options.i}\n\n{plan_table(rollout.plan.decisions)}\n")
    experiment = create_rollout(rollout, found, progress)
    print(f"\nMade {experiment.raw}\n{next_step(experiment)}")


def _wishes(options: argparse.Namespace, starting_budget: int | None) -> Wishes:
    from nnactive_ext.planning.simulation import Wishes
    from nnactive_ext.query_methods.options import method_and_options

    method, method_options = method_and_options(options.method)
    return Wishes(
        number=options.o,
        name=options.name,
        patch_size=options.patch_size,
        query_size=options.query_size,
        starting_budget=starting_budget,
        cycles=options.cycles,
        tolerance_mm=options.tolerance,
        seed=options.seed,
        method=method or DEFAULT_METHOD,
        method_options=method_options,
        folds=options.folds,
        configuration=options.c,
        trainer=options.tr,
        planner=options.pl,
        preset=options.preset,
        processes=options.np,
        all_labels=options.all_labels,
    )


if __name__ == "__main__":
    main()
