"""nnU-Net's three folders, empty, for one test or for a module of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest


def set_folders(monkeypatch: pytest.MonkeyPatch, root: Path) -> SimpleNamespace:
    """``.raw``, ``.preprocessed`` and ``.results`` below ``root``, which the environment then points at."""
    folders = SimpleNamespace()
    for name in ("raw", "preprocessed", "results"):
        folder = root / f"nnUNet_{name}"
        folder.mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
        setattr(folders, name, folder)
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    return folders
