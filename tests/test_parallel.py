"""The same results from one process and from several, and a dead worker is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.timing import seconds_per_step
from nnactive_ext.parallel import aside, busy, default_processes, in_one_go, map_cases


def square(number: int) -> int:
    return number * number


def die(number: int) -> int:
    os._exit(1)


def test_order_and_values_do_not_depend_on_processes():
    numbers = [3, 1, 2, 5]
    assert map_cases(square, numbers, "squaring", 2, False) == map_cases(square, numbers, "squaring", 1, False) == [9, 1, 4, 25]


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(NnActiveError, match="-np"):
        map_cases(die, [1, 2], "dying", 2, False)


def test_small_datasets_start_no_processes(monkeypatch):
    monkeypatch.setenv("nnUNet_def_n_proc", "3")
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert default_processes(1e6) == 1
    assert default_processes(1e11) == 3


def test_a_step_of_unknown_length_is_shown_unless_bars_are_not(capsys):
    for progress in (True, False):
        with busy("Planning the network", progress):
            pass
        assert ("Planning the network" in capsys.readouterr().err) == progress


def test_a_step_that_fails_is_not_shown_as_done(capsys):
    with pytest.raises(ValueError, match="no"), busy("Planning the network"):
        raise ValueError("no")
    assert "done" not in capsys.readouterr().err


def test_planning_counts_in_the_times(planned_template):
    """nnU-Net's planner ran there."""
    (file,) = planned_template.preprocessed.glob("*/nnactive_times.jsonl")
    (line,) = map(json.loads, file.read_text().splitlines())
    assert line["step"] == "plan"
    assert line["seconds"] > 0


def test_planning_is_among_an_experiments_times(planned):
    assert seconds_per_step(planned, 0)["plan"] > 0
    assert seconds_per_step(planned, 1)["plan"] == 0


def who(number: int) -> int:
    return os.getpid()


@pytest.mark.slow
def test_steps_of_one_piece_of_work_have_the_same_processes_and_one_bar(capsys):
    with in_one_go({"first": 1, "second": 3}):
        processes = {step: set(map_cases(who, range(40), step, 2)) for step in ("first", "second")}
        with aside():
            print("between")
    assert processes["first"] & processes["second"]
    assert len(processes["first"] | processes["second"]) <= 2
    said = capsys.readouterr()
    assert said.out == "between\n"
    assert "25%" in said.err
    assert "100%" in said.err


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_processes_end_with_the_one_that_was_killed():
    code = (
        "import multiprocessing, os, signal\nfrom nnactive_ext.parallel import map_cases, same_processes\n"
        "if __name__ == '__main__':\n"
        "    with same_processes():\n"
        "        map_cases(len, ['a'] * 40, 'counting', 2, False)\n"
        "        print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=100, check=False)
    children = [int(pid) for pid in done.stdout.splitlines()[-1].split()]
    assert children
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in children):
            return
        time.sleep(0.1)
    pytest.fail(f"{children} are still there")
