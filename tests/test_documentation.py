"""Every command of ours that README and docs show can be typed as shown, and every file they link to exists."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

NAMES = "plan|query|run|phantom|annotate|status|change|compare|bench|report"
ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shown_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.search(rf"\bnnactive_({NAMES})\b.*", line.split("#")[0])
                if match:
                    found.append((name_of(page), match[0].strip()))
    return found


def test_the_pages_show_commands():
    assert {line.split()[0] for _, line in shown_commands()} >= {"nnactive_plan", "nnactive_run", "nnactive_query"}


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_shown_commands_are_understood(page, line):
    command, *arguments = shlex.split(line)
    module = importlib.import_module(f"nnactive_ext.cli.{command.removeprefix('nnactive_')}")
    module.parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_engine_page_shows_python_that_runs():
    page = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})
