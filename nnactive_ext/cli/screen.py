"""nnactive_screen: which cases of the pool, or which new images, do not belong."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_device, add_folds, add_lock, add_quiet, prepare, with_trainer
from nnactive_ext.errors import NnActiveError
from nnactive_ext.screening.names import HERE

if TYPE_CHECKING:
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.querying.query import OpenEnsemble

FLAGGED = 3
"""The exit status with --fail_if_flagged."""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_screen",
        description="Screens the pool of an experiment, or new images (-i), for what does not belong: wrong body parts, other "
        "sequences, artefacts, broken or empty series. Each image is compared with the annotated cases. The command writes a "
        "page with pictures of each flagged case, a CSV and a JSON file. It changes nothing: a person decides.",
    )
    made.add_argument("-d", metavar="DATASET", help="number or name of the experiment's dataset")
    made.add_argument(
        "-i",
        type=Path,
        metavar="FOLDER",
        help="screen the images of this folder instead of the pool: files named as nnU-Net names them, or a folder for each "
        "DICOM series or stack of slices",
    )
    made.add_argument("-o", type=Path, metavar="FOLDER", help="with -i: folder to write")
    made.add_argument(
        "-scores",
        nargs="+",
        metavar="SCORE",
        help="scores to compute: geometry, histogram, knn, disagreement, mahalanobis, sisom, sisome, msp, maxlogit, entropy, "
        "energy, abet; by the files of -relevance: relevance, tanl (default: the first four; before members are trained, the "
        "first two)",
    )
    made.add_argument(
        "-reference",
        default="annotated",
        metavar="annotated|all|FILE.npz",
        help="cases to compare with: the annotated ones, the whole pool, or those of a file that --export_reference wrote "
        "(default: %(default)s; before the first label: all)",
    )
    made.add_argument(
        "-m", type=Path, metavar="MODEL_FOLDER", help="with -reference FILE.npz: nnU-Net's folder of the members, without -d"
    )
    made.add_argument(
        "-limit", type=float, default=3.5, metavar="Z", help="robust z above which a case is flagged (default: %(default)s)"
    )
    made.add_argument(
        "-windows",
        type=int,
        default=64,
        metavar="N",
        help="windows of an image that are described, at most (default: %(default)s)",
    )
    made.add_argument(
        "--worst", action="store_true", help="score a case by its strangest window, for artefacts and implants, not by the mean"
    )
    made.add_argument(
        "-aggregation",
        default="mean",
        choices=("mean", "max", "threshold"),
        help="how a voxel score becomes one number of a case: mean, largest mean over a query patch, or mean above the "
        "quantile of the predicted foreground (default: %(default)s)",
    )
    made.add_argument(
        "--answers",
        action="store_true",
        help="instead of screening images, compare each answer with members that were not trained on it, for a second look at "
        "those that differ most",
    )
    made.add_argument(
        "--fail_if_flagged",
        action="store_true",
        help=f"exit with status {FLAGGED} if an image is flagged or cannot be screened, for pipelines",
    )
    made.add_argument(
        "--export_reference",
        type=Path,
        metavar="FILE.npz",
        help="also write the reference to a file, with which new images can be screened where the experiment is not at hand; "
        "it holds no images and no names, but its numbers derive from patients' images",
    )
    made.add_argument(
        "--export_views",
        type=Path,
        metavar="FOLDER",
        help="screen nothing, but write pictures of each case for a vision-language model (docs/open_set.md)",
    )
    add_folds(made, "members to ask, by their folds", "all folds of the experiment")
    made.add_argument("-tr", metavar="TRAINER", help="trainer of the members (default: the experiment's)")
    add_device(made)
    add_quiet(made)
    add_lock(made)
    return made


@command(parser, folders=lambda options: options.d is not None)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.screening.kept import FOLDER
    from nnactive_ext.screening.report import report, report_pool
    from nnactive_ext.screening.scoring import Options

    _check(options)
    chosen = Options(
        scores=options.scores,
        limit=options.limit,
        windows=options.windows,
        worst=options.worst,
        aggregation=options.aggregation,
        everything=options.reference == "all",
    )
    progress = not options.disable_progress_bar
    kept = options.o / FOLDER if options.o else Path()
    if options.d is None:
        from nnactive_ext.screening.deployed import Model, screen_deployed

        model = Model(options.m, options.device, lambda: prepare(options.device))
        found = screen_deployed(model, Path(options.reference), options.i, kept, chosen, progress)
    else:
        from nnactive_ext.labelling.opening import open_experiment
        from nnactive_ext.members.ensemble import NnUNetEnsemble
        from nnactive_ext.nnunet.trainers import check_trainer
        from nnactive_ext.screening.screen import screen_new

        if options.tr:
            check_trainer(options.tr)
        experiment = with_trainer(open_experiment(options.d), options.tr)
        experiment.clear_left_over()

        if options.export_reference and experiment.state["cycle"] < 0:
            raise NnActiveError(
                f"--export_reference: {experiment.name} has no labels yet, so nnU-Net's plans, by which images are "
                "preprocessed, do not exist. Annotate the first tasks, run nnactive_run, then export."
            )
        if options.export_views:
            from nnactive_ext.screening.views import export_views

            number = export_views(experiment, options.export_views, progress)
            print(f"{number} pictures of {len(experiment.plan.pool)} cases: {options.export_views} (they show patients)")
            return

        def open_ensemble(experiment, folds):
            prepare(options.device)
            return NnUNetEnsemble(experiment, folds, options.device)

        if options.answers:
            _answers(experiment, open_ensemble, options)
            return
        if options.i:
            found = screen_new(experiment, options.i, kept, open_ensemble, options.f, chosen, progress)
        else:
            found = report_pool(experiment, open_ensemble, options.f, chosen, progress)
            if options.export_reference:
                from nnactive_ext.screening.reference import export_reference

                folds = (experiment.folds() if options.f is None else options.f) if found.facts["members"] else []
                weights = getattr(open_ensemble(experiment, folds), "weights", "") if folds else ""
                number = export_reference(found, experiment, folds, weights, options.export_reference)
                print(f"The reference of {number} cases: {options.export_reference} (its numbers derive from patients' images)")
    if options.i:
        for line in report(found, options.o / "screening"):
            print(line)
    if options.fail_if_flagged and (found.flagged or found.refused):
        raise SystemExit(FLAGGED)


def _answers(experiment: Experiment, open_ensemble: OpenEnsemble, options: argparse.Namespace) -> None:
    from nnactive_ext.screening.answers import answers_text, compare_answers, write_answers

    folds = experiment.folds() if options.f is None else options.f
    found = compare_answers(experiment, lambda of: open_ensemble(experiment, of), folds, not options.disable_progress_bar)
    print(answers_text(experiment, found, write_answers(experiment, found)))


def _check(options: argparse.Namespace) -> None:
    """Options that do not go together, and outputs that are in the way, are errors before anything is read."""
    from_file = options.reference not in ("annotated", "all")
    if (options.d is None) != from_file or (options.m is not None) != from_file:
        raise NnActiveError("Give -d DATASET; or, without it, -reference FILE.npz, -m MODEL_FOLDER and -i FOLDER.")
    if (options.i is None) != (options.o is None) or (from_file and options.i is None):
        raise NnActiveError("New images need both: -i FOLDER to read and -o FOLDER to write.")
    if options.answers and (
        options.d is None or options.i or options.export_reference or options.export_views or options.scores
    ):
        raise NnActiveError("--answers goes with -d DATASET, without -i, -scores, --export_reference and --export_views.")
    if options.export_reference and options.i:
        raise NnActiveError("--export_reference goes with the pool, not with -i. Run nnactive_screen without -i.")
    if options.export_reference and options.export_reference.suffix != ".npz":
        raise NnActiveError(f"--export_reference {options.export_reference}: give a file whose name ends in .npz.")
    if options.export_reference and (here := [score for score in options.scores or () if score in HERE]):
        raise NnActiveError(
            f"-scores {' '.join(here)}: these need the experiment, so a reference cannot hold them. Leave them out."
        )
    if options.export_views and (options.d is None or options.i):
        raise NnActiveError("--export_views goes with the pool: give -d DATASET, without -i.")
    if options.windows < 1 or not options.limit > 0:
        raise NnActiveError(f"-windows {options.windows} -limit {options.limit}: both must be positive.")
    if options.o and (options.o.is_file() or (options.i and os.path.abspath(options.o) == os.path.abspath(options.i))):
        raise NnActiveError(f"-o {options.o}: give a folder of its own.")


if __name__ == "__main__":
    main()
