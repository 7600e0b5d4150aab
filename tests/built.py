"""Builds the distributions, and installs the wheel where the checkout is out of the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
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


def install(wheel: Path, folder: Path) -> Path:
    """Make an environment in ``folder`` with the wheel and the packages of this one, without its installation of the checkout.

    Returns:
        The folder of its commands.
    """
    _call(sys.executable, "-m", "venv", folder)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    _call(commands / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    site = Path(_call(commands / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # The .pth files of these folders are not read there, and so there is no finder of an editable installation; but on Python
    # 3.12 one of them provides the distutils that nnU-Net imports.
    lines = [*dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))]
    lines += ["import sys; sys.version_info < (3, 12) or __import__('setuptools')"]
    (site / "packages.pth").write_text("\n".join(lines) + "\n")
    return commands


def _call(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
