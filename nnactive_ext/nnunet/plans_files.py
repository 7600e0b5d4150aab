"""nnU-Net's plans.json: the keys that we or nnU-Net look at, checked where the file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypedDict

from nnactive_ext.files import RESTORE, read_json
from nnactive_ext.paths import Name
from nnactive_ext.schemas import Amount, JsonObject, Length, Millimetres, not_empty


class _Architecture(TypedDict):
    network_class_name: str
    arch_kwargs: JsonObject
    _kw_requires_import: list[str]


class Configuration(TypedDict, total=False):
    """A configuration; one that inherits from another has few of its keys."""

    inherits_from: str
    data_identifier: Name
    preprocessor_name: str
    batch_size: Length
    patch_size: Annotated[list[Length], not_empty]
    median_image_size_in_voxels: list[Amount]
    spacing: Annotated[list[Millimetres], not_empty]
    normalization_schemes: list[str]
    use_mask_for_norm: list[bool]
    architecture: _Architecture
    previous_stage: str | None
    next_stage: str | list[str] | None
    batch_dice: bool
    nnactive: JsonObject


class _Plans(TypedDict):
    configurations: dict[str, Configuration]


def _axes(order: list[int]) -> None:
    if sorted(order) != [0, 1, 2]:
        raise ValueError(f"{order} is no order of three axes")


class Plans(_Plans, total=False):
    """nnU-Net's plans."""

    dataset_name: Name
    plans_name: Name
    original_median_spacing_after_transp: list[Millimetres]
    original_median_shape_after_transp: list[Amount]
    image_reader_writer: str
    transpose_forward: Annotated[list[int], _axes]
    transpose_backward: Annotated[list[int], _axes]
    experiment_planner_used: str
    label_manager: str
    foreground_intensity_properties_per_channel: dict[str, JsonObject]


def check_plans(plans: Plans) -> None:
    """No configuration inherits from one that is missing, or from itself in a circle; ValueError otherwise."""
    for name in plans["configurations"]:
        seen, at = {name}, name
        while at := plans["configurations"][at].get("inherits_from", ""):
            if at in seen or at not in plans["configurations"]:
                raise ValueError(f"configurations: {name}: inherits_from: {at!r} is no other configuration")
            seen.add(at)


def read_plans(file: Path, remedy: str = RESTORE) -> dict[str, Any]:
    """The content of a file of nnU-Net's plans.

    Raises:
        NnActiveError: it is missing or damaged; the message names the file and ``remedy``.
    """
    return read_json(file, Annotated[Plans, check_plans], remedy)
