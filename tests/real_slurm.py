"""A SLURM of this machine's own: its daemons run below a folder in /tmp as children of the tests, and end with them.

It has one node with two CPUs and two GPUs, which are empty files. A job that asks for a GPU finds its number in
CUDA_VISIBLE_DEVICES, as where SLURM knows the GPUs. The partition ``urgent`` preempts the jobs of ``main``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "setpriv")
CONTROLLER = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/pgid
TaskPlugin=task/affinity
TaskProlog={folder}/prolog
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10
"""
PROLOG = """#!/bin/sh
gpus=$(scontrol -d show job "$SLURM_JOB_ID" | sed -n 's/.*GRES=gpu:.*(IDX:\\([0-9]*\\)).*/\\1/p')
[ -z "$gpus" ] || echo "export CUDA_VISIBLE_DEVICES=$gpus"
"""
"""SLURM sets the variable for device files only."""
ENDED = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")


def why_not() -> str:
    """Why SLURM cannot be started here; empty if it can."""
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    if os.name != "posix" or os.geteuid() != 0:
        return "SLURM's daemons need root"
    absent = [name for name in NEEDED if not shutil.which(name)]
    return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge)" if absent else ""


@dataclass(frozen=True)
class Job:
    """``id``: of the array and the element, such as 7_1; ``number``: its own; ``restarts``: how often it was requeued."""

    id: str
    number: str
    name: str
    state: str
    reason: str
    restarts: int

    @property
    def index(self) -> str:
        return self.id.rpartition("_")[2]

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Slurm:
    folder: Path
    environment: dict[str, str]

    def call(self, *words: object, environment: Mapping[str, str] | None = None) -> str:
        """The output of a command of SLURM's; jobs that it submits get ``environment``, too."""
        done = subprocess.run(
            list(map(str, words)), env={**self.environment, **(environment or {})}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}{self.log()}"
        return done.stdout

    def sbatch(self, script: str | Path, *words: object, environment: Mapping[str, str] | None = None) -> str:
        """Submit a file; the number of the job."""
        return self.call("sbatch", "--parsable", *words, script, environment=environment).strip()

    def jobs(self, number: str = "") -> list[Job]:
        """Those that the controller knows: all, or the elements of an array."""
        blocks = self.call("scontrol", "-o", "show", "job", *([number] if number else [])).splitlines()
        return [_job(line) for line in blocks if line.startswith("JobId=")]

    def log(self) -> str:
        """The ends of the daemons' logs."""
        return "".join(f"\n{file.name}:\n{file.read_text()[-1500:]}" for file in sorted(self.folder.glob("*.log")))

    def wait(self, what: Callable[[], object], seconds: float = 600.0) -> None:
        """Until ``what()`` is true; a failure after so many seconds says what SLURM knows."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"{self.jobs()}{self.log()}"
            time.sleep(0.3)


@contextmanager
def slurm() -> Iterator[Slurm]:
    """SLURM's daemons; with the block end all jobs, then the daemons."""
    folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))  # short: it holds a socket
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    made, processes = Slurm(folder, environment), list[subprocess.Popen]()
    try:
        host = socket.gethostname().partition(".")[0]
        _write(folder, host)
        munge = ["--foreground", f"--key-file={folder}/munge/key", f"--socket={folder}/munge/socket"]
        munge += [f"--{what}-file={folder}/munge/{what}" for what in ("pid", "log", "seed")]
        _start(processes, folder, ["--reuid=munge", "--regid=munge", "--clear-groups", "munged", *munge], environment)
        _wait_for(folder / "munge" / "socket")
        _start(processes, folder, ["slurmctld", "-D", "-f", environment["SLURM_CONF"]], environment)
        _start(processes, folder, ["slurmd", "-D", "-f", environment["SLURM_CONF"], "-N", host], environment)
        _until_idle(made)
        yield made
    finally:
        _end(made, processes)
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, host: str) -> None:
    folder.chmod(0o755)
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o400)
    for file in (folder / "munge", folder / "munge" / "key"):
        shutil.chown(file, "munge", "munge")
    for number in range(2):
        (folder / f"gpu{number}").touch()
    (folder / "prolog").write_text(PROLOG)
    (folder / "prolog").chmod(0o755)
    (folder / "slurm.conf").write_text(CONTROLLER.format(host=host, folder=folder, ports=_free_ports(2)))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _start(processes: list[subprocess.Popen], folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """A daemon in the foreground, which the kernel kills when this process dies."""
    name = next(word for word in command if word in NEEDED)
    with open(folder / f"{name}.log", "ab") as log:
        words = ["setpriv", "--pdeathsig=KILL", *command]
        processes.append(
            subprocess.Popen(words, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        )


def _wait_for(file: Path) -> None:
    end = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < end, f"{file} is not there"
        time.sleep(0.1)


def _until_idle(made: Slurm) -> None:
    end = time.monotonic() + 120
    while True:
        done = subprocess.run(["sinfo", "-h", "-p", "main", "-o", "%T"], env=made.environment, capture_output=True, text=True)
        if done.stdout.strip() == "idle":
            return
        assert time.monotonic() < end, f"{done.stdout}{done.stderr}{made.log()}"
        time.sleep(0.5)


def _end(made: Slurm, processes: list[subprocess.Popen]) -> None:
    """Jobs first: what a daemon started does not end with it."""
    quiet = {"env": made.environment, "capture_output": True, "text": True}
    if len(processes) == 3:
        subprocess.run(["scancel", "--user=root"], **quiet)
        end = time.monotonic() + 60
        while time.monotonic() < end and subprocess.run(["squeue", "-h"], **quiet).stdout.strip():
            time.sleep(0.5)
    for process in reversed(processes):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _job(line: str) -> Job:
    found = dict(re.findall(r"(\w+)=(\S*)", line))
    number = found["JobId"]
    if "ArrayJobId" in found:
        number = f"{found['ArrayJobId']}_{found['ArrayTaskId']}"
    return Job(
        number,
        found["JobId"],
        found.get("JobName", ""),
        found["JobState"],
        found.get("Reason", ""),
        int(found.get("Restarts", 0)),
    )
