"""The examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"nnactive_ext": "", "trainers": "nnactive_ext.", "query_methods": "nnactive_ext.", "benchmarks": ""}
"""Folder -> what stands before it in the names of its modules."""


def modules() -> list[str]:
    found = []
    for folder, before in FOLDERS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in file.read_text(encoding="utf-8"):
                words = file.relative_to(ROOT).with_suffix("").parts
                found.append(before + ".".join(words[:-1] if words[-1] == "__init__" else words))
    return found


@pytest.mark.parametrize("module", modules())
def test_examples(module):
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted
    assert not results.failed
