"""What benchmarks measure of commands: memory of all processes at once, processor time, and how it grows."""

from __future__ import annotations

import os
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)
from benchmarks.many_cases import case, growth
from benchmarks.watched import watched

HOLDS = "import time; held = bytearray(b'x' * 80_000_000); time.sleep(1.5)"


def test_the_memory_of_a_command_and_of_what_it_starts_is_added_up():
    alone = watched([sys.executable, "-c", HOLDS], os.environ, 0.05)
    child = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {HOLDS!r}]); {HOLDS}; p.wait()"
    both = watched([sys.executable, "-c", child], os.environ, 0.05)
    assert alone.peak_gb > 0.08
    assert both.peak_gb > 0.16
    assert both.processor > 0


def test_a_command_that_fails_ends_the_benchmark_with_what_it_printed():
    with pytest.raises(SystemExit, match="out of luck"):
        watched([sys.executable, "-c", "raise SystemExit('out of luck')"], os.environ, 0.05)


@pytest.mark.parametrize("power", [1, 2])
def test_the_order_of_growth_does_not_depend_on_the_time_to_start(power):
    rows = [{"processor": 20 + 0.01 * n**power} for n in (375, 750, 1500, 3000)]
    assert growth(rows) == pytest.approx(power)


def test_cases_differ_and_are_the_same_each_time():
    (image, labels), (other, _) = case(3), case(4)
    assert (case(3)[0] == image).all()
    assert (image != other).any()
    assert set(labels.flat) == {0, 1}, "a third has no lesion"
    assert image.dtype.itemsize == 2
