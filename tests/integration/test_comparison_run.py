"""Methods that compare patches with stock nnU-Net, as a person types it: run, then the same query with other threads, in parts,
and after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import time

import numpy as np
import pytest
from fake_members import copy_of
from typed import started

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands are typed into sh")
PLAN = "-patch_size 8 16 16 -query_size 4 -cycles 2 -folds 2 --preset cpu -tr nnActiveTrainer_1epochs_NoMirroring -np 1"
QUIET = "-device cpu --disable_progress_bar"


LONG = ("coreset", "badge", "kmeans_bald", "typiclust", "probcover", "sisome")
METHODS = [pytest.param("sisom", marks=pytest.mark.slow), *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]


@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_through_and_neither_threads_parts_nor_kills_change_a_query(nnunet_folders, tmp_path, monkeypatch, method):
    log = tmp_path / "output.txt"

    def typed(line: str) -> None:
        assert started(line, log).wait(timeout=600) == 0, f"{line}\n{log.read_text()[-3000:]}"

    typed("nnactive_phantom -d 900 -n 5")
    typed(f"nnactive_plan -d 900 -o 901 {PLAN} --method {method} --disable_progress_bar")
    typed(f"nnactive_run -d 901 {QUIET}")
    experiment = Experiment.find(901)
    loop = read_json(experiment.raw / "loop_001.json")
    assert (loop["method"], len(loop["patches"]), loop["missing"]) == (method, 4, 0)
    assert [read_json(experiment.results / f"cycle_00{cycle}.json")["patches"] for cycle in range(2)] == [4, 8]
    for case in experiment.plan.pool:
        with np.load(experiment.results / "cycle_000" / "candidates" / f"{case}.npz", allow_pickle=False) as content:
            assert np.isfinite(content["candidate"]).all()
            assert len(content["candidate"]) == 10

    # The query after the last cycle, from the members that are there.
    shutil.rmtree(experiment.results)

    def queried(name: str, *lines: str) -> bytes:
        with monkeypatch.context() as patch:
            copy_of(nnunet_folders, tmp_path / name, patch)
            for line in lines:
                typed(line)
            return (Experiment.find(901).raw / "loop_002.json").read_bytes()

    query = f"nnactive_query -d 901 {QUIET}"
    alone = queried("one", f"env OMP_NUM_THREADS=1 {query}")
    query = f"env OMP_NUM_THREADS=2 {query}"
    assert queried("parts", *(f"{query} -num_parts 2 -part_id {part}" for part in (1, 0)), query) == alone

    with monkeypatch.context() as patch:
        copy_of(nnunet_folders, tmp_path / "killed", patch)
        killed = started(query, log)
        candidates = Experiment.find(901).results / "cycle_001" / "candidates"
        end = time.monotonic() + 300
        while not any(candidates.glob("*.json")):
            assert killed.poll() is None and time.monotonic() < end, log.read_text()[-3000:]  # noqa: PT018
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert not (Experiment.find(901).raw / "loop_002.json").exists(), "it ended before it was killed"
        typed(query)
        assert (Experiment.find(901).raw / "loop_002.json").read_bytes() == alone
