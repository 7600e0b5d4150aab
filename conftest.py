"""What all tests share: a check of what is installed, nnU-Net's folders, the browser, 3D Slicer, and the real data."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent
FOLDERS = {
    "nnactive_ext": "nnactive_ext",
    "nnactive_ext.trainers": "trainers",
    "nnactive_ext.query_methods": "query_methods",
}
"""Package -> its folder in a checkout."""


def _source(package: str) -> Path | None:
    """The folder that ``package`` is imported from, None if it cannot be imported."""
    try:
        spec = importlib.util.find_spec(package)
    except ImportError:
        return None
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _check_sources() -> None:
    """The tests must run with one tree: this checkout, or an installed wheel, never with parts of two."""
    sources = {package: _source(package) for package in FOLDERS}
    # From the checkout alone nnactive_ext can be imported, but its trainers and query methods do not lie below it.
    missing = [package for package, source in sources.items() if source is None]
    if missing:
        raise pytest.UsageError(f"{', '.join(missing)} is not installed here. Run: pip install -e '.[dev]'")
    if all(sources[package] == ROOT / folder for package, folder in FOLDERS.items()):
        return
    if all("site-packages" in source.parts for source in sources.values() if source is not None):
        return
    places = "\n".join(f"  {package}: {source}" for package, source in sources.items())
    raise pytest.UsageError(
        f"The tests lie in {ROOT}, but the package is imported from elsewhere:\n{places}\n"
        f"Make an environment for this checkout: cd {ROOT} && make venv, then run .venv/bin/pytest."
    )


@pytest.hookimpl(tryfirst=True)  # before hypothesis looks for the profile named on the command line
def pytest_configure(config: pytest.Config) -> None:
    _check_sources()
    from hypothesis import settings

    # A deadline measures the machine, not the code.
    settings.register_profile("default", max_examples=20, deadline=None)
    settings.register_profile("slow", max_examples=1000, deadline=None)
    if not config.getoption("--hypothesis-profile", default=None):
        slow = config.getoption("markexpr") in ("slow", "long")
        settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("slow" if slow else "default"))


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long case of a slow test is long only."""
    for item in items:
        if item.get_closest_marker("long"):
            item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "slow"]


def _absent(reason: str) -> None:
    """Skip the test, but fail it in CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def hippocampus() -> Path:
    """The raw dataset of 260 real cases, read only; without it a test is skipped, in CI it fails."""
    given = os.environ.get("NNACTIVE_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    dataset = folder / "Dataset004_Hippocampus"
    if not dataset.is_dir():
        _absent(f"{dataset} does not exist; set NNACTIVE_TEST_DATA to the folder that holds Dataset004_Hippocampus")
    return dataset


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium; without it (or playwright) a test is skipped, in CI it fails."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        _absent("Chromium is not installed. Run: apt-get install -y chromium")
    if importlib.util.find_spec("playwright") is None:
        _absent("playwright is not installed. Run: pip install playwright")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def core() -> Any:
    """3D Slicer without its windows, a scene of its own for each file; where it is absent a test is skipped, in CI it fails."""
    if importlib.util.find_spec("trame_slicer") is None:
        _absent("3D Slicer's core is not installed. Run: make slicer")
    from real_slicer import Core

    return Core()


@pytest.fixture
def nnunet_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Empty nnU-Net folders of this test's own: ``.raw``, ``.preprocessed``, ``.results``."""
    from folders import set_folders  # tests/ can be imported from once its tests are collected

    return set_folders(monkeypatch, tmp_path)
