"""Jobs that start workers, as the scripts of four schedulers."""

from __future__ import annotations

import shlex
from pathlib import Path

from nnactive_ext.experiment.commands import worker

_HEADS = {
    "slurm": (
        "#SBATCH",
        "--job-name=nnactive_worker",
        "--array=1-{n}",
        "--requeue",
        "--open-mode=append",
        "--output={log}_%a.log",
    ),
    "lsf": ("#BSUB", "-J nnactive_worker[1-{n}]", "-r", "-oo {log}_%I.log"),
    "pbs": ("#PBS", "-N nnactive_worker", "-J 1-{n}", "-r y", "-j oe", "-o {log}.log"),
    "sge": ("#$", "-N nnactive_worker", "-t 1-{n}", "-r y", "-j y", "-cwd", "-V", "-o {log}.log"),
}
_GPU = {"slurm": "--gres=gpu:1", "lsf": "-gpu num=1", "pbs": "-l select=1:ngpus=1", "sge": "-l gpu=1"}
_TIME = {"slurm": "--time={}", "lsf": "-W {}", "pbs": "-l walltime={}", "sge": "-l h_rt={}"}
_PARTITION = {"slurm": "--partition={}", "lsf": "-q {}", "pbs": "-q {}", "sge": "-q {}"}
_ONE = {"pbs": "-J 1-{n}"}
"""PBS has no arrays of one."""


def job(scheduler: str, file: Path, n: int, time: str = "", partition: str = "", device: str = "cuda") -> str:
    """A script that starts a worker in each of ``n`` jobs.

    Args:
        scheduler: "slurm", "lsf", "pbs" or "sge".
        file: where the run and its workers meet.
        n: number of jobs.
        time: limit of each job, as the scheduler writes it; empty: none is asked for.
        partition: partition or queue; empty: the scheduler's default.
        device: "cuda": each job asks for a GPU.

    Returns:
        The script. SLURM's was run; the others follow their manuals and were not.
    """
    mark, *options = _HEADS[scheduler]
    if n == 1 and scheduler in _ONE:
        options.remove(_ONE[scheduler])
    options += [_GPU[scheduler]] if device == "cuda" else []
    options += [_TIME[scheduler].format(time)] if time else []
    options += [_PARTITION[scheduler].format(partition)] if partition else []
    log = file.absolute().with_suffix("")
    lines = ["#!/bin/bash", *(f"{mark} {option}".format(n=n, log=log) for option in options)]
    lines += ["# The shell of a job must find the environment in which nnactive_worker is installed."]
    on = ("-device", device) if device != "cuda" else ()
    return "\n".join([*lines, f"exec {worker(file.absolute(), *on)}", ""]) + (
        "" if shlex.quote(str(log)) == str(log) else "# The folder's name has characters that schedulers may not take.\n"
    )
