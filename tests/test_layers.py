"""The import contracts of pyproject.toml hold on the package as installed, and fail when an import breaks one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory) -> Path:
    """A folder with the package as the wheel has it, and the contracts; read only."""
    folder = tmp_path_factory.mktemp("layers")
    ignored = shutil.ignore_patterns("__pycache__")
    for source, target in (("nnactive_ext", "."), ("trainers", "nnactive_ext"), ("query_methods", "nnactive_ext")):
        shutil.copytree(ROOT / source, folder / target / source, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.path.insert(0, '.'); lint_imports_command()"
    arguments = ["--no-logo", "--no-cache", "pyproject.toml"]
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)


def with_line(laid_out: Path, tmp_path: Path, *files_and_lines: str) -> Path:
    folder = Path(shutil.copytree(laid_out, tmp_path / "copy"))
    for file, line in zip(files_and_lines[::2], files_and_lines[1::2], strict=True):
        with open(folder / "nnactive_ext" / file, "a") as handle:
            handle.write(f"\n{line}\n")
    return folder


def test_they_hold(laid_out):
    done = lint(laid_out)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "pair"),
    [
        ("geometry/patch.py", "import nnactive_ext.cli.plan", ("geometry.patch", "cli.plan")),
        ("members/statistics.py", "from nnactive_ext.loop import cycles", ("members.statistics", "loop.cycles")),
        # Siblings, and inside a function.
        ("query_methods/scores.py", "def late():\n    import nnactive_ext.compare.compare", ("scores", "compare.compare")),
    ],
    ids=["up from the ground", "up from the middle", "sideways"],
)
def test_an_import_that_goes_up_or_sideways_is_refused(laid_out, tmp_path, file, line, pair):
    done = lint(with_line(laid_out, tmp_path, file, line))
    assert done.returncode == 1, done.stdout + done.stderr
    assert all(module in done.stdout for module in pair), done.stdout


def test_a_circle_inside_a_layer_is_refused(laid_out, tmp_path):
    lines = (
        "geometry/patch.py",
        "import nnactive_ext.geometry.space",
        "geometry/space.py",
        "import nnactive_ext.geometry.patch",
    )
    done = lint(with_line(laid_out, tmp_path, *lines))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "acyclic" in done.stdout


def test_a_folder_that_no_layer_names_is_refused(laid_out, tmp_path):
    folder = with_line(laid_out, tmp_path)
    (folder / "nnactive_ext" / "attic").mkdir()
    (folder / "nnactive_ext" / "attic" / "__init__.py").touch()
    assert lint(folder).returncode == 1
