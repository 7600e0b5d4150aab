"""A mark in the folder of preprocessed cases, which nnU-Net's own preprocessing removes together with these cases."""

from __future__ import annotations

import shutil
from pathlib import Path

from nnactive_ext.files import write_json

_FOLDER, _FILE = "nnactive", "preprocessed.json"
"""A folder of its own: nnU-Net takes any file beside the cases for one of them."""


def is_marked(data_folder: Path) -> bool:
    """Whether all cases in ``data_folder`` were preprocessed by this package, and not again by nnU-Net since."""
    return (data_folder / _FOLDER / _FILE).is_file()


def mark(data_folder: Path) -> None:
    """Note that all cases were preprocessed by this package."""
    (data_folder / _FOLDER).mkdir(exist_ok=True)
    write_json(data_folder / _FOLDER / _FILE, {"by": "nnactive_ext"})


def unmark(data_folder: Path) -> None:
    """Before all cases are preprocessed again; without the mark no command goes on."""
    shutil.rmtree(data_folder / _FOLDER, ignore_errors=True)
