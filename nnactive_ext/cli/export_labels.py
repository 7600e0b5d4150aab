"""nnactive_export_labels: labels of all images of the pool, predicted and annotated, on the voxels of the images' own files."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import (
    add_device,
    add_experiment,
    add_folds,
    add_lock,
    add_parts,
    add_quiet,
    check_parts,
    prepare,
    with_trainer,
    words_of,
)
from nnactive_ext.errors import NnActiveError


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_export_labels",
        description="Labels all images of the pool with the members of the current cycle, keeps the experts' voxels, and "
        "writes each label map on the voxels of the image's own file. Masks in from_expert/ show which voxels experts decided, "
        "and labels.csv counts them. If the command was stopped, run it again: it continues where it stopped. After another "
        "cycle or other answers it renews what has changed.",
    )
    add_experiment(made)
    made.add_argument("-o", required=True, type=Path, metavar="FOLDER", help="folder to write the labels to")
    add_folds(made, "members to use, by their folds", "all folds of the experiment")
    made.add_argument("-tr", metavar="TRAINER", help="trainer of the members (default: the experiment's)")
    made.add_argument(
        "-dicom",
        type=Path,
        metavar="FOLDER",
        help="folder of the DICOM series that was planned from: their labels are written as DICOM segmentations (SEG) "
        "instead of NIfTI; needs the extra dicom",
    )
    made.add_argument("-pattern", metavar="PATTERN", help="with -dicom: name pattern of the files, as for nnactive_plan")
    made.add_argument(
        "--pseudonyms", action="store_true", help="write pseudonyms instead of the names of cases, as nnactive_annotate export"
    )
    add_parts(made, "the images", ", then one without -num_parts and -part_id to finish")
    add_device(made)
    add_quiet(made)
    add_lock(made)
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    check_parts(options)
    if options.dicom and options.pseudonyms:
        raise NnActiveError("--pseudonyms: DICOM segmentations name the patient of their series. Leave out -dicom.")
    from nnactive_ext.exchange.whole_labels import Asked, export_labels, series_in
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.nnunet.trainers import check_trainer

    if options.tr:
        check_trainer(options.tr)
    experiment = with_trainer(open_experiment(options.d), options.tr)
    series = {}
    if options.dicom:
        from nnactive_ext.intake.find import find_cases
        from nnactive_ext.planning.options import planned_value

        chosen = planned_value(experiment.plan, "series", ())
        channels = list(experiment.dataset.json["channel_names"].values())
        found = find_cases(options.dicom, channels if len(channels) > 1 else None, options.pattern, series=chosen)
        series = series_in(experiment, found, options.dicom)
    folds = experiment.folds() if options.f is None else options.f
    asked = Asked(experiment, folds, Path(os.path.abspath(options.o)), options.pseudonyms, series)

    def open_ensemble() -> NnUNetEnsemble:
        prepare(options.device)
        return NnUNetEnsemble(experiment, folds, options.device)

    print(export_labels(asked, open_ensemble, (options.part_id, options.num_parts), not options.disable_progress_bar))
    if options.num_parts > 1:
        words = words_of({"-o": options.o, "-f": options.f, "-tr": options.tr})
        words += words_of({"-dicom": options.dicom, "-pattern": options.pattern})
        words += ["--pseudonyms"] if options.pseudonyms else []
        print(f"Next: after the last part: {experiment.commands.export_labels(*words)}")


if __name__ == "__main__":
    main()
