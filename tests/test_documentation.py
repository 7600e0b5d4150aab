"""Every command of ours that README and docs show can be typed as shown, and every file they link to exists."""

from __future__ import annotations

import importlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from nnactive_ext.experiment.commands import Commands, predict_stock
from nnactive_ext.experiment.plan import Plan

NAMES = (
    "worker|screen|uncertainty|plan|query|run|phantom|annotate|status|change|compare|bench|report|export_labels|export_model_to_zip"
    "|predict_blocks"
)
ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def shown_commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                match = re.search(rf"\bnnactive_({NAMES})\b.*", line.split("#")[0].partition(">")[0])
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


def shown_to_nnunet() -> list[str]:
    """nnU-Net's commands in all code on the pages, in lines or in sentences."""
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    found = [match[0] for text in texts for match in re.finditer(r"nnUNetv2_(?:train|predict) (?:\d|-)[^`#\n]*", text)]
    return [shlex.join(shlex.split(line)) for line in found]


def test_nnunets_commands_are_those_that_are_printed_for_the_default_plans(planned):
    """nnactive_plan prints them complete for any other experiment; tests/test_commands.py looks at those."""
    for number in ("504", "601"):
        plan = replace(planned.plan, dataset=f"Dataset{number}_X", preset=None, trainer=Plan.trainer)
        commands = Commands(plan)
        printed = {commands.train(0), commands.train("all")}
        assert {line for line in shown_to_nnunet() if line.startswith(f"nnUNetv2_train {number}")} <= printed
    found = {line for line in shown_to_nnunet() if line.startswith("nnUNetv2_predict")}
    expected = commands.predict([0, 1, 2, 3, 4])[-1].replace("FOLDER", "new_cts_nnunet").replace("PREDICTED", "predicted")
    stock = predict_stock(replace(plan, dataset="Dataset601_Liver"), [0, 1, 2, 3, 4])[-1]
    assert found == {expected, stock}
    assert sum(line.startswith("nnUNetv2_train") for line in shown_to_nnunet()) >= 3


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_engine_page_shows_python_that_runs():
    page = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})
