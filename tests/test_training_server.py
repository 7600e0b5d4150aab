"""The process that forks for each training: its answers, its ends, and what a fork must not inherit."""

from __future__ import annotations

import os
import sys

import pytest

from nnactive_ext.members import training
from nnactive_ext.members.training_server import TrainingServer, _train
from nnactive_ext.nnunet.environment import trainers_folder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("raw", "preprocessed", "results"):
            monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path_factory.mktemp(name)))
        made = TrainingServer()
    yield made
    made.stop()


@pytest.mark.slow
def test_a_training_that_fails_has_a_status_and_a_log_and_the_next_one_is_served_too(server, tmp_path):
    for attempt in ("first", "second"):
        log = tmp_path / f"{attempt}.log"
        arguments = ["987", "3d_fullres", "0", "-tr", "nnActiveTrainer", "-device", "cpu"]
        assert server.train(arguments, {**os.environ, "nnUNet_extTrainer": str(trainers_folder())}, log) != 0
        assert "987" in log.read_text()
    assert server.running


@pytest.mark.slow
def test_arguments_are_those_of_nnunet(server, tmp_path):
    log = tmp_path / "help.log"
    assert server.train(["--help"], os.environ, log) == 0
    assert "--c" in log.read_text()


@pytest.mark.slow
def test_a_server_killed_between_trainings_is_started_again(monkeypatch, server, tmp_path):
    monkeypatch.setattr(training, "_servers", [server])
    assert training._server() is server
    server._process.kill()
    server._process.wait()
    assert server.train(["--help"], os.environ, tmp_path / "log") == 1
    again = training._server()
    assert again is not server
    again.stop()


def test_one_that_cannot_begin_says_so(tmp_path):
    other = TrainingServer()
    other._process.kill()
    assert other.train(["--help"], os.environ, tmp_path / "log") is None


def test_forks_share_no_random_state(monkeypatch, tmp_path):
    """Weights are drawn by torch, augmentations by all three: members that begin alike are no ensemble."""
    import random

    import numpy as np
    import torch

    def drawn() -> None:
        values = torch.initial_seed(), torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002
        os.write(1, " ".join(map(str, values)).encode())

    monkeypatch.setattr("nnactive_ext.members.training_process.main", drawn)
    lines = []
    for name in "ab":
        log = tmp_path / name
        server, child = os.getpid(), os.fork()
        if child == 0:
            _train({"log": str(log), "environment": dict(os.environ), "arguments": []}, server)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        lines.append(log.read_text().split())
    assert len(lines[0]) == 4
    assert all(one != other for one, other in zip(*lines, strict=True))
