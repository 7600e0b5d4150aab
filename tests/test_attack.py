"""Commands killed, or failing, at any system call: the same command, or another one first, ends as if nothing had happened."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from attack import FILES, Attacker, Fault
from attack_campaign import Campaign, Try
from attack_cases import CASES, make_states

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork, to start a command without importing nnU-Net anew")
SEED = 23


def campaign(folder: Path, tiny: Path, plans: Path, traced: bool | None = None) -> Campaign:
    for name in ("states", "io"):
        (folder / name).mkdir()
    attacker = Attacker(plans, folder / "io", **({} if traced is None else {"traced": traced}))
    make_states(folder / "states", tiny, attacker)
    return Campaign(attacker, folder / "states", folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_template, planned_template) -> Campaign:
    plans = planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json"
    return campaign(tmp_path_factory.mktemp("attack"), tiny_template, plans)


def check(made: Campaign, tries: Sequence[Try]) -> None:
    """All of them happened but few, and none went wrong.

    ``ATTACK_LOG``: a file that gets a line for each. ``ATTACK_PART``: which are tried, such as ``500:1000``, to go on after a
    break, or beside another process.
    """
    outcomes, log = [], os.environ.get("ATTACK_LOG")
    first, _, last = os.environ.get("ATTACK_PART", "").partition(":")
    for tried in tries[int(first or 0) : int(last) if last else None]:
        outcomes.append(made.attempt(tried))
        if log:
            with open(log, "a") as file:
                file.write(outcomes[-1].line() + "\n")
    wrong = [f"{outcome.tried}: {outcome.wrong}" for outcome in outcomes if outcome.wrong]
    assert wrong == []
    happened = Counter(outcome.happened for outcome in outcomes)
    assert happened[True] >= 0.9 * len(outcomes), "the tries prove little"


@pytest.mark.slow
def test_some_forty_kills(made):
    cheap = [case for case in CASES if CASES[case].dear == 1 and case not in ("run", "report", "compare")]
    check(made, made.drawn(40, SEED, cheap))


@pytest.mark.slow
def test_calls_that_fail(made):
    check(made, made.drawn(25, SEED, ["points", "import", "hand_in", "withdraw", "change -drop"], errors=True))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="nobody tells how many files are open")
@pytest.mark.parametrize("case", ["points", "import", "hand_in", "withdraw", "change -drop", "query", "export", "close"])
def test_few_open_files(made, case):
    status = next(other for other in CASES[case].others if "status" in other)
    check(made, [Try(case, Fault(FILES, number, "EMFILE", on=True), other) for number, other in ((0, status), (1, ""))])


@pytest.mark.long
def test_a_thousand_kills(made):
    check(made, made.drawn(1000, SEED))


@pytest.mark.long
def test_two_hundred_failing_calls(made):
    check(made, made.drawn(200, SEED, errors=True))


@pytest.mark.slow
def test_without_strace(tmp_path, tiny_template, planned_template):
    """The seam in Python finds the same."""
    plans = planned_template.preprocessed / "Dataset101_Tiny" / "nnUNetPlans.json"
    made = campaign(tmp_path, tiny_template, plans, traced=False)
    draw = random.Random(SEED)
    for case in ("points", "withdraw", "import"):
        calls = made.calls(case)
        assert {"rename", "fsync", "unlink", "write"} <= calls.keys()
        check(made, [Try(case, Fault(call, draw.randint(1, calls[call]))) for call in ("rename", "fsync")])
