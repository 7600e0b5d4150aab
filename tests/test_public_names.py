"""What the folders re-export can be had from there, as itself, and costs nothing before it is asked for."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnactive_ext

FOLDERS = sorted(f"nnactive_ext.{module.name}" for module in pkgutil.iter_modules(nnactive_ext.__path__) if module.ispkg)
LAZY = [folder for folder in FOLDERS if not folder.endswith((".cli", ".engine", ".query_methods", ".trainers"))]
HEAVY = {"torch", "nnunetv2", "numba", "scipy", "matplotlib", "SimpleITK", "nibabel"}


def test_importing_all_folders_loads_nothing_heavy():
    code = f"import importlib, json, sys\nfor f in {LAZY}: importlib.import_module(f)\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY.isdisjoint(json.loads(done.stdout))


@pytest.mark.parametrize("folder", LAZY)
def test_every_name_is_defined_in_its_folder_and_documented(folder):
    module = importlib.import_module(folder)
    assert module.__all__
    for name in module.__all__:
        value = getattr(module, name)
        assert inspect.isfunction(value) or inspect.isclass(value), name
        assert value.__module__.startswith(f"{folder}."), name
        assert value.__doc__, name


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("compare", "compare"),
        pytest.param("exchange", "export", marks=pytest.mark.slow),
        pytest.param("planning", "create", marks=pytest.mark.slow),
    ],
)
def test_a_function_called_like_its_module_is_the_function_whichever_is_imported_first(folder, name):
    for first in (f"import nnactive_ext.{folder}.{name}", "pass"):
        code = f"{first}\nfrom nnactive_ext.{folder} import {name}\nimport nnactive_ext.{folder}.{name}\n"
        code += f"assert callable({name}) and callable(nnactive_ext.{folder}.{name})"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_the_reference_shows_every_folder_that_re_exports():
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE))
    assert {*LAZY, "nnactive_ext.engine"} <= shown


@pytest.mark.parametrize("folder", [*LAZY, "nnactive_ext.engine"])
def test_every_function_documents_its_arguments_and_what_it_returns(folder):
    module = importlib.import_module(folder)
    for name in module.__all__:
        function = getattr(module, name)
        if inspect.isfunction(function):
            signature = inspect.signature(function)
            missing = [p for p in signature.parameters if f"\n        {p}: " not in function.__doc__]
            assert not missing, (name, missing)
            if signature.return_annotation not in ("None", "Iterator[None]", None):
                assert "\n    Returns:\n" in function.__doc__, name
