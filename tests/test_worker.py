"""Workers that somebody starts with the file of a run: they carry out its steps, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nnactive_ext.cli import worker as worker_command
from nnactive_ext.cluster.dask_runner import OnWorkers, anywhere
from nnactive_ext.cluster.jobs import job
from nnactive_ext.cluster.meeting import Meeting
from nnactive_ext.cluster.steps import TRAIN, Step
from nnactive_ext.cluster.worker import wait_for
from nnactive_ext.errors import NnActiveError

pytest.importorskip("distributed")
SCRIPT = str(Path(__file__).with_name("fake_step.py"))
WORKER = [sys.executable, "-m", "nnactive_ext.cli.worker"]


@pytest.fixture
def meeting(planned, tmp_path):
    """The file of a run, and its client."""
    file = tmp_path / "liver.json"
    with anywhere(file, planned) as client:
        yield file, client
    assert not file.exists()
    assert not list(planned.results.glob(".workers_*"))


def started(file: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen([*WORKER, str(file), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def noted(journal: Path, what: str) -> list[dict]:
    lines = journal.read_text().splitlines() if journal.is_file() else []
    return [line for line in map(json.loads, lines) if line["what"] == what]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_workers_come_and_go(meeting, planned, tmp_path):
    """One is ended as a scheduler ends a job; its step goes to the other one."""
    file, client = meeting
    journal = tmp_path / "journal"
    workers = [started(file, "-device", "cpu"), started(file, "-device", "cpu")]
    said: list[str] = []

    def begins(step: Step) -> None:
        said.append(step.name)

    def arguments(step: Step) -> list[str]:
        if step.index == 2 and workers[0].poll() is None and len(noted(journal, "begin")) >= 1:
            workers[0].send_signal(signal.SIGTERM)
        return [SCRIPT, str(journal), step.name, "1"]

    runner = OnWorkers(client, 1, arguments, {})
    end = time.monotonic() + 90
    while len(client.scheduler_info(n_workers=-1)["workers"]) < 2:
        assert time.monotonic() < end, [worker.poll() for worker in workers]
        time.sleep(0.2)
    assert runner.parts == 8, "four for each worker"
    runner.run(planned, [Step(TRAIN, fold) for fold in range(2)], begins)
    workers[0].send_signal(signal.SIGTERM)
    runner.run(planned, [Step(TRAIN, fold) for fold in range(2, 5)], begins)
    assert {one["name"] for one in noted(journal, "end")} == {f"train_{fold}" for fold in range(5)}
    assert workers[0].wait(30) == 0
    workers[1].send_signal(signal.SIGTERM)
    assert workers[1].wait(30) == 0


def test_only_the_owner_reads_the_keys(meeting):
    file, _ = meeting
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE KEY" in file.read_text()


def test_nobody_gets_in_without_the_keys(meeting):
    from distributed import Client
    from distributed.security import Security

    file, _ = meeting
    address = Meeting.read(file).address
    assert address.startswith("tls://")
    for security, place in ((None, address.replace("tls://", "tcp://")), (Security.temporary(), address)):
        with pytest.raises((OSError, TimeoutError, ValueError, TypeError)):
            Client(place, security=security, timeout=3)


@pytest.mark.parametrize(("change", "match"), [("token", "same"), ("folders", "same"), ("version", "Install the same version")])
def test_a_worker_that_does_not_fit_is_refused(meeting, change, match, tmp_path):
    found = Meeting.read(meeting[0])
    found.check()
    other = {
        "token": replace(found, token="of another run"),
        "folders": replace(found, token_file=str(tmp_path / "elsewhere" / "token")),
        "version": replace(found, versions={**found.versions, "nnunetv2": "0.1"}),
    }[change]
    with pytest.raises(NnActiveError, match=match):
        other.check()


def test_a_file_that_does_not_come_or_is_another(tmp_path, capsys):
    with pytest.raises(SystemExit):
        worker_command.main([str(tmp_path / "absent.json"), "-device", "cpu", "-patience", "1s"])
    assert "absent.json" in capsys.readouterr().err
    other = tmp_path / "other.json"
    other.write_text('{"address": "tcp://1.2.3.4:5"}')
    with pytest.raises(SystemExit):
        worker_command.main([str(other), "-device", "cpu"])
    assert "other.json" in capsys.readouterr().err


def test_the_file_of_a_run_that_was_killed(planned, tmp_path):
    """Its workers wait for the next run, which replaces the file and its token."""
    file, said, servers = tmp_path / "liver.json", [], [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    try:
        made = []
        for number, server in enumerate(servers):
            address = f"tls://127.0.0.1:{server.getsockname()[1]}"
            made.append(Meeting.make(address, "", "", {}, tmp_path / f"token{number}"))
        made[0].write(file)
        servers[0].close()

        def say(text: str) -> None:
            said.append(text)
            made[1].write(file)

        assert wait_for(file, 300, say, pause=0.01) == made[1]
        assert len(said) == 1
        assert not (tmp_path / "token0").exists()
        servers[1].close()
        with pytest.raises(NnActiveError, match="cannot be reached"):
            wait_for(file, 0, said.append, pause=0.01)
    finally:
        for server in servers:
            server.close()


@pytest.mark.parametrize(("text", "seconds"), [("7h45m", 27_900), ("90m", 5400), ("1d", 86_400), ("30s", 30)])
def test_times(text, seconds):
    options = worker_command.parser().parse_args(["liver.json", "-lifetime", text])
    assert options.lifetime == seconds


@pytest.mark.parametrize("scheduler", ["slurm", "lsf", "pbs", "sge"])
def test_a_job_is_a_script_that_starts_a_worker(scheduler, tmp_path):
    text = job(scheduler, tmp_path / "liver.json", 5, "8:00:00", "gpu")
    (tmp_path / "nnactive_worker").write_text('#!/bin/bash\necho "$@"\n')
    (tmp_path / "nnactive_worker").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", text], env=environment, check=True, capture_output=True, text=True)
    ends_itself = ["-lifetime", "478m0s"] if scheduler != "slurm" else []
    assert done.stdout.split() == [str(tmp_path / "liver.json"), *ends_itself]
    assert worker_command.parser().parse_args(done.stdout.split()).file == tmp_path / "liver.json"
    marks = {line.split()[0] for line in text.splitlines() if line.startswith("#") and line[1] != "!" and line[1] != " "}
    assert len(marks) == 1
    assert "8:00" in text
    assert "1-5" in text
    assert "8" in job(scheduler, tmp_path / "liver.json", 1, cores=8)
    lines = [line for line in text.splitlines() if line.startswith("#")]
    assert len({line for line in lines if ".log" in line and re.search(r"%a|%I|index|TASK", line)}) == 1, "a log for each job"
    assert "-device cpu" in job(scheduler, tmp_path / "liver.json", 1, device="cpu")


def test_lsf_counts_in_minutes_and_pbs_has_no_array_of_one(tmp_path):
    assert "#BSUB -W 8:30\n" in job("lsf", tmp_path / "liver.json", 5, "8:30:59")
    single = job("pbs", tmp_path / "liver.json", 1, cores=8)
    assert "-J" not in single
    assert "array_index" not in single
    assert "#PBS -l select=1:ncpus=8:ngpus=1\n" in single
    assert "ngpus" not in job("pbs", tmp_path / "liver.json", 1, device="cpu", cores=8)


@pytest.mark.skipif(os.name != "posix", reason="a script of a shell")
@pytest.mark.parametrize(
    ("told", "answers", "expected"), [("", "2026-11-28T21:54:43", True), ("", "N/A", False), ("77", "", True)]
)
def test_a_job_of_slurm_knows_its_end(tmp_path, told, answers, expected):
    """Of older SLURM squeue knows it; without a limit there is none, and the worker starts all the same."""
    for name, text in (("nnactive_worker", "echo end=$SLURM_JOB_END_TIME"), ("squeue", f"echo {answers}")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "5", "SLURM_JOB_END_TIME": told}
    command = ["bash", "-c", job("slurm", tmp_path / "liver.json", 1)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    end = done.stdout.strip().partition("=")[2]
    assert end.isdecimal() == expected
    assert not told or end == told
