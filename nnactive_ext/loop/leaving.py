"""The commands with which the model and the labels leave an experiment, for what is told after a cycle."""

from __future__ import annotations

from collections.abc import Sequence

from nnactive_ext.experiment.blocks import BlockTable
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.members.ensemble import trained_folds


def leaving(experiment: Experiment, paths: bool = True) -> list[tuple[str, str]]:
    """What each command is for, and the command, with the members of the current cycle.

    Args:
        experiment: of any cycle.
        paths: name folders of this machine where a command needs them; else only the file.

    Returns:
        Nothing before a member of the cycle is trained on the labels that are in place. Where some are not trained, the
        commands name those that are.
    """
    trained = trained_folds(experiment) if experiment.state["cycle"] >= 0 else []
    if not trained:
        return []
    folds = trained if len(trained) < len(experiment.folds()) else []
    return [
        ("To segment other images where only nnU-Net is installed", experiment.commands.export_model(folds)),
        ("To label the images of the pool", _labelling(experiment, folds, paths)),
    ]


def _labelling(experiment: Experiment, folds: Sequence[int], paths: bool) -> str:
    """``folds``: the members, where some are not trained."""
    chosen = ("-f", *folds) if folds else ()
    if blocks := BlockTable.read(experiment.raw).blocks:
        volume = next(iter(blocks.values())).volume
        return experiment.commands.predict_blocks("-i", volume if paths else volume.name, "-o", "LABELS.ome.zarr", *chosen)
    return experiment.commands.export_labels("-o", "labels", *chosen)
