"""Builds the distributions, and installs the wheel where the checkout is out of the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "nnactive_ext": "nnactive_ext",
    "trainers": "nnactive_ext/trainers",
    "query_methods": "nnactive_ext/query_methods",
}
"""Folder in the repository -> folder in the wheel."""
BESIDE = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "MANIFEST.in")
"""Files of the source distribution beside the packages."""


def build(root: Path, folder: Path) -> None:
    """Write the source distribution of the checkout at ``root``, and the wheel built from it, to ``folder``."""
    source = folder / "source"
    # A copy, because setuptools reuses what an earlier build left in build/, deleted files included.
    for name in PACKAGES:
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(root / name, source)
    for name in ("tests/test_it.py", "benchmarks/__init__.py", "docs/conf.py"):  # must not get in
        (source / name).parent.mkdir()
        (source / name).touch()
    _call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source)


def _call(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
