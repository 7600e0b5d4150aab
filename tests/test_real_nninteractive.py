"""nnInteractive's real server, without its weights: what the stand-in of the other tests claims about it is true."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nnactive_ext.errors import NnActiveError
from nnactive_ext.serve.interactive import Interactive, Prompt

PYTHON = "NNACTIVE_TEST_NNINTERACTIVE"
"""A Python that has the package nnInteractive; default: this one, if it has."""
SHAPE = (18, 22, 26)
A, B, NOTHING = (np.zeros(SHAPE, bool) for _ in range(3))
A[7:10, 9:13, 4:13] = True
B[6:11, 8:14, 15:22] = True
IMAGE = (np.random.default_rng(0).normal(100, 3, SHAPE) + 400 * A + 700 * B).astype(np.int16)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    python = os.environ.get(PYTHON)
    if python is None:
        try:
            found = importlib.util.find_spec("nnInteractive.inference.server.app")
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip(f"the package nnInteractive is not installed here, and {PYTHON} names no Python that has it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([python or sys.executable, str(Path(__file__).with_name("real_nninteractive.py")), str(port)])
    try:
        end = time.monotonic() + 100
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def here(url, monkeypatch) -> Iterator[Interactive]:
    monkeypatch.setenv("NN_INTERACTIVE_API_KEY", "secret")
    made = Interactive(url, 30.0)
    yield made
    made.close()


def drawn(*place) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[place] = True
    return mask


def ask(here: Interactive, kind: str, include: bool, mask: np.ndarray, start=NOTHING, after: int = 0, who: str = "anna"):
    return here.ask(who, "task", lambda: IMAGE, Prompt(kind, include, mask, 0, start, after))


@pytest.mark.slow
def test_prompts_of_each_kind(here):
    first = ask(here, "point", True, drawn(8, 11, 8))
    np.testing.assert_array_equal(first.mask, A)
    both = ask(here, "scribble", True, drawn(8, slice(10, 12), 18), after=first.number)
    np.testing.assert_array_equal(both.mask, A | B)
    less = ask(here, "lasso", False, drawn(8, slice(9, 12), slice(17, 20)), after=both.number)
    np.testing.assert_array_equal(less.mask, A)
    undone = ask(here, "point", False, drawn(8, 11, 8), after=both.number)
    np.testing.assert_array_equal(undone.mask, B)
    painted = ask(here, "point", True, drawn(8, 11, 18), start=A)
    np.testing.assert_array_equal(painted.mask, A | B)
    anew = ask(here, "point", True, drawn(8, 11, 18))
    np.testing.assert_array_equal(anew.mask, B)
    assert "CC BY-NC-SA 4.0" in here.terms


@pytest.mark.slow
def test_refusals(here, url, monkeypatch):
    ask(here, "point", True, drawn(8, 11, 8), who="ben")
    ask(here, "point", True, drawn(8, 11, 8), who="clara")
    with pytest.raises(NnActiveError, match="no free session"):
        ask(here, "point", True, drawn(8, 11, 8), who="dora")
    here.leave("ben", "task")
    time.sleep(1)
    with pytest.raises(NnActiveError, match="entirely zero"):
        here.ask("dora", "task", lambda: np.zeros_like(IMAGE), Prompt("point", True, drawn(8, 11, 8), 0, NOTHING, 0))
    monkeypatch.setenv("NN_INTERACTIVE_API_KEY", "wrong")
    with pytest.raises(NnActiveError, match="NN_INTERACTIVE_API_KEY"):
        ask(Interactive(url, 30.0), "point", True, drawn(8, 11, 8))
