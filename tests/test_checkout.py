"""The tests refuse to run with a package that is not of their own checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EMPTY = "def test_nothing():\n    pass\n"


@pytest.fixture
def clone(tmp_path) -> Path:
    """A second clone: the conftest and a test; the environment has the editable install of this checkout."""
    folder = tmp_path / "clone"
    folder.mkdir()
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "test_nothing.py").write_text(EMPTY)
    return folder


def add(folder: Path, *packages: str) -> None:
    for name in packages:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()


def pytest_in(folder: Path, *first: Path, editable: bool = True) -> subprocess.CompletedProcess:
    """pytest in ``folder``, with ``first`` on the path before everything else, and with editable installs or without."""
    code = f"import sys; sys.path[:0] = {list(map(str, first))}; import pytest\n"
    if not editable:
        code += "sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in repr(finder)]\n"
    code += "sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "-q", "-p", "no:cacheprovider", str(folder)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


def test_a_clone_whose_environment_is_another_checkouts_is_refused(clone):
    done = pytest_in(clone)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "make venv" in done.stderr
    assert str(ROOT) in done.stderr


def test_a_mixture_of_two_checkouts_is_refused(clone, tmp_path):
    """The clone's package comes first, its trainers from elsewhere."""
    add(clone, "nnactive_ext", "query_methods")
    add(tmp_path, "other/nnactive_ext/trainers", "other/nnactive_ext/query_methods")
    (clone / "nnactive_ext" / "__init__.py").write_text(f"__path__.append({str(tmp_path / 'other' / 'nnactive_ext')!r})\n")
    done = pytest_in(clone, clone)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "make venv" in done.stderr


def test_an_installed_wheel_may_be_tested(clone, tmp_path):
    installed = tmp_path / "site-packages"
    add(installed, "nnactive_ext", "nnactive_ext/trainers", "nnactive_ext/query_methods")
    done = pytest_in(clone, installed)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_not_installed_is_said_with_the_remedy(clone):
    add(clone, "nnactive_ext")
    done = pytest_in(clone, clone, editable=False)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "pip install -e" in done.stderr
