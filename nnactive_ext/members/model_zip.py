"""The members as a zip that stock nnU-Net installs and predicts with, without this package."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.commands import predict_stock
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.marks import Fold
from nnactive_ext.experiment.member_kinds import DROPOUT, MIRROR, SNAPSHOTS
from nnactive_ext.experiment.spaces import space_of
from nnactive_ext.files import replacing
from nnactive_ext.geometry.axes import orientation
from nnactive_ext.members.ensemble import check_members, fold_folder
from nnactive_ext.nnunet.checkpoints import read_checkpoint
from nnactive_ext.nnunet.network import stock_shapes
from nnactive_ext.nnunet.plans_files import read_plans
from nnactive_ext.nnunet.trainers import builds_its_own_network, check_trainer
from nnactive_ext.words import count

TRAINER = "nnUNetTrainer"
"""nnU-Net's own, which every installation of it finds."""
CHECKPOINT = "checkpoint_final.pth"
INSTRUCTIONS = "inference_instructions.txt"
"""As nnU-Net calls what says how to predict with a model."""
AS_EVALUATED = {
    MIRROR: "nnUNetv2_predict averages the mirrored logits of each network, as the evaluation does.",
    DROPOUT: "nnUNetv2_predict predicts without dropout, as the evaluation does.",
    SNAPSHOTS: "The file holds the last snapshot of each training (checkpoint_final.pth), which the evaluation uses, too.",
}
"""How the networks predict without this package where a query takes several predictions of each for members."""
_DESCRIBED = ("channel_names", "regions_class_order", "file_ending", "overwrite_image_reader_writer", "numTraining")
"""Keys of dataset.json, beside the labels, that nnU-Net's prediction reads or people ask for; none names a case or a file."""
_PRIVATE = "nnactive"
"""How keys of the plans begin that only our trainer reads."""


@dataclass(frozen=True)
class ModelZip:
    """A zip that was written: its ``file``, the ``folds`` in it, and the ``instructions`` for whoever gets it."""

    file: Path
    folds: tuple[Fold, ...]
    instructions: str


def export_model(experiment: Experiment, folds: Sequence[Fold], target: Path) -> ModelZip:
    """Write the members of the current cycle for ``nnUNetv2_install_pretrained_model_from_zip``.

    nnU-Net's prediction takes three things from a trainer: its ``build_network_architecture``, the configuration and the axes
    along which it mirrors. The last two stand in the checkpoint; so the members of any trainer that leaves the first to nnU-Net
    predict the same under the name ``nnUNetTrainer``, namely as in the evaluation, whatever the kind of members
    (:data:`AS_EVALUATED`). Of a member only its weights are kept, of ``dataset.json`` only what nnU-Net needs: no case, file or
    person is named. Images are not in it; the plans hold statistics of their grey values.

    Args:
        experiment: its members of the current cycle are trained.
        folds: the members.
        target: the zip file, which does not exist yet.

    Returns:
        What was written.

    Raises:
        NnActiveError: a member is missing, nnU-Net would build another network, or the file exists or is no ``.zip``.
    """
    _check_target(target)
    trainer = experiment.plan.trainer
    check_trainer(trainer)
    check_members(experiment, folds)
    if builds_its_own_network(trainer):
        raise NnActiveError(
            f"Trainer {trainer} builds a network of its own (build_network_architecture), which nnU-Net cannot build without "
            f"this trainer. Predict where the trainer is installed: {experiment.commands.predict(folds)[-1]}"
        )
    plans, described = stock_plans(read_plans(experiment.model_folder / "plans.json")), stock_description(experiment)
    expected = stock_shapes(plans, experiment.plan.configuration, described)
    instructions = _instructions(experiment, folds, described)
    folder = f"{experiment.name}/{TRAINER}__{experiment.plan.plans_identifier}__{experiment.plan.configuration}"
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for fold in folds:
            member = _stock_member(fold_folder(experiment, fold) / CHECKPOINT, fold, expected)
            with _entry(archive, f"{folder}/fold_{fold}/{CHECKPOINT}") as stream:
                _save(member, stream)
        for name, content in (("plans.json", plans), ("dataset.json", described)):
            with _entry(archive, f"{folder}/{name}", packed=True) as stream:
                stream.write(json.dumps(content, indent=1).encode("ascii"))
        with _entry(archive, f"{experiment.name}/{INSTRUCTIONS}", packed=True) as stream:
            stream.write(instructions.encode())
    return ModelZip(target, tuple(folds), instructions)


