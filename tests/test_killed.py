"""`nnactive_run` killed with SIGKILL at any moment and started again ends as an undisturbed run does."""

from __future__ import annotations

import os
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from types import SimpleNamespace

import numpy as np
import pytest
from fake_members import copy_of, fake_tools
from forked import PROCESSES
from same_files import contents

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json
from nnactive_ext.loop.cycles import run_cycles

NUMBER = 101
MOMENTS = 8
"""At how many moments a run is killed, of each kind of members."""
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork, to start a run without importing nnU-Net anew")
KINDS = [
    pytest.param("folds", marks=pytest.mark.slow),
    *(pytest.param(k, marks=pytest.mark.long) for k in ("mirror", "snapshots:2")),
]


@pytest.fixture(scope="module", params=KINDS)
def planned(request, planned_template, tmp_path_factory) -> SimpleNamespace:
    """Read only; the members of the experiment are of each kind."""
    if request.param == "folds":
        return planned_template
    with pytest.MonkeyPatch.context() as patch:
        folders = copy_of(planned_template, tmp_path_factory.mktemp("template"), patch)
    file = next(folders.raw.glob("Dataset101_*")) / "nnactive_plan.json"
    write_json(file, {**read_json(file), "settings": {"members": request.param}})
    return folders


def _run(folders: dict[str, str], die_at: int = 0, count=None) -> None:
    """All cycles with fake members; dies by SIGKILL right before the ``die_at``-th file would be put in place."""
    os.environ.update(folders)
    replace, done = os.replace, 0

    def counting(source, target):
        nonlocal done
        done += 1
        if done == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counting
    experiment = Experiment.find(NUMBER)
    with experiment.lock():
        run_cycles(experiment, fake_tools(seconds=0.05), progress=False, say=lambda text: None)
    if count is not None:
        count.value = done


def _start(folders: SimpleNamespace, *arguments) -> BaseProcess:
    environment = {f"nnUNet_{name}": str(folder) for name, folder in vars(folders).items()}
    process = PROCESSES.Process(target=_run, args=(environment, *arguments))
    process.start()
    return process


@pytest.fixture(scope="module")
def undisturbed(planned, tmp_path_factory) -> tuple[dict[str, object], float, int]:
    """What an undisturbed run leaves, the seconds it took, and how many files it put in place."""
    replaced = PROCESSES.Value("i", 0)
    with pytest.MonkeyPatch.context() as patch:
        _start(copy_of(planned, tmp_path_factory.mktemp("first"), patch)).join()  # imports, and compiles into files
        folders = copy_of(planned, tmp_path_factory.mktemp("undisturbed"), patch)
        start = time.perf_counter()
        process = _start(folders, 0, replaced)
        process.join()
        seconds = time.perf_counter() - start
        assert process.exitcode == 0
        return contents(folders), seconds, replaced.value


def _finish_and_compare(folders: SimpleNamespace, expected: dict[str, object]) -> None:
    process = _start(folders)
    process.join()
    assert process.exitcode == 0, "the run does not go on after the kill"
    found = contents(folders)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


def test_an_undisturbed_run_makes_every_loop(undisturbed):
    found, _, _ = undisturbed
    assert {name for name in found if name.startswith("loop_")} == {f"loop_00{i}.json" for i in range(3)}
    assert {name for name in found if name.startswith("results/")} == {f"results/cycle_00{i}.json" for i in range(3)}


def test_killed_at_random_moments(planned, undisturbed, tmp_path, monkeypatch):
    expected, seconds, _ = undisturbed
    rng = np.random.default_rng(0)
    killed = 0
    for moment in range(MOMENTS):
        folder = tmp_path / str(moment)
        folders = copy_of(planned, folder, monkeypatch)
        process = _start(folders)
        time.sleep(rng.uniform(0.02, 0.95) * seconds)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        _finish_and_compare(folders, expected)
        shutil.rmtree(folder)
    assert killed >= MOMENTS // 2, "most runs ended before they were killed: the test proves little"


def test_killed_between_any_two_files(planned, undisturbed, tmp_path, monkeypatch):
    expected, _, files = undisturbed
    for at in sorted(np.random.default_rng(1).choice(np.arange(1, files + 1), min(MOMENTS, files), replace=False).tolist()):
        folder = tmp_path / str(at)
        folders = copy_of(planned, folder, monkeypatch)
        process = _start(folders, at)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        _finish_and_compare(folders, expected)
        shutil.rmtree(folder)


def test_killed_again_and_again(planned, undisturbed, tmp_path, monkeypatch):
    """Every start dies after a few more files than the one before, on one and the same experiment."""
    expected, _, files = undisturbed
    folders = copy_of(planned, tmp_path / "again", monkeypatch)
    for at in range(3, files, max(1, files // 8)):
        process = _start(folders, at)
        process.join()
        if process.exitcode == 0:
            break
    _finish_and_compare(folders, expected)
