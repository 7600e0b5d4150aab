"""nnactive_uncertainty: which uncertainty finds the members' failures, on the test set."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import (
    add_device,
    add_experiment,
    add_folds,
    add_lock,
    add_quiet,
    prepare,
    with_trainer,
    words_of,
)
from nnactive_ext.errors import NnActiveError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_uncertainty",
        description="Measures how well the uncertainty of the current members finds badly segmented cases of the test set "
        "(AURC) and cases out of distribution (AUROC, FPR95), what its confidences are worth (ACE), and whether members differ "
        "where raters do (NCC, GED). It writes a page, tables (CSV, JSON, LaTeX) and a figure, with a line for each score and "
        "aggregation. Without a test set it judges annotated patches of cases that a member was not trained on.",
    )
    add_experiment(made)
    made.add_argument(
        "-scores",
        nargs="+",
        metavar="SCORE",
        help="voxel scores as those of nnactive_query, or disagreement, 1 - the mean pairwise Dice of the members' foreground "
        "(default: all but margin)",
    )
    made.add_argument(
        "-aggregations",
        nargs="+",
        metavar="AGGREGATION",
        help="how a voxel score becomes one number of a case: sum, mean, max:K (largest mean over a K-cube), threshold (mean "
        "above the quantile of the predicted foreground) or mean_foreground (default: sum max:10 threshold mean_foreground)",
    )
    made.add_argument(
        "-ood",
        metavar="DATASET",
        help="images that are out of distribution: number or name of an nnU-Net dataset, or a folder of images; no labels are "
        "read",
    )
    made.add_argument(
        "-raters",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="two folders or more with label maps of the test cases, one folder for each rater; without it, patches that "
        "several people answered are compared",
    )
    made.add_argument(
        "--id_positive",
        action="store_true",
        help="take in-distribution cases as the positive ones for AUROC and FPR95, as some publications do",
    )
    add_folds(made, "members to ask, by their folds", "all folds of the experiment")
    made.add_argument("-tr", metavar="TRAINER", help="trainer of the members (default: the experiment's)")
    made.add_argument(
        "-o",
        type=Path,
        metavar="FOLDER",
        help="folder to write; an earlier validation in it is replaced (default: uncertainty/cycle_NNN in the experiment's "
        "results)",
    )
    add_device(made)
    add_quiet(made)
    add_lock(made)
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.compare.validation import sentence
    from nnactive_ext.compare.validation_page import COMMAND, write_validation
    from nnactive_ext.compare.writing import check_output
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.members.ensemble import NnUNetEnsemble, check_members
    from nnactive_ext.members.strange_images import strange_images
    from nnactive_ext.members.validating import DEFAULT_AGGREGATIONS, DEFAULT_SCORES, Asked, validate
    from nnactive_ext.nnunet.trainers import check_trainer

    if options.tr:
        check_trainer(options.tr)
    experiment = with_trainer(open_experiment(options.d), options.tr)
    experiment.clear_left_over()
    for folder in options.raters or ():
        if not folder.is_dir():
            raise NnActiveError(f"-raters {folder}: no such folder. Give a folder with a label map for each test case.")
    asked = Asked(
        scores=options.scores or DEFAULT_SCORES,
        aggregations=options.aggregations or DEFAULT_AGGREGATIONS,
        typed=bool(options.scores),
        ood=strange_images(options.ood, experiment) if options.ood else {},
        raters=options.raters or (),
        id_positive=options.id_positive,
    )
    output = options.o or experiment.results / "uncertainty" / f"cycle_{experiment.state['cycle']:03d}"
    check_output(output, COMMAND)
    folds = experiment.folds() if options.f is None else options.f
    check_members(experiment, folds)
    prepare(options.device)
    found = validate(
        experiment,
        lambda folds: NnUNetEnsemble(experiment, folds, options.device),
        folds,
        asked,
        not options.disable_progress_bar,
    )
    names = ("f", "tr", "scores", "aggregations", "ood", "raters")
    words = words_of({f"-{name}": getattr(options, name) for name in names})
    words += ["--id_positive"] if options.id_positive else []
    page = write_validation(found, output, experiment.commands.uncertainty(*words))
    print(sentence(found))
    print(page)


if __name__ == "__main__":
    main()
