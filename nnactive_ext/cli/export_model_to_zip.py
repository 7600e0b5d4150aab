"""nnactive_export_model_to_zip: the trained networks as a zip for stock nnU-Net, which needs nothing of ours."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import add_experiment, add_folds, with_trainer


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_export_model_to_zip",
        description="Writes the networks of the current cycle to a zip file. Stock nnU-Net installs it with "
        "nnUNetv2_install_pretrained_model_from_zip and predicts with nnUNetv2_predict, without this package, and the "
        "predictions are those of the evaluation. The file holds weights, names of labels and channels, and statistics of grey "
        "values. It holds no image and names no case.",
    )
    add_experiment(made)
    made.add_argument("-o", required=True, type=Path, metavar="FILE", help="zip file to write, which must not exist")
    add_folds(made, "networks to export, by their folds", "all folds of the experiment")
    made.add_argument("-tr", metavar="TRAINER", help="trainer of the networks (default: the experiment's)")
    return made


@command(parser)
def main(options: argparse.Namespace) -> None:
    from nnactive_ext.experiment.commands import predict_stock
    from nnactive_ext.labelling.opening import open_experiment
    from nnactive_ext.members.model_zip import AS_EVALUATED, export_model
    from nnactive_ext.words import count

    experiment = with_trainer(open_experiment(options.d), options.tr)
    folds = experiment.folds() if options.f is None else options.f
    made = export_model(experiment, folds, Path(os.path.abspath(options.o)))
    size = made.file.stat().st_size / 1e6
    print(f"Wrote {options.o}: {count(len(folds), 'network')} of cycle {experiment.state['cycle']}, {size:.1f} MB.")
    if (kind := experiment.plan.member_kind.name) in AS_EVALUATED:
        print(AS_EVALUATED[kind])
    if experiment.plan.turned:
        print("WARNING: nnUNetv2_predict does not turn images; inference_instructions.txt in the zip says how to turn them.")
    print("To segment images elsewhere, with nnU-Net alone:")
    print("\n".join(f"    {line}" for line in predict_stock(experiment.plan, folds, options.o.name)))


if __name__ == "__main__":
    main()
