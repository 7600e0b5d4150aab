"""Our parsers and tests know each command that docs/scaling.md shows, or the page says that it was not run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from printed import parsed

from nnactive_ext.cli.worker import parser

PAGE = (Path(__file__).parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
OTHERS = {"pip", "bash", "sbatch"}
"""Commands on the page that are run by tests: this repository's installation and tests/integration/test_slurm.py."""
NOT_RUN = "# not run here"


def shown() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def in_sentences() -> list[str]:
    """Commands with arguments in code within the text."""
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    return re.findall(r"`((?:nnactive_\w+|scancel|scontrol|pip|sbatch|qsub|bsub) [^`]+)`", prose)


@pytest.mark.parametrize("line", [*shown(), *in_sentences()])
def test_a_command_is_understood_or_marked(line):
    command = line.split("#")[0].partition(">")[0].partition("<")[0].strip()
    name, *words = shlex.split(command)
    if name.startswith("nnactive_"):
        parsed(name, words)
    else:
        tested = (Path(__file__).parent / "integration" / "test_slurm.py").read_text(encoding="utf-8")
        assert name in OTHERS or NOT_RUN in line or f'"{name}"' in tested


def test_the_page_has_a_part_for_each_scheduler():
    found = [parser().parse_args(shlex.split(line.partition(">")[0])[1:]) for line in shown() if "--print" in line]
    assert {options.print for options in found} == {"slurm", "lsf", "pbs", "sge"}
    assert all(NOT_RUN in line for line in shown() if re.match("bsub|qsub", line))
