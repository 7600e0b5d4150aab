"""Weights to start from: a checkpoint of somebody's, as the tensors and plans that an experiment takes over from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.files import replacing
from nnactive_ext.nnunet.architecture import foreign_parts
from nnactive_ext.nnunet.checkpoints import read_checkpoint
from nnactive_ext.nnunet.network import built
from nnactive_ext.nnunet.nnssl import ADAPTATION, Adaptation, adaptation
from nnactive_ext.nnunet.plans_files import read_plans
from nnactive_ext.nnunet.trusted import confirm
from nnactive_ext.words import count, listed

if TYPE_CHECKING:
    import torch

TENSORS = "nnactive_pretrained.pth"
"""In the preprocessed dataset folder: what every member of every cycle starts from."""
HEADS = ".seg_layers."
"""In the names of the parameters that belong to the classes, which are drawn anew for each member."""
KEY = "pretrained"
"""In the ``"nnactive"`` of a configuration of nnU-Net's plans: the digest of the weights that members start from."""
_OTHER_PLANS = "Give the plans.json of the training with -pretrained_plans."
_NAMED = 3
_SHARED = (
    "transpose_forward",
    "transpose_backward",
    "original_median_spacing_after_transp",
    "original_median_shape_after_transp",
)
_COMPARED = ("spacing", "normalization_schemes", "patch_size")
"""Of a configuration; where a checkpoint has plans of its own, those beside it must agree in them."""


@dataclass(frozen=True)
class Pretrained:
    """What an experiment takes over.

    ``tensors``: name of a parameter -> its value, each parameter once, without the heads. ``channels``: of the images that the
    network takes, whose names are ``channel_names`` where the checkpoint tells them. ``configuration``: nnU-Net's, with
    architecture, network patch, batch size, spacing (None: that of the images) and normalisation. ``shared``: the keys of
    nnU-Net's plans beside the configurations. ``origin``: in words, where the weights come from. ``projection``: the parameter
    that may be repeated for more channels; empty where the number of channels must be equal.
    """

    file: Path
    format: str
    origin: str
    tensors: Mapping[str, torch.Tensor]
    channels: int
    channel_names: tuple[str, ...]
    configuration: Mapping[str, Any]
    shared: Mapping[str, Any]
    projection: str = ""

    def for_channels(self, names: tuple[str, ...]) -> Pretrained:
        """The weights for images with these channels; another number of channels than they take is an NnActiveError."""
        if len(names) == self.channels:
            return self
        if not (self.projection and self.channels == 1):
            own = f" ({', '.join(self.channel_names)})" if self.channel_names else ""
            raise NnActiveError(
                f"{self.file}: its network takes {count(self.channels, 'channel')}{own}, and the images have {len(names)} "
                f"({', '.join(names)}). Choose weights for as many channels."
            )
        one = self.tensors[self.projection]
        many = one.repeat(1, len(names), *[1] * (one.ndim - 2)) / len(names)
        configuration = dict(self.configuration)
        for key in ("normalization_schemes", "use_mask_for_norm"):
            configuration[key] = list(configuration[key]) * len(names)
        tensors = {**self.tensors, self.projection: many}
        return replace(self, tensors=tensors, channels=len(names), channel_names=names, configuration=configuration)


def read_pretrained(file: Path, configuration: str, plans_file: Path | None = None, trust: bool = False) -> Pretrained:
    """Read a checkpoint of nnU-Net or nnssl, and make sure that it is one of the network that its plans build.

    Args:
        file: the checkpoint.
        configuration: the experiment's, such as 3d_fullres, in whose dimensions the network must work.
        plans_file: nnU-Net's plans of the training; None: those beside its fold folder, or in the checkpoint.
        trust: open the file as nnU-Net would (:func:`nnactive_ext.nnunet.checkpoints.read_checkpoint`).

    Returns:
        The weights, on the CPU, and what belongs to them.

    Raises:
        NnActiveError: the file holds no weights of a network that nnU-Net trains, or of another one than its plans build; the
            message lists the first three parameters that differ, with both shapes.
    """
    if file.is_dir():
        raise NnActiveError(f"{file}: is a folder. Give the checkpoint in it, such as fold_0/checkpoint_final.pth.")
    content = read_checkpoint(file, trust)
    weights = content.get("network_weights")
    if not isinstance(weights, Mapping) or not any(hasattr(value, "ndim") for value in weights.values()):
        raise NnActiveError(
            f"{file}: has no network_weights, as nnU-Net's and nnssl's checkpoints do; it has "
            f"{listed(list(map(str, content))) or 'nothing'}. Give the checkpoint of a training."
        )
    weights = {_plain(str(name)): value for name, value in weights.items() if hasattr(value, "ndim")}
    if ADAPTATION in content:
        found = _of_nnssl(file, content, weights, trust)
    else:
        found = _of_nnunet(file, content, weights, configuration, plans_file, trust)
    axes, wanted = len(found.configuration["patch_size"]), 2 if configuration == "2d" else 3
    if axes != wanted:
        raise NnActiveError(f"{file}: its network is {axes}D, and -c {configuration} is {wanted}D. Choose another one with -c.")
    return found


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of names, types, shapes and values, whatever file they lie in, in hexadecimal digits."""
    import torch

    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu()
        found.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        found.update(value.reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_tensors(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write :data:`TENSORS` into the preprocessed dataset ``folder``: tensors by name, and nothing else."""
    import torch

    with replacing(folder / TENSORS) as temporary:
        torch.save({name: value.detach().cpu().clone() for name, value in tensors.items()}, temporary)


