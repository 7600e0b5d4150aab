"""docs/architecture.md draws the layers that import-linter enforces, and names every room and no other."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return found


def drawn_layers(text: str) -> list[set[str]]:
    """The layers of the first picture in ``text``, top first: names before two spaces, separated by bars."""
    picture = re.search(r"```text\n(.*?)```", text, re.DOTALL)
    assert picture is not None
    return [set(re.split(r" \| ", line.split("  ")[0])) for line in picture[1].splitlines()]


def enforced_layers() -> list[set[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]


def rooms() -> set[str]:
    folders = [*(ROOT / "nnactive_ext").iterdir(), ROOT / "query_methods", ROOT / "trainers"]
    return {folder.name for folder in folders if (folder / "__init__.py").is_file()}


def test_the_picture_shows_the_layers_of_the_contract():
    assert drawn_layers(section("Layers")) == enforced_layers()


def test_a_picture_with_two_layers_swapped_is_told_apart():
    lines = section("Layers").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("exchange "))
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    assert drawn_layers("\n".join(lines)) != enforced_layers()


def test_every_room_is_in_the_table_and_no_other():
    assert set(re.findall(r"^\| `(\w+)/` \|", section("Rooms"), re.MULTILINE)) == rooms()


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:nnactive_ext|query_methods|trainers|tests|docs)/[\w/.]*)`", text)
    assert named
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []
