"""Steps on the workers of a cluster: as many at once as there are workers, one on each GPU, and what happens when one fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from fake_members import fake_tools
from same_files import begun_again, written

from nnactive_ext.cluster.dask_runner import OnWorkers, address, folders_of_nnunet, gpu_environments, here
from nnactive_ext.cluster.gpus import chosen_gpus
from nnactive_ext.cluster.steps import TRAIN, Step
from nnactive_ext.errors import NnActiveError
from nnactive_ext.loop.cycles import run_cycles

pytest.importorskip("distributed")
SCRIPT = str(Path(__file__).with_name("fake_step.py"))


@pytest.fixture(scope="module")
def client():
    """Two workers, each with a GPU that is a name only."""
    with here(gpu_environments(["0", "MIG-a1"])) as made:
        yield made


class Steps:
    """Steps whose commands write into a journal."""

    def __init__(self, client, experiment, folder: Path, seconds: float = 1.0, how=None):
        self.client, self.experiment, self.journal = client, experiment, folder / "journal"
        self.seconds, self.how = seconds, how or {}

    def run(self, number: int) -> list[str]:
        begun: list[str] = []

        def arguments(step: Step) -> list[str]:
            return [SCRIPT, str(self.journal), step.name, str(self.seconds), *self.how.get(step.index, ())]

        runner = OnWorkers(self.client, 2, arguments, {})
        runner.run(self.experiment, [Step(TRAIN, fold) for fold in range(number)], lambda step: begun.append(step.name))
        return begun

    def noted(self, what: str) -> list[dict]:
        lines = self.journal.read_text().splitlines() if self.journal.is_file() else []
        return [line for line in map(json.loads, lines) if line["what"] == what]


def test_two_at_once_and_never_two_on_a_gpu(client, planned, tmp_path):
    steps = Steps(client, planned, tmp_path)
    steps.run(5)
    begun = {one["name"]: one for one in steps.noted("begin")}
    ended = {one["name"]: one for one in steps.noted("end")}
    assert set(begun) == set(ended) == {f"train_{fold}" for fold in range(5)}
    used = Counter(one["gpu"] for one in begun.values())
    assert set(used) == {"0", "MIG-a1"}
    for one in begun.values():
        others = [name for name, other in begun.items() if other["gpu"] == one["gpu"] and name != one["name"]]
        assert not any(begun[name]["time"] < one["time"] < ended[name]["time"] for name in others)
    assert any(begun[a]["time"] < begun[b]["time"] < ended[a]["time"] for a in begun for b in begun if a != b), "side by side"


def test_a_step_that_fails_is_tried_once_and_the_others_go_on(client, planned, tmp_path):
    steps = Steps(client, planned, tmp_path, 0.3, {1: ["fail"]})
    with pytest.raises(NnActiveError, match="out of luck") as error:
        steps.run(4)
    assert "train_fold_1.log" in str(error.value)
    assert [one["name"] for one in steps.noted("begin")].count("train_1") == 1
    assert {one["name"] for one in steps.noted("end")} == {"train_0", "train_2", "train_3"}


def test_a_step_may_have_a_pool_of_processes(client, planned, tmp_path):
    Steps(client, planned, tmp_path, 0, {0: ["pool"]}).run(1)
    assert "[0, 1, 4, 9]" in Step(TRAIN, 0).log(planned).read_text()


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
def test_a_killed_worker_loses_its_step_and_no_finished_one(client, planned, tmp_path):
    """Its child ends within seconds; another worker carries the step out; what was done is not begun again."""
    steps = Steps(client, planned, tmp_path, 1.5)
    killed: list[dict] = []

    def kill() -> None:
        while len(steps.noted("begin")) < 3:
            time.sleep(0.05)
        killed.append(steps.noted("begin")[2])
        os.kill(killed[0]["worker"], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    steps.run(4)
    thread.join()
    begun = Counter(one["name"] for one in steps.noted("begin"))
    assert begun.pop(killed[0]["name"]) == 2
    assert set(begun.values()) == {1}
    assert {one["name"] for one in steps.noted("end")} == {f"train_{fold}" for fold in range(4)}
    assert killed[0]["pid"] not in {one["pid"] for one in steps.noted("end")}, "the child of the killed worker did not go on"


def test_nothing_is_left_when_a_run_is_interrupted(planned, tmp_path):
    """Ctrl-C: the children end with the cluster."""
    interrupted = Steps(None, planned, tmp_path, 60)

    def interrupt() -> None:
        while len(interrupted.noted("begin")) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    def run() -> None:
        with here(gpu_environments(["0", "1"])) as client:
            interrupted.client = client
            thread.start()
            interrupted.run(3)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run()
    thread.join()
    end = time.monotonic() + 10
    while any(Path(f"/proc/{one['pid']}").exists() for one in interrupted.noted("begin")):
        assert time.monotonic() < end, "a child goes on"
        time.sleep(0.1)
    assert not interrupted.noted("end")


@pytest.mark.parametrize(
    ("visible", "text", "expected"),
    [
        ("0,1,2", "2", ["0", "1"]),
        ("0,1,2", "all", ["0", "1", "2"]),
        ("0,1,2", "0,2", ["0", "2"]),
        ("0,1,2", "2,", ["2"]),
        ("GPU-8f1,MIG-22", "all", ["GPU-8f1", "MIG-22"]),
        ("3,5", "5,3", ["5", "3"]),
    ],
)
def test_gpus(monkeypatch, visible, text, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert chosen_gpus(text) == expected


@pytest.mark.parametrize(
    ("visible", "text"),
    [("0,1", "3"), ("0,1", "0,5"), ("0,1", "1,1"), ("", "all"), ("0", "0"), ("0", "-1"), ("0", "x"), ("0", "")],
)
def test_gpus_that_are_not_there(monkeypatch, visible, text):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(NnActiveError, match="-gpus"):
        chosen_gpus(text)


def fake_arguments(step: Step) -> list[str]:
    return [str(Path(SCRIPT).with_name("fake_step_run.py")), "-d", "101", "-step", step.name, "-device", "cpu", "--guarded"]


@pytest.mark.parametrize(("named", "expected"), [("10.1.2.3", "10.1.2.3"), ("127.0.1.1", "192.168.7.7"), (None, "192.168.7.7")])
def test_workers_of_other_hosts_reach_the_run(monkeypatch, named, expected):
    """Also where the name of this host leads back to itself or is unknown."""

    def by_name(host: str) -> str:
        if named is None:
            raise socket.gaierror(-2, "Name or service not known")
        return named

    monkeypatch.setattr(socket, "gethostbyname", by_name)
    monkeypatch.setattr("distributed.utils.get_ip", lambda: "192.168.7.7")
    assert address() == expected


@pytest.mark.slow
def test_workers_lead_to_the_same_files(client, planned, monkeypatch, nnunet_folders, planned_template):
    """Byte for byte the loop files and results of a run without workers."""
    monkeypatch.setattr("nnactive_ext.experiment.marks.uuid.uuid4", lambda: UUID(int=7))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said: list[str] = []
    runner = OnWorkers(client, 1, fake_arguments, {**folders_of_nnunet(), "OMP_NUM_THREADS": "1"})
    run_cycles(planned, fake_tools(), progress=False, say=said.append, runner=runner, once=True)
    shared = written(planned)
    assert "evaluate_0_of_2" in {path.stem for path in (planned.results / "cycle_000").glob("*.log")}
    assert any("training fold 2" in line for line in said)
    again = begun_again(planned, nnunet_folders, planned_template)
    run_cycles(again, fake_tools(), progress=False, say=said.append, once=True)
    assert written(again) == shared
