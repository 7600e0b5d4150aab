"""nnU-Net's three folders, empty, and what it does without its waiting, for one test or for a module of them."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import pytest


def folders_below(root: Path) -> SimpleNamespace:
    """``.raw``, ``.preprocessed`` and ``.results`` below ``root``."""
    return SimpleNamespace(**{name: root / f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")})


def set_folders(monkeypatch: pytest.MonkeyPatch, root: Path) -> SimpleNamespace:
    """``folders_below(root)``, made, and the environment points at them."""
    folders = folders_below(root)
    for name, folder in vars(folders).items():
        folder.mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    return folders


def quicken(monkeypatch: pytest.MonkeyPatch, planned: Path) -> Callable:
    """Replace nnU-Net's planner by the plans it once made, those in the preprocessed folder ``planned``."""

    def plans(experiment):
        shutil.copy(planned / "nnUNetPlans.json", experiment.preprocessed.folder)
        return "nnUNetPlans"

    monkeypatch.setattr("nnactive_ext.labelling.prepare.nnunet_plans", plans)
    # The tens of millions of draws are nnU-Net's; so few voxels need no more than this.
    monkeypatch.setattr("nnactive_ext.nnunet.fingerprint._SAMPLES", 1e5)
    return plans


def threads_for_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net's pools of processes, each of which imports nnU-Net anew, become pools of threads; the results are the same."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: SimpleNamespace(Pool=ThreadPool))
