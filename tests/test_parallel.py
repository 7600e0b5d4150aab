"""The same results from one process and from several, and a dead worker is reported."""

from __future__ import annotations

import os

import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.parallel import default_processes, map_cases


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
