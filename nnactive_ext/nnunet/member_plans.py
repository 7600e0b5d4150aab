"""Writes into nnU-Net's plans what members need there: dropout layers, or the number of snapshots of a training."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from nnactive_ext.errors import NnActiveError


def plan_members(plans: Mapping[str, Any], configuration: str, members: Mapping[str, float]) -> dict[str, Any]:
    """A copy of ``plans`` whose ``configuration`` trains such members.

    Args:
        plans: nnU-Net's.
        configuration: the one that is trained.
        members: ``{"snapshots": number}``, ``{"dropout": probability}``, or nothing.

    Raises:
        NnActiveError: the architecture has no place for dropout.
    """
    changed = deepcopy(dict(plans))
    planned = changed["configurations"][configuration]
    if "snapshots" in members:
        planned["nnactive"] = {**(planned.get("nnactive") or {}), "snapshots": int(members["snapshots"])}
    if "dropout" in members:
        architecture = planned["architecture"]["arch_kwargs"]
        if "dropout_op" not in architecture:
            name = planned["architecture"]["network_class_name"]
            raise NnActiveError(f"-members dropout: {name} has no dropout. Choose another planner (-pl) or other members.")
        dimensions = len(planned["patch_size"])
        architecture["dropout_op"] = f"torch.nn.modules.dropout.Dropout{dimensions}d"
        architecture["dropout_op_kwargs"] = {"p": members["dropout"], "inplace": True}
    return changed
