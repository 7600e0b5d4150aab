"""Builds the network of nnU-Net's plans once, without memory, so that plans that cannot be trained are found while planning."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nnactive_ext.errors import NnActiveError, brief
from nnactive_ext.nnunet.architecture import check_architecture
from nnactive_ext.nnunet.preprocessing import Preprocessed
from nnactive_ext.nnunet.presets import BLOCKS


def check_network(target: Preprocessed, dataset_json: dict[str, Any]) -> None:
    """Build the network of the plans on torch's meta device, and give it one batch there.

    Args:
        target: the preprocessed dataset, whose plans exist.
        dataset_json: the dataset.json that it is trained with.

    Raises:
        NnActiveError: the network cannot be built, or its output has not the size of the network patch. An architecture
            that is none of nnU-Net's is built only, as not everything computes on the meta device.
    """
    architecture = target.manager()[1].network_arch_class_name
    check_architecture(target.plans, target.plans_file)
    try:
        network = _network(*target.manager(), dataset_json)
        if architecture.rpartition(".")[2] in BLOCKS and next(network.parameters()).is_meta:
            _run(network, target, dataset_json)
    except Exception as error:  # of whatever the class of the network does with its arguments
        raise NnActiveError(
            f"{target.folder / target.plans_identifier}.json: the network of {target.configuration} ({architecture}) cannot be "
            f"trained: {type(error).__name__}: {brief(error)}. Choose another planner (-pl), configuration (-c) or preset."
        ) from error


def stock_shapes(plans: dict[str, Any], configuration: str, dataset_json: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The weights, by name, of the network that nnU-Net builds from plans when it predicts, as shapes."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    check_architecture(plans, "plans.json")
    manager = PlansManager(plans)
    network = _network(manager, manager.get_configuration(configuration), dataset_json)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def built(architecture: Mapping[str, Any], channels: int, classes: int) -> Any:
    """The network of nnU-Net's plans (``architecture`` of a configuration), on torch's meta device where it can be there."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    names = ("network_class_name", "arch_kwargs", "_kw_requires_import")
    plans = (*(architecture[name] for name in names), channels, classes)
    with suppress(Exception), torch.device("meta"):  # which takes no memory, however large the network is
        return get_network_from_plans(*plans, deep_supervision=False)
    return get_network_from_plans(*plans, deep_supervision=False)


def _network(plans: Any, configuration: Any, dataset_json: dict[str, Any]) -> Any:
    return built(configuration.configuration["architecture"], *_channels(plans, configuration, dataset_json))


def _channels(plans: Any, configuration: Any, dataset_json: dict[str, Any]) -> tuple[int, int]:
    """Of the network: channels of the image, and classes or regions."""
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    images = determine_num_input_channels(plans, configuration, dataset_json)
    return images, plans.get_label_manager(dataset_json).num_segmentation_heads


def _run(network: Any, target: Preprocessed, dataset_json: dict[str, Any]) -> None:
    import torch

    plans, configuration = target.manager()
    images, classes = _channels(plans, configuration, dataset_json)
    patch = tuple(configuration.patch_size)
    found = network(torch.empty((configuration.batch_size, images, *patch), device="meta")).shape[1:]
    if tuple(found) != (classes, *patch):
        raise ValueError(f"its output is {tuple(found)} instead of {(classes, *patch)} (classes and network patch)")
