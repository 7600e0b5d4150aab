"""The network that nnU-Net's plans name: building it imports and calls what they say, which could be anything."""

from __future__ import annotations

import pydoc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.nnunet.trusted import is_confirmed_network
from nnactive_ext.words import listed

_OURS = ("dynamic_network_architectures.", "torch.nn.")
"""Where nnU-Net's networks and their layers are."""


def foreign_parts(architecture: Mapping[str, Any]) -> list[str]:
    """The classes of a network that are none of nnU-Net's networks and torch's layers, nor confirmed on this machine.

    Args:
        architecture: of a configuration of nnU-Net's plans.
    """
    kwargs = architecture.get("arch_kwargs") or {}
    needed = architecture.get("_kw_requires_import") or ()
    named = [architecture.get("network_class_name"), *(kwargs.get(key) for key in needed)]
    return [str(one) for one in named if one is not None and not (_is_layer(one) or is_confirmed_network(str(one)))]


def check_architecture(plans: Mapping[str, Any], file: Path | str) -> None:
    """Refuse plans of which one configuration has a network with :func:`foreign_parts`.

    Raises:
        NnActiveError: names these, and how to confirm them. Nothing of them has been imported.
    """
    for configuration in plans.get("configurations", {}).values():
        if foreign := foreign_parts(configuration.get("architecture") or {}):
            raise NnActiveError(
                f"{file}: the network of these plans cannot be trained or asked: it uses {listed(foreign)}, which is none of "
                "nnU-Net's networks or torch's layers, so building it can run code. If you trust whoever made the plans, "
                f"confirm it: nnactive_env --trust {' '.join(foreign)}"
            )


def _is_layer(name: object) -> bool:
    """Whether a dotted name leads to a layer; torch.nn.functional.torch.hub.load, say, begins like one."""
    if not isinstance(name, str) or not name.startswith(_OURS):
        return False
    import torch

    found = pydoc.locate(name)
    if found is None:  # nnU-Net then looks among its own networks, and does without a layer
        return True
    return isinstance(found, type) and issubclass(found, torch.nn.Module) and found.__module__.startswith(_OURS)
