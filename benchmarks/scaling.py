"""What it costs to have steps carried out by workers: the start of workers, the start of a step, and the rounds of trainings.

    python -m benchmarks.scaling

A training is a process that sleeps, so that nothing but the workers is measured; its seconds are those of the clock between
the moment at which all workers are there and that at which the last training has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from benchmarks.machine import description
from benchmarks.report import check_markers, insert
from nnactive_ext.bench.on_workers import Place

if TYPE_CHECKING:
    from distributed import Client

MARKS = ("<!-- benchmarks.scaling: begin -->", "<!-- benchmarks.scaling: end -->")
EMBEDDED, STARTED = "on this machine (`-gpus 2`)", "started by hand (`-workers FILE`)"


@dataclass(frozen=True, eq=False)
class Sleeping:
    """A step whose process sleeps so many seconds."""

    name: str
    seconds: float
    needs: str = "gpu"

    @property
    def words(self) -> str:
        return self.name

    def log(self, place: Place) -> Path:
        return place.results / "logs" / f"{self.name}.log"


def of_python(step: Sleeping) -> list[str]:
    """The arguments of Python for a step; without site's packages, which a training would import itself."""
    return ["-S", "-c", f"import time; time.sleep({step.seconds})"]


@contextmanager
def embedded(workers: int, place: Place) -> Iterator[Client]:
    from nnactive_ext.cluster.dask_runner import gpu_environments, here

    with here(gpu_environments([str(number) for number in range(workers)])) as client:
        yield client


@contextmanager
def started(workers: int, place: Place) -> Iterator[Client]:
    """By one ``nnactive_worker``, as a job of a cluster would."""
    from nnactive_ext.cluster.dask_runner import anywhere

    file = place.results / "workers.json"
    words = [sys.executable, "-m", "nnactive_ext.cli.worker", str(file), "-device", "cpu", "-np", str(workers)]
    with anywhere(file, place) as client:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield client
        finally:
            process.terminate()
            process.wait()


def wait_for(client: Client, workers: int) -> None:
    while len(client.scheduler_info(n_workers=-1)["workers"]) < workers:
        sleep(0.05)


def timed(client: Client, workers: int, steps: Sequence[Sleeping], place: Place) -> float:
    """Seconds until all steps are done."""
    from nnactive_ext.cluster.dask_runner import OnWorkers

    begin = perf_counter()
    OnWorkers(client, workers, of_python, {}).run(place, steps, lambda step: None)
    return perf_counter() - begin


def measure(how: str, workers: int, trainings: int, seconds: float, many: int, place: Place) -> dict[str, Any]:
    """``start``: seconds until the workers are there; ``trainings``: until all have ended; ``step``: of each of ``many`` steps
    that do nothing, on one worker after another; ``begin``: of a single one."""
    opened, begin = {EMBEDDED: embedded, STARTED: started}[how], perf_counter()
    with opened(workers, place) as client:
        wait_for(client, workers)
        start = perf_counter() - begin
        rounds = timed(client, workers, [Sleeping(f"train_{fold}", seconds) for fold in range(trainings)], place)
        each = timed(client, workers, [Sleeping(f"nothing_{number}", 0) for number in range(many)], place) / many
        single = statistics.median(timed(client, workers, [Sleeping(f"single_{number}", 0)], place) for number in range(5))
    return {"how": how, "start": start, "trainings": rounds, "step": each, "single": single}


def processes(repeats: int) -> dict[str, float]:
    """Median seconds of Python that does nothing, and of Python that imports what ``nnactive_run -step`` does."""
    program = "import torch, nnactive_ext.cli.run, nnactive_ext.loop.cycles, nnactive_ext.nnunet.environment as e"
    programs = {"nothing": ["-S", "-c", ""], "imports": ["-c", f"{program}; e.check_torchvision()"]}

    def once(words: list[str]) -> float:
        begin = perf_counter()
        subprocess.run([sys.executable, *words], check=True)
        return perf_counter() - begin

    return {name: statistics.median(once(words) for _ in range(repeats)) for name, words in programs.items()}


def load() -> str:
    """How busy the machine is with other things, over the last minute."""
    with contextlib.suppress(OSError, AttributeError):
        return f"{os.getloadavg()[0]:.1f}"
    return "unknown"


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    machine, given = found["machine"], found["settings"]
    rows = found["rows"]
    least = -(-given["trainings"] // given["workers"]) * given["seconds"]
    of = f"{given['trainings']} trainings of {given['seconds']:g} s"
    lines = [
        f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}. {machine['cores']} cores of {machine['cpu']}, "
        f"{given['workers']} workers. Processes that ran or waited for a core (load average, including ours): "
        f"{found['load']['before']} before, {found['load']['after']} after.",
        "",
        "| s | " + " | ".join(row["how"] for row in rows) + " |",
        "|---|" + "---|" * len(rows),
        "| start: until all workers are there | " + " | ".join(f"{row['start']:.1f}" for row in rows) + " |",
        f"| {of}, from then on (at least {least:g}) | " + " | ".join(f"{row['trainings']:.1f}" for row in rows) + " |",
        f"| a step that does nothing, one of {given['many']} | " + " | ".join(f"{row['step']:.2f}" for row in rows) + " |",
        "| a step that does nothing, alone | " + " | ".join(f"{row['single']:.2f}" for row in rows) + " |",
        "",
        f"A process of Python that does nothing takes {found['processes']['nothing']:.2f} s; one that imports what a real step "
        f"imports before it begins, {found['processes']['imports']:.1f} s.",
    ]
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures what it costs to have steps carried out by workers.")
    parser.add_argument("-workers", type=int, default=2, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-trainings", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-seconds", type=float, default=20, metavar="S", help="of a training (default: %(default)s)")
    parser.add_argument("-many", type=int, default=40, metavar="N", help="steps that do nothing (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    options = parser.parse_args(args)
    if options.markdown:
        check_markers(options.markdown, MARKS)  # before the work, not after
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(folder, name))
        place, given = Place(Path(folder)), (options.workers, options.trainings, options.seconds, options.many)
        rows = [measure(how, *given, place) for how in (EMBEDDED, STARTED)]
    found = {
        **description(),
        "command": shlex.join(["python", "-m", "benchmarks.scaling", *(sys.argv[1:] if args is None else args)]),
        "settings": dict(zip(("workers", "trainings", "seconds", "many"), given, strict=True)),
        "rows": rows,
        "processes": processes(3),
        "load": {"before": before, "after": load()},
    }
    print(report(found))
    if options.markdown:
        insert(options.markdown, report(found) + "\n", MARKS)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
