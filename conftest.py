"""What all tests share: a check that the package is installed, nnU-Net's folders, and the real data."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest


def _installed() -> bool:
    try:
        importlib.metadata.distribution("nnactive-ext")
        # From the checkout alone nnactive_ext can be imported, but its trainers and query methods are not below it.
        return importlib.util.find_spec("nnactive_ext.trainers") is not None
    except ImportError:
        return False


@pytest.hookimpl(tryfirst=True)  # before hypothesis looks for the profile named on the command line
def pytest_configure(config: pytest.Config) -> None:
    if not _installed():
        raise pytest.UsageError("nnactive-ext is not installed here. Run: pip install -e '.[dev]'")

    from hypothesis import settings

    # A deadline measures the machine, not the code.
    settings.register_profile("default", max_examples=30, deadline=None)
    settings.register_profile("slow", max_examples=1000, deadline=None)
    if not config.getoption("--hypothesis-profile", default=None):
        slow = config.getoption("markexpr") == "slow"
        settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("slow" if slow else "default"))


@pytest.fixture(scope="session")
def hippocampus() -> Path:
    """The raw dataset of 260 real cases, read only; without it a test is skipped, in CI it fails."""
    given = os.environ.get("NNACTIVE_TEST_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parent.parent / "shared" / "data"
    dataset = folder / "Dataset004_Hippocampus"
    if not dataset.is_dir():
        reason = f"{dataset} does not exist; set NNACTIVE_TEST_DATA to the folder that holds Dataset004_Hippocampus"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return dataset


@pytest.fixture
def nnunet_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Empty nnU-Net folders of this test's own: ``.raw``, ``.preprocessed``, ``.results``."""
    from folders import set_folders  # tests/ can be imported from once its tests are collected

    return set_folders(monkeypatch, tmp_path)
