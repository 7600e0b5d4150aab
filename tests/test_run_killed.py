"""`nnactive_run` on workers: whichever process is killed (-9), and whenever, nothing goes on alone and nothing is lost.

The driver and the scheduler are one process. Moments are drawn among the steps of the run, not among its seconds, so that they
are spread over it however slow the machine is.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_driver import FILE
from fake_members import copy_of
from marked import MARK, Marked, below, marked, wait_for_end
from same_files import contents

from nnactive_ext.cluster.under_way import running
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.files import read_json, write_json

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
RUN = [sys.executable, FILE, "-d", "101", "-device", "cpu", "--disable_progress_bar"]
WORKER = [sys.executable, "-m", "nnactive_ext.cli.worker", "-patience", "2m"]
"""One that is started when its run has just ended waits for the next one, by default for an hour."""
LIMIT = 600.0
"""Seconds after which something that was to happen counts as not happening."""
CYCLES = 2
KILLS = 4
"""In one run, at most."""
KINDS = [("driver", False), ("worker", False), ("step", False), ("driver", True), ("worker", True), ("nanny", True)]
"""What is killed, and whether the workers are started elsewhere. Twenty moments take some ten minutes."""
MOMENTS = [
    *(pytest.param(*kind, 2, marks=pytest.mark.slow) for kind in KINDS[:2]),
    *(pytest.param(*kind, 20, marks=pytest.mark.long) for kind in KINDS),
]


@pytest.fixture(scope="module")
def template(planned_template, tmp_path_factory) -> SimpleNamespace:
    """Two cycles, to have time for more moments."""
    with pytest.MonkeyPatch.context() as patch:
        folders = copy_of(planned_template, tmp_path_factory.mktemp("template"), patch)
    file = next(folders.raw.glob("Dataset101_*")) / "nnactive_plan.json"
    write_json(file, {**read_json(file), "cycles": CYCLES})
    return folders


@pytest.fixture(scope="module")
def expected(template, tmp_path_factory) -> dict[str, object]:
    """What one process leaves that carries out one step after another."""
    with pytest.MonkeyPatch.context() as patch:
        folders = copy_of(template, tmp_path_factory.mktemp("undisturbed"), patch)
        subprocess.run(RUN, check=True, capture_output=True, env={**os.environ, "FAKE_SECONDS": "0"}, timeout=LIMIT)
    return contents(folders)


class Crew:
    """A driver and, where it has none of its own, its workers, whose processes all carry a mark."""

    def __init__(self, folder: Path, elsewhere: bool):
        self.folder, self.mark, self.file = folder, uuid.uuid4().hex, folder / "liver.json"
        self.elsewhere = elsewhere
        self.driver: subprocess.Popen
        self.workers: list[subprocess.Popen] = []

    def start(self) -> None:
        where = ["-workers", str(self.file)] if self.elsewhere else ["-np", "2"]
        self.driver = self._open([*RUN, *where], "driver")
        if self.elsewhere:
            self.workers = []
            for _ in range(2):
                self._start_worker()

    def _start_worker(self) -> None:
        self.workers.append(self._open([*WORKER, str(self.file), "-device", "cpu"], f"worker{len(self.workers)}"))

    def replace(self, kind: str) -> None:
        """Start what nobody else starts again."""
        if kind == "driver":
            self.gone()
            self.start()
        elif kind == "nanny":
            self._start_worker()

    def _open(self, command: list[str], name: str) -> subprocess.Popen:
        environment = {**os.environ, MARK: self.mark, "FAKE_SECONDS": "0.7", "OMP_NUM_THREADS": "1"}
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def said(self) -> str:
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in sorted(self.folder.glob("*.log")))

    def wait(self) -> None:
        """For the end of the driver, which is a good one, and of all others."""
        assert self.driver.wait(LIMIT) == 0, self.said()
        self.gone()

    def gone(self) -> None:
        """All processes end by themselves."""
        end = time.monotonic() + LIMIT
        while left := marked(self.mark):
            for process in [self.driver, *self.workers]:
                process.poll()
            assert time.monotonic() < end, f"{left}\n{self.said()}"
            time.sleep(0.2)

    def victim(self, kind: str) -> Marked | None:
        """A process of a kind, if there is one now."""
        nannies = [worker.pid for worker in self.workers] if self.elsewhere else [self.driver.pid]
        every = marked(self.mark)
        workers = [one for one in every if one.parent in nannies and one.is_dask_worker]
        found = {
            "driver": [one for one in every if one.pid == self.driver.pid],
            "nanny": [one for one in every if one.pid in nannies],
            "worker": workers,
            "step": [one for one in every if one.parent in [worker.pid for worker in workers]],
        }[kind]
        return random.choice(found) if found else None

    def kill_all(self) -> None:
        for one in marked(self.mark):
            os.kill(one.pid, signal.SIGKILL)
        for process in [self.driver, *self.workers]:
            process.wait()


def begun(folders: SimpleNamespace) -> int:
    """How many steps have begun."""
    results = next(iter(folders.results.glob("Dataset101_*")), None)
    return 0 if results is None else len(list(results.glob("nnactive/cycle_*/*_*.log")))


def killed(crew: Crew, kind: str, folders: SimpleNamespace, steps: int, seconds: float) -> bool:
    """Kill a process of the kind some seconds after so many steps have begun; all that it started ends. False where the run
    ended before."""
    end = time.monotonic() + LIMIT
    while begun(folders) < steps:
        if crew.driver.poll() is not None:
            return False
        assert time.monotonic() < end, crew.said()
        time.sleep(0.02)
    time.sleep(seconds)
    while (victim := crew.victim(kind)) is None:
        if crew.driver.poll() is not None:
            return False
        assert time.monotonic() < end, crew.said()
    started = below(crew.mark, victim.pid)
    os.kill(victim.pid, signal.SIGKILL)
    left = wait_for_end(started)
    assert not left, f"{left} go on without {victim}\n{crew.said()}"
    return True


@pytest.mark.parametrize(("kind", "elsewhere", "moments"), MOMENTS)
def test_killed_at_random_moments(template, expected, tmp_path, monkeypatch, kind, elsewhere, moments):
    draw, hits = random.Random(f"{kind} {elsewhere}"), 0
    for run in range(moments):
        folder = tmp_path / str(run)
        folders = copy_of(template, folder, monkeypatch)
        crew = Crew(folder, elsewhere)
        try:
            crew.start()
            # Of 12: three trainings, two parts of each other step. Without a run, workers wait for one.
            first = 0 if (kind, elsewhere) == ("driver", False) else 1
            for steps in sorted(draw.sample(range(first, 12), min(KILLS, moments - hits))):
                seconds = draw.uniform(0, 3)
                hit = killed(crew, kind, folders, steps, seconds)
                print(
                    f"{kind}: {'killed' if hit else 'ended before'} {seconds:.1f} s after {steps} steps had begun", flush=True
                )
                if not hit:
                    break
                hits += 1
                crew.replace(kind)
            crew.wait()
        finally:
            crew.kill_all()
        assert contents(folders) == expected
        assert not running(Experiment("Dataset101_Tiny"))
        assert not list(folders.results.rglob(".workers_*"))
        assert not crew.file.exists()
        print("the same files", flush=True)
        shutil.rmtree(folder)
        if hits == moments:
            return
    pytest.fail(f"the runs ended before {moments} kills: {hits}")
