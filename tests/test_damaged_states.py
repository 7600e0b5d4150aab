"""Commands on experiments with one damaged file: an error in words that changes nothing, or the same as without the damage."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from damaged_states import FINE, OTHERWISE, REFUSED, ROLLOUT, SAID, SIMULATION, Damage, Ended, State, tries
from reliability import written_down

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands run in forked processes")
SOME, MANY = 60, 500


@pytest.fixture
def states(finished_template, tasks_template, tmp_path) -> list[State]:
    plans = next(finished_template.preprocessed.glob("Dataset101_*/nnUNetPlans.json"))
    simulation = State(finished_template.raw.parent, tmp_path / "simulation", SIMULATION, plans)
    return [simulation, State(tasks_template.raw.parent, tmp_path / "rollout", ROLLOUT, plans)]


def failures(found: Sequence[Ended]) -> str:
    return "\n".join(str(one) for one in found if one.failed)


def test_one_damaged_file(states):
    """Of the report: valid JSON of the wrong type in the state was a traceback."""
    state = states[0]
    file = next(file for file in state.files() if file.name == "nnactive_state.json")
    for content in (b"null", b"[" * 200_000):
        ended = state.end_of(Damage(file, content, "seed"), "status")
        assert ended.outcome == REFUSED
        assert "nnactive_state.json" in ended.text


@pytest.mark.slow
def test_some_damaged_files(states):
    assert not failures(tries(states, SOME, 5))


@pytest.mark.long
def test_hundreds_of_damaged_files(states):
    found = tries(states, MANY, 6)
    written_down("states", table(found))
    if told := failures(found):
        pytest.fail(told, pytrace=False)


def table(found: Sequence[Ended]) -> str:
    """The numbers of each kind of file, as a table, and what was done without a word."""
    kinds = (FINE, REFUSED, SAID, OTHERWISE)
    rows: dict[str, Counter[str]] = {}
    for one in found:
        rows.setdefault(_kind(one.damage.file), Counter())[one.outcome if one.outcome in kinds else "failed"] += 1
    lines = [
        "| file | tries | as undamaged | refused | done, with a word | done otherwise | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, counts in [*sorted(rows.items()), ("all", sum(rows.values(), Counter()))]:
        numbers = [counts.total(), *(counts[kind] for kind in kinds), counts["failed"]]
        lines.append(f"| {name} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


def _kind(file: Path) -> str:
    """Files of cases are one kind."""
    name = file.name
    if file.parent.name == "candidates":
        return "candidates"
    return name if file.suffix in (".json", ".jsonl") else f"{file.parent.name}/*{''.join(file.suffixes)}"
