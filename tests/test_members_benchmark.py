"""The benchmark of members counts what it says: voxels that queries share, CPU seconds of children, and loops by arm."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.members import cpu_seconds, overlap, report

SIZE = (10, 10, 10)


def test_the_overlap_of_queries_counts_voxels():
    one = [["a", (0, 0, 0), SIZE], ["b", (0, 0, 0), SIZE]]
    assert overlap(one, one) == 1
    assert overlap(one, [["a", (5, 5, 0), SIZE], ["c", (0, 0, 0), SIZE]]) == 0.125
    assert overlap(one, [["a", (10, 0, 0), SIZE]]) == 0
    assert overlap(one, [["b", (0, 0, 0), SIZE]]) == 1, "of the smaller query"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cpu_seconds_of_children_count_while_they_run_and_afterwards():
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    before, pipes = cpu_seconds(), {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", work], **pipes) as child:
        child.stdout.readline()
        running = cpu_seconds() - before
        child.communicate(b"\n")
    assert 0.25 < running < cpu_seconds() - before + 0.05 < 2


def row(arm: str, repeat: int, start: tuple[int, int, int], wall: float | None = 60.0) -> dict:
    return {
        "arm": arm,
        "seed": 1,
        "repeat": repeat,
        "dice": [0.5 + 0.1 * repeat, 0.7],
        "cpu_seconds": {"train": 100.0, "query": 20.0, "evaluate": 7.0},
        "wall_seconds": wall,
        "members": 5,
        "aurc": {score: [0.2, 0.1] for score in ("predictive_entropy", "disagreement")},
        "query": [["a", start, SIZE]],
    }


def test_the_report_compares_loops_of_the_same_start():
    settings = {"pool": 2, "test": 2, "patches": 1, "patch_size": 10, "method": "m", "cycles": 2, "epochs": 50, "iterations": 2}
    rows = [row("folds", 0, (0, 0, 0)), row("mirror", 0, (5, 0, 0), None), row("mirror", 1, (0, 0, 0))]
    found = {"command": "c", "date": "2026-11-29", "commit": "x", "machine": {"cpu": "CPU"}, "rows": rows}
    page = report({**found, "settings": {**settings, "seeds": [1]}})
    assert "| `mirror` | 1 | 5 | 55.0 ± 7.1 (50.0, 60.0) | 70.0 ± 0.0 (70.0, 70.0) | 0.200 (0.100), 0.200 (0.100) |" in page
    assert "0.033" in page, "CPU hours of training and query"
    assert "| `folds` | – | 75 ± 35 |" in page, "one loop has no pair of its own"
    assert "| `mirror` | 75 ± 35 | 50 |" in page
    assert "snapshots" not in page, "an arm without a loop has no line"
