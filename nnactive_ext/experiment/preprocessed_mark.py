"""A mark in one preprocessed case, which nnU-Net's own preprocessing removes, as it makes all cases anew."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import TEMPORARY, sync_file, sync_folder
from nnactive_ext.nnunet.properties import read_properties

KEY = "nnactive"
"""In the case's properties, where nnU-Net passes over keys that it does not know."""


def is_marked(data_folder: Path, case: str) -> bool:
    """Whether the cases in ``data_folder`` are those that this package preprocessed; ``case`` is the one that was marked."""
    return KEY in (_read(data_folder / f"{case}.pkl") or {})


def mark(data_folder: Path, case: str) -> None:
    """Note in ``case`` that all cases were preprocessed by this package."""
    file = data_folder / f"{case}.pkl"
    properties = _read(file)
    if properties is None or KEY in properties:
        return
    # Not beside the cases: nnU-Net takes every file there for one of them.
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=data_folder.parent) as temporary:
        written = Path(temporary) / file.name
        written.write_bytes(pickle.dumps({**properties, KEY: True}))
        sync_file(written)
        os.replace(written, file)
    sync_folder(data_folder)


def _read(file: Path) -> dict[str, Any] | None:
    """None of a file that is not there, or that this package did not write."""
    try:
        return read_properties(file)
    except (OSError, NnActiveError):
        return None
