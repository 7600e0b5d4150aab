"""Jobs that start workers, as the scripts of four schedulers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from nnactive_ext.experiment.commands import worker

_HEADS = {
    "slurm": ("#SBATCH", "--job-name=nnactive_worker", "--array=1-{n}", "--requeue", "--open-mode=append"),
    "lsf": ("#BSUB", "-J nnactive_worker[1-{n}]", "-r"),
    "pbs": ("#PBS", "-N nnactive_worker", "-J 1-{n}", "-r y", "-j oe"),
    "sge": ("#$", "-N nnactive_worker", "-t 1-{n}", "-r y", "-j y", "-cwd", "-V"),
}
_LOG = {
    "slurm": "--output={log}_%A_%a.log",
    "lsf": "-o {log}_%J_%I.log",
    "pbs": "-o {log}_^array_index^.log",
    "sge": "-o {log}_$JOB_ID_$TASK_ID.log",
}
"""Each job of an array has a log of its own, to which a job that was requeued appends where the scheduler can."""
_NO_ARRAY = {"pbs": ("-J 1-{n}", "_^array_index^")}
"""What a single job lacks: PBS has no arrays of one."""
_GPU = {"slurm": "--gres=gpu:1", "lsf": "-gpu num=1", "pbs": ":ngpus=1", "sge": "-l gpu=1"}
_CORES = {"slurm": "--cpus-per-task={}", "lsf": '-n {} -R "span[hosts=1]"', "pbs": "-l select=1:ncpus={}", "sge": "-pe smp {}"}
_TIME = {"slurm": "--time={}", "lsf": "-W {}", "pbs": "-l walltime={}", "sge": "-l h_rt={}"}
_PARTITION = {"slurm": "--partition={}", "lsf": "-q {}", "pbs": "-q {}", "sge": "-q {}"}
_END = (
    "# SLURM before 23.02 does not tell a job when it ends.",
    'export SLURM_JOB_END_TIME=${SLURM_JOB_END_TIME:-$(date +%s -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)")}',
)
_BEFORE = 120
"""Seconds before the end of its job at which a worker ends."""


def job(scheduler: str, file: Path, n: int, time: str = "", partition: str = "", device: str = "cuda", cores: int = 0) -> str:
    """A script that starts a worker in each of ``n`` jobs.

    Args:
        scheduler: "slurm", "lsf", "pbs" or "sge".
        file: where the run and its workers meet.
        n: number of jobs.
        time: limit of each job, hours:minutes:seconds, or as the scheduler writes it; empty: none is asked for.
        partition: partition or queue; empty: the scheduler's default.
        device: "cuda": each job asks for a GPU.
        cores: of each job; 0: the scheduler's default.

    Returns:
        The script. SLURM's was run; the others follow their manuals and were not.
    """
    mark, *options = [*_HEADS[scheduler], _LOG[scheduler]]
    if n == 1 and scheduler in _NO_ARRAY:
        array, index = _NO_ARRAY[scheduler]
        options = [option.replace(index, "") for option in options if option != array]
    options += _resources(scheduler, cores, device == "cuda")
    limit = re.fullmatch(r"(\d+):(\d\d):(\d\d)", time)
    if limit and scheduler == "lsf":  # which counts in minutes
        time = f"{limit[1]}:{limit[2]}"
    options += [_TIME[scheduler].format(time)] if time else []
    options += [_PARTITION[scheduler].format(partition)] if partition else []
    log = file.absolute().with_suffix("")
    lines = ["#!/bin/bash", *(f"{mark} {option.replace('{n}', str(n)).replace('{log}', str(log))}" for option in options)]
    lines += ["# The shell of a job must find the environment in which nnactive_worker is installed."]
    words: list[object] = ["-device", device] if device != "cuda" else []
    if scheduler == "slurm":
        lines += _END
    elif limit:
        words += ["-lifetime", _lifetime(*(int(part) for part in limit.groups()))]
    return "\n".join([*lines, f"exec {worker(file.absolute(), *words)}", ""]) + (
        "" if shlex.quote(str(log)) == str(log) else "# The folder's name has characters that schedulers may not take.\n"
    )


def _resources(scheduler: str, cores: int, gpu: bool) -> list[str]:
    """What asks for cores and for a GPU."""
    if scheduler == "pbs":  # in one request
        return [_CORES["pbs"].format(cores or 1) + (_GPU["pbs"] if gpu else "")] if cores or gpu else []
    asked = [_CORES[scheduler].format(cores)] if cores else []
    return [*asked, _GPU[scheduler]] if gpu else asked


def _lifetime(hours: int, minutes: int, seconds: int) -> str:
    """How long a worker takes steps in a job of this length, as ``-lifetime`` takes it."""
    left = max(60, 3600 * hours + 60 * minutes + seconds - _BEFORE)
    return f"{left // 60}m{left % 60}s"
