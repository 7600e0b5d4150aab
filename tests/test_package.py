"""The built distributions hold what the folders hold and nothing else, and work with the sources out of the way."""

import ast
import configparser
import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from built import BESIDE, PACKAGES, build

from nnactive_ext import __version__
from nnactive_ext.cli import env
from nnactive_ext.experiment.environment import versions

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent


def modules(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


def data(folder: Path) -> set[str]:
    """All other files: templates, style sheets, scripts, what napari reads."""
    files = (
        path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__"
    )
    return {path.relative_to(folder).as_posix() for path in files}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(built) -> Path:
    """The wheel as a folder; a wheel of pure Python unpacked is installed."""
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(built / "unpacked")
    return built / "unpacked"


def run(unpacked: Path, code: str) -> str:
    """Run ``code`` in a fresh process that sees the wheel and the dependencies, and the checkout in no way."""
    # -I: no PYTHONPATH, no current folder. -S: no .pth files, and so no finder of an editable install.
    # setuptools first: on Python 3.12 it provides the distutils that nnU-Net imports, otherwise through a .pth file.
    folders = [str(unpacked), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    start = f"import sys; sys.path[:0] = {folders}; import setuptools, nnactive_ext\n"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", start + code], cwd=unpacked.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_in_the_wheel_and_no_other(unpacked):
    expected = {f"{PACKAGES[folder]}/{module}" for folder in PACKAGES for module in modules(ROOT / folder)}
    assert len(expected) > 20
    assert modules(unpacked) == expected


def test_nothing_else_is_in_the_distributions(built, unpacked):
    names = {path.name for path in unpacked.iterdir()}
    assert names == {"nnactive_ext", f"nnactive_ext-{__version__}.dist-info"}
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as opened:
        found = {Path(name).parts[1] for name in opened.getnames() if len(Path(name).parts) > 1}
    made = {"PKG-INFO", "setup.cfg", "nnactive_ext.egg-info"}
    assert found - made == {*PACKAGES, *BESIDE}


def test_every_place_has_the_same_version(built, unpacked, capsys):
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert importlib.metadata.version("nnactive-ext") == __version__, "the installation is older than the code: make venv"
    assert versions()["nnactive-ext"] == __version__
    assert {path.name.split("-")[1].removesuffix(".tar.gz") for path in built.glob("nnactive_ext-*")} == {__version__}
    assert f"\nVersion: {__version__}\n" in next(unpacked.glob("*.dist-info/METADATA")).read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == __version__
    with pytest.raises(SystemExit):
        env.main(["--version"])
    assert capsys.readouterr().out.split()[-1] == __version__


def test_every_template_and_every_other_file_is_in_the_wheel(unpacked):
    expected = {f"{PACKAGES[folder]}/{file}" for folder in PACKAGES for file in data(ROOT / folder)}
    assert {
        "nnactive_ext/napari.yaml",
        "nnactive_ext/pages/templates/base.html",
        "nnactive_ext/exchange/assets/page.css",
        "nnactive_ext/pages/assets/editor.js",
        "nnactive_ext/compare/templates/comparison.md",
        "nnactive_ext/pages/vendor/niivue.umd.js",
        "nnactive_ext/pages/vendor/niivue-LICENSE.txt",
    } <= expected
    assert {f"nnactive_ext/{file}" for file in data(unpacked / "nnactive_ext")} == expected


def test_pages_are_made_from_the_wheel(unpacked):
    values = {"title": "Liver", "counts": [], "facts": [], "following": None, "folder": "f", "hand_in": "command"}
    values |= {"classes": [], "cards": [], "blank": "", "noted": [], "annotate": None, "hand_in_files": "command"}
    code = f"from nnactive_ext.pages.templates import render\nprint(render('exchange', 'index.html', **{values}))"
    assert "<title>Liver</title>" in run(unpacked, code)


def test_every_command_has_a_main(unpacked):
    (metadata,) = unpacked.glob("*.dist-info/entry_points.txt")
    parser = configparser.ConfigParser()
    parser.read(metadata)
    commands = dict(parser["console_scripts"])
    assert commands
    code = "import importlib\n"
    for command, target in commands.items():
        assert command.startswith("nnactive_")
        module, function = target.split(":")
        code += f"assert callable(importlib.import_module({module!r}).{function}), {command!r}\n"
    run(unpacked, code)


@pytest.mark.slow
def test_nnunet_finds_the_trainers_of_the_wheel(unpacked):
    printed = run(
        unpacked,
        "import os\n"
        "from nnactive_ext.nnunet.environment import trainers_folder\n"
        "os.environ['nnUNet_extTrainer'] = str(trainers_folder())\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name\n"
        "import nnactive_ext.trainers\n"
        "for name in ('nnActiveTrainer_7epochs', 'nnActiveTrainer_7epochs_NoMirroring'):\n"
        "  trainer = recursive_find_trainer_class_by_name(name)\n"
        "  print('found', trainer.__name__, trainer.epochs, trainer.mirroring)\n"
        "print(nnactive_ext.__file__, nnactive_ext.trainers.__file__, trainers_folder(), sep='\\n')\n",
    )
    names = [line for line in printed.splitlines() if line.startswith("found")]  # nnU-Net prints lines of its own
    places = printed.splitlines()[-3:]
    assert all(Path(place).resolve().is_relative_to(unpacked.resolve()) for place in places), places
    assert names == ["found nnActiveTrainer_7epochs 7 True", "found nnActiveTrainer_7epochs_NoMirroring 7 False"]


def test_the_lists_of_public_names_and_the_mark_of_types_are_in_the_wheel(unpacked):
    stubs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nnactive_ext").rglob("*.pyi")}
    assert {"nnactive_ext/compare/__init__.pyi", "nnactive_ext/experiment/__init__.pyi"} <= stubs
    for file in (*stubs, "nnactive_ext/py.typed"):
        assert (unpacked / file).exists(), file
    run(
        unpacked,
        "from nnactive_ext.experiment import Experiment\nfrom nnactive_ext.compare import compare\nassert callable(compare)\n",
    )


def test_everything_that_is_imported_is_a_declared_dependency():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    declared = {canonical(re.match(r"[\w.-]+", line)[0]) for line in declared}
    distributions = importlib.metadata.packages_distributions()
    undeclared = set()
    for source in PACKAGES:
        for file in (ROOT / source).rglob("*.py"):
            if file.name != "slicer_script.py":  # runs in 3D Slicer
                for name in third_party(ast.parse(file.read_text(encoding="utf-8"))):
                    offered = {canonical(one) for one in distributions.get(name, [name])}
                    undeclared |= set() if offered & (declared | OPTIONAL) else {f"{file.relative_to(ROOT)}: {name}"}
    assert not undeclared


OPTIONAL = {
    "napari",
    "highdicom",
    "distributed",
    "dask",
    "nninteractive-client",
    "nninteractive",
    "zarr",
    "httpx",
    "websockets",
} | {
    name
    for name in (
        "trame",
        "trame-slicer",
        "trame-server",
        "trame-client",
        "slicer-core",
        "slicer",
        "vtk",
        "vtkmodules",
        "aiohttp",
    )
}
"""Imported only by those who have the extra that brings it."""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def third_party(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"nnactive_ext", "tomli"}