def read_tensors(folder: Path, sha256: str) -> dict[str, torch.Tensor]:
    """The tensors in the preprocessed dataset ``folder``; others than those with this :func:`digest` are an NnActiveError."""
    file = folder / TENSORS
    if not file.is_file():
        raise NnActiveError(
            f"{file}: no such file. The members start from it; copy it from where the experiment was planned with -pretrained."
        )
    tensors = read_checkpoint(file)
    if (found := digest(tensors)) != sha256:
        raise NnActiveError(
            f"{file}: holds other weights (sha256 {found[:12]}...) than the experiment was planned with ({sha256[:12]}...). "
            "Restore the file."
        )
    return tensors


def plans_with(
    taken: Mapping[str, Any], dataset: str, identifier: str, configuration: str, dataset_json: Mapping[str, Any], reader: str
) -> dict[str, Any]:
    """nnU-Net's plans of a dataset that takes its network over.

    Args:
        taken: the keys of :attr:`Pretrained.shared`, and under ``configuration`` that of the network.
        dataset: name of the dataset.
        identifier: name of the plans.
        configuration: name of the configuration, the only one.
        dataset_json: of the dataset.
        reader: name of nnU-Net's class that reads its images.
    """
    found = {**taken["configuration"], "data_identifier": f"{identifier}_{configuration}"}
    intensities = dict(taken.get("foreground_intensity_properties_per_channel") or {})
    for channel in dataset_json["channel_names"]:  # z-score does not use them, and nnU-Net wants some
        intensities.setdefault(str(channel), dict.fromkeys(_INTENSITIES, 0.0))
    medians = {f"original_median_{what}_after_transp": found[key] for what, key in _MEDIANS.items()}
    return {
        **medians,
        **{key: value for key, value in taken.items() if key != "configuration"},
        "dataset_name": dataset,
        "plans_name": identifier,
        "image_reader_writer": reader,
        "label_manager": "LabelManager",
        "experiment_planner_used": "none: plans of pretrained weights",
        "foreground_intensity_properties_per_channel": intensities,
        "configurations": {configuration: found},
    }


_INTENSITIES = ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")
_MEDIANS = {"spacing": "spacing", "shape": "patch_size"}


def _plain(name: str) -> str:
    """The name of a parameter without what parallel or compiled training puts before it."""
    for prefix in ("module.", "_orig_mod."):
        name = name.removeprefix(prefix)
    return name


def _of_nnunet(
    file: Path, content: Mapping[str, Any], weights: Mapping[str, Any], asked: str, plans_file: Path | None, trust: bool
) -> Pretrained:
    started = content.get("init_args")
    started = started if isinstance(started, Mapping) else {}
    own = json.loads(json.dumps(started.get("plans") or {}, default=lambda value: value.tolist()))  # numpy's numbers
    plans, where = _plans(file, own, plans_file)
    name = str(started.get("configuration") or asked)
    found = _configuration(plans, name, where)
    if own and own is not plans:
        _check_same(file, where, _configuration(own, name, str(file)), found)
    if found.get("previous_stage"):
        raise NnActiveError(f"{file}: {name} is the second stage of a cascade, which is not supported. Choose other weights.")
    stem = next((value for value in weights.values() if value.ndim >= 4), None)
    if stem is None:
        raise NnActiveError(
            f"{file}: its network has no convolutions, so it is none of nnU-Net's U-Nets. Choose other weights."
        )
    tensors = _matched(
        file, _network(file, found["architecture"], stem.shape[1], trust), weights, lambda name: "" if HEADS in name else name
    )
    described = (started.get("dataset_json") or {}).get("channel_names") or {}
    shared = {key: plans[key] for key in (*_SHARED, "foreground_intensity_properties_per_channel") if key in plans}
    trained = [content.get("trainer_name"), plans.get("dataset_name"), name]
    origin = ", ".join(str(one) for one in trained if one)
    channels = tuple(str(described[key]) for key in sorted(described, key=int))
    return Pretrained(file, "nnU-Net", f"{origin}; plans from {where}", tensors, int(stem.shape[1]), channels, found, shared)


def _plans(file: Path, own: Mapping[str, Any], given: Path | None) -> tuple[Mapping[str, Any], str]:
    """nnU-Net's plans of a training, and where they were found."""
    beside = [folder / "plans.json" for folder in (file.parent.parent, file.parent)]
    chosen = given or next((one for one in beside if one.is_file()), None)
    plans = read_plans(chosen, _OTHER_PLANS) if chosen else own
    if not plans:
        raise NnActiveError(
            f"{file}: its plans are needed, and there is no plans.json beside its fold folder. Give it with -pretrained_plans."
        )
    if not isinstance(plans, Mapping) or not isinstance(plans.get("configurations"), Mapping):
        raise NnActiveError(f"{file}: it holds no plans of nnU-Net. {_OTHER_PLANS}")
    return plans, str(chosen.name) if chosen else "the checkpoint"