def stock_plans(plans: Mapping[str, Any]) -> dict[str, Any]:
    """nnU-Net's plans without what only our trainer reads."""
    configurations = {
        name: {key: value for key, value in configuration.items() if not key.startswith(_PRIVATE)}
        for name, configuration in plans["configurations"].items()
    }
    others = {key: value for key, value in plans.items() if not key.startswith(_PRIVATE) and key != "continue_training"}
    return {**others, "configurations": configurations}


def stock_description(experiment: Experiment) -> dict[str, Any]:
    """The dataset.json with which the members predict: without cases, and without ``ignore``, which no network predicts."""
    content = experiment.dataset.json
    labels = {name: value for name, value in content["labels"].items() if name != "ignore"}
    return {"name": experiment.name, "labels": labels, **{key: content[key] for key in _DESCRIBED if key in content}}


def _check_target(target: Path) -> None:
    if target.suffix != ".zip":
        raise NnActiveError(f"-o {target}: give the name of a .zip file, as nnU-Net installs models from.")
    if target.exists():
        raise NnActiveError(f"{target}: exists already. Delete it, or choose another name with -o.")
    if not target.parent.is_dir():
        raise NnActiveError(f"{target.parent}: no such folder. Make it, or choose another place with -o.")


def _stock_member(file: Path, fold: Fold, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What nnU-Net's prediction reads of a checkpoint; weights that its network does not have are an error."""
    checkpoint = read_checkpoint(file)
    weights = checkpoint["network_weights"]
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if differing := sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name)):
        shown = "; ".join(
            f"{name}: {found.get(name, 'none')}, nnU-Net's {expected.get(name, 'none')}" for name in differing[:3]
        )
        raise NnActiveError(
            f"{file}: its weights are not those of the network that nnU-Net builds from the plans ({shown}), so nnU-Net cannot "
            "predict with them. Predict where this package is installed."
        )
    return {
        "network_weights": weights,
        "trainer_name": TRAINER,
        "init_args": {"configuration": checkpoint["init_args"]["configuration"], "fold": fold},
        "inference_allowed_mirroring_axes": checkpoint["inference_allowed_mirroring_axes"],
    }


@contextmanager
def _entry(archive: zipfile.ZipFile, name: str, packed: bool = False) -> Iterator[IO[bytes]]:
    """A file in the zip, without the time and the user of this machine; weights do not get smaller when they are packed."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    info.external_attr = 0o644 << 16
    with archive.open(info, "w", force_zip64=True) as stream:
        yield stream


def _save(member: Mapping[str, Any], stream: IO[bytes]) -> None:
    import torch

    whole = io.BytesIO()
    torch.save(dict(member), whole)
    stream.write(whole.getbuffer())


def _instructions(experiment: Experiment, folds: Sequence[Fold], described: Mapping[str, Any]) -> str:
    channels = [f"CASE_{int(i):04d}{described['file_ending']}: {name}" for i, name in described["channel_names"].items()]
    labels = [f"{value}: {name}" for name, value in described["labels"].items()]
    lines = [
        f"{experiment.name}: {count(len(folds), 'network')} trained with nnU-Net. Stock nnU-Net (2.8.1 or later) predicts with "
        "them:",
        "",
        *(f"    {line}" for line in predict_stock(experiment.plan, folds)),
        "",
        "Images in FOLDER, one file for each channel:",
        *(f"    {line}" for line in channels),
        "Labels in PREDICTED:",
        *(f"    {line}" for line in labels),
        "",
        *_about_turns(experiment),
        "The file holds weights, names of labels and channels, and statistics of grey values. It holds no image and names no "
        "case.",
    ]
    return "\n".join(lines) + "\n"


def _about_turns(experiment: Experiment) -> list[str]:
    """What ``nnUNetv2_predict`` does not do: images were turned before the members saw them."""
    plan = experiment.plan
    if not plan.turned:
        return []
    codes = Counter(orientation(space_of(experiment, case).direction) for case in plan.pool)
    stored = ", ".join(f"{code} ({count(n, 'image')})" for code, n in codes.most_common())
    return [
        f"TURN IMAGES FIRST: {len(plan.turned)} of the {len(plan.pool) + len(plan.test)} images were turned before training, "
        "so that slices lie along the same array axis in all of them, and nnUNetv2_predict does not turn images. The members "
        f"saw arrays stored as {stored}. Turn other images with SimpleITK.DICOMOrient(image, CODE), with the CODE that puts "
        "their slices where those of the training images are. The prediction lies on the turned image, at the right place of "
        "the patient.",
        "",
    ]
