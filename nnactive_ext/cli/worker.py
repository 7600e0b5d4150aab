"""nnactive_worker: offers a machine's GPUs to a run."""

from __future__ import annotations

import argparse
import os
import re
import time
from pathlib import Path

from nnactive_ext.cli.command import command
from nnactive_ext.cli.options import CORES
from nnactive_ext.errors import NnActiveError

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="nnactive_worker",
        description="Carries out steps (trainings, evaluation, scoring) of an experiment that is run with -workers FILE, on "
        "this machine or another one with the same folders. It ends when the run ends. Start it in a job of any scheduler; "
        "--print writes such a job.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="the file that the run was given with -workers")
    made.add_argument(
        "-gpus",
        metavar="N|all|0,2",
        default="all",
        help="GPUs of this machine to offer; each carries out one step at a time (default: all of the job)",
    )
    made.add_argument(
        "-device", default="cuda", choices=("cuda", "cpu"), help="cpu: offer cores instead of GPUs (default: %(default)s)"
    )
    made.add_argument(
        "-np",
        type=int,
        default=1,
        metavar="N",
        help="with -device cpu: steps at once, each on its share of the cores (default: 1)",
    )
    made.add_argument(
        "-lifetime",
        type=_seconds,
        metavar="7h45m",
        help="end after this time, before the job is ended (default: two minutes before SLURM_JOB_END_TIME where it is set)",
    )
    made.add_argument("-patience", type=_seconds, default=3600.0, metavar="1h", help="how long to wait for FILE (default: 1h)")
    made.add_argument("--print", choices=("slurm", "lsf", "pbs", "sge"), help="print a job that starts such workers, and exit")
    made.add_argument("-n", type=int, default=1, metavar="N", help="with --print: number of jobs (default: %(default)s)")
    made.add_argument(
        "-cpus",
        type=int,
        default=CORES,
        metavar="N",
        help="with --print: cores of each job, which nnU-Net's augmentation shares with the rest; 0: the scheduler's default "
        "(default: %(default)s)",
    )
    made.add_argument("-time", default="", metavar="LIMIT", help="with --print: limit of each job, e.g. 8:00:00")
    made.add_argument("-partition", default="", metavar="NAME", help="with --print: partition or queue")
    return made


def _seconds(text: str) -> float:
    """``7h45m`` or ``90m`` as seconds."""
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    total = sum(int(n) * _UNITS[unit] for n, unit in zip(found.groups(), "dhms", strict=True) if n) if found else 0
    if not total:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give for example 7h45m")
    return float(total)


@command(parser, folders=False)
def main(options: argparse.Namespace) -> None:
    if options.print:
        from nnactive_ext.cluster.jobs import job

        if options.n < 1 or options.cpus < 0:
            raise NnActiveError(f"-n {options.n} -cpus {options.cpus}: at least one job is needed, and no fewer than 0 cores.")
        print(job(options.print, options.file, options.n, options.time, options.partition, options.device, options.cpus))
        return
    from nnactive_ext.cluster.dask_runner import cpu_environments, gpu_environments
    from nnactive_ext.cluster.gpus import chosen_gpus
    from nnactive_ext.cluster.worker import wait_for, work

    if options.np < 1:
        raise NnActiveError(f"-np {options.np}: at least one process is needed.")
    cpu = options.device == "cpu"
    environments = cpu_environments(options.np) if cpu else gpu_environments(chosen_gpus(options.gpus))
    meeting = wait_for(options.file, options.patience, lambda text: print(text, flush=True))
    ends = os.environ.get("SLURM_JOB_END_TIME", "")
    lifetime = options.lifetime or (max(60.0, float(ends) - time.time() - 120) if ends.isdecimal() else None)
    print(f"{len(environments)} worker{'s' if len(environments) > 1 else ''} for the run on {meeting.host}", flush=True)
    work(meeting, environments, lifetime)


if __name__ == "__main__":
    main()