def _configuration(plans: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """A configuration of plans, whole, also where they are of an earlier version of nnU-Net."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    if name not in plans["configurations"]:
        raise NnActiveError(
            f"{where}: has no configuration {name}; it has {', '.join(plans['configurations'])}. Give the plans that the "
            "checkpoint was trained with (-pretrained_plans), or choose one of these with -c."
        )
    try:
        found: dict[str, Any] = PlansManager(deepcopy(dict(plans))).get_configuration(name).configuration
        lacking = [key for key in (*_COMPARED, "architecture", "batch_size", "use_mask_for_norm") if key not in found]
    except (KeyError, RuntimeError, ValueError) as error:
        lacking = [brief(error)]
    if lacking:
        raise NnActiveError(
            f"{where}: its configuration {name} lacks {', '.join(lacking)}. Give the plans with -pretrained_plans."
        )
    return {key: value for key, value in found.items() if key not in ("inherits_from", "next_stage", "nnactive")}


def _check_same(file: Path, where: str, own: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    problems = [f"{key}: {own[key]} in the checkpoint, {found[key]} in {where}" for key in _COMPARED if own[key] != found[key]]
    if problems:
        raise NnActiveError(
            f"{file}: was trained with other plans than {where}: {'; '.join(problems)}. Give the plans of this training with "
            "-pretrained_plans."
        )


def _of_nnssl(file: Path, content: Mapping[str, Any], weights: Mapping[str, Any], trust: bool) -> Pretrained:
    found: Adaptation = adaptation(file, content[ADAPTATION])
    network = _network(file, found.configuration["architecture"], found.channels, trust)
    tensors = _matched(file, network, weights, lambda name: found.source_of(name, network.key_to_encoder, network.key_to_stem))
    projection = next(name for name, value in tensors.items() if value.ndim >= 4)
    origin = ", ".join(str(one) for one in (content.get("trainer_name"), found.origin, "encoder and stem only") if one)
    shared = {key: [0, 1, 2] for key in ("transpose_forward", "transpose_backward")}
    return Pretrained(file, "nnssl", origin, tensors, found.channels, (), found.configuration, shared, projection)


def _network(file: Path, architecture: Mapping[str, Any], channels: int, trust: bool) -> Any:
    """The network, whose classes are imported and called: those of a stranger's plans may be anything."""
    foreign = foreign_parts(architecture)
    if trust:
        for name in foreign:
            confirm(name)  # for the trainings that follow
    elif foreign:
        raise NnActiveError(
            f"{file}: the network of its plans uses {listed(foreign)}, which is none of nnU-Net's or torch's layers, so "
            "building it can run code. If you trust whoever made the file and its plans, add --trust."
        )
    try:
        return built(architecture, channels, 2)  # however many classes: their layers are drawn anew
    except Exception as error:  # whatever the class of the network does with its arguments
        raise NnActiveError(
            f"{file}: the network of its plans ({architecture.get('network_class_name')}) cannot be built: "
            f"{type(error).__name__}: {brief(error)}."
        ) from error


def _matched(file: Path, network: Any, weights: Mapping[str, Any], source_of: Callable[[str], str]) -> dict[str, torch.Tensor]:
    """The weights of a network's parameters, each once; ``source_of``: name -> name in the file, empty for what is drawn anew.

    nnU-Net's networks know a parameter by several names, some with numbers that depend on whether there is dropout; the first
    one does not.
    """
    once = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    stored = network.state_dict()
    names = {name: source for name in once if name in stored and (source := source_of(name))}
    problems = list(_differences({name: once[name] for name in names}, names, weights))
    known = {source for name in stored if (source := source_of(name))}
    folders = {source.partition(".")[0] for source in known}
    more = [name for name in weights if name not in known and HEADS not in name and name.partition(".")[0] in folders]
    if all(source_of(name) or HEADS in name for name in stored):  # of a whole network
        problems += [f"{name}: {_shape(weights[name])} in the file, nothing in the network" for name in more]
    if problems:
        shown = "\n".join(f"    {problem}" for problem in problems[:_NAMED])
        further = f"\n    and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise NnActiveError(
            f"{file}: these are not the weights of the network that its plans build. Parameters that differ:\n{shown}"
            f"{further}\nGive the plans that the checkpoint was trained with (-pretrained_plans), or other weights."
        )
    return {name: weights[source] for name, source in names.items()}


def _differences(network: Mapping[str, Any], names: Mapping[str, str], weights: Mapping[str, Any]) -> Iterator[str]:
    for name, parameter in network.items():
        found = weights.get(names[name])
        if found is None:
            yield f"{name}: {_shape(parameter)} in the network, nothing in the file"
        elif _shape(found) != _shape(parameter):
            yield f"{name}: {_shape(parameter)} in the network, {_shape(found)} in the file"


def _shape(value: Any) -> str:
    return " x ".join(map(str, getattr(value, "shape", ()))) or "a number"
