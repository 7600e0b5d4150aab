"""What commands take as an experiment grows: its cases, tasks, exports, answers and verdicts.

    python -m benchmarks.ledger_size FOLDER [-tasks 1000 2000 4000 8000] [--markdown FILE]

The experiments are written as files (benchmarks/grown.py); the commands are those that people type. Each row is a process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from benchmarks.grown import NUMBER, Size, grow
from benchmarks.machine import command, description
from benchmarks.report import as_table, check_markers, publish
from benchmarks.watched import watched

MARKS = ("<!-- benchmarks.ledger_size: begin -->", "<!-- benchmarks.ledger_size: end -->")
PER_CASE, CYCLES = 10, 10
VERDICTS, QUEUE = 500, 50


def _environment(folder: Path) -> dict[str, str]:
    names = ("raw", "preprocessed", "results")
    return {**os.environ, **{f"nnUNet_{name}": str(folder / f"nnUNet_{name}") for name in names}, "nnUNet_n_proc_DA": "0"}


def _annotate(*words: object) -> None:
    from nnactive_ext.cli import annotate

    try:
        annotate.main([*map(str, words)])
    except SystemExit as end:
        if end.code not in (0, None):
            raise SystemExit(f"{' '.join(map(str, words))}: {end.code}") from None


def status(folder: Path) -> None:
    """``nnactive_status``."""
    from nnactive_ext.cli import status

    status.main(["-d", str(NUMBER)])


def export(folder: Path) -> None:
    """``nnactive_annotate export`` of the open cycle, blank."""
    _annotate("export", "-d", NUMBER, "-o", folder / "out", "--blank", "--disable_progress_bar")


def hand_in(folder: Path) -> None:
    """``nnactive_annotate import`` of all that was exported."""
    _annotate("import", "-d", NUMBER, folder / "out", "-who", "bert", "--accept_unchanged", "--disable_progress_bar")


def verdicts(folder: Path) -> None:
    """``nnactive_annotate import`` of a table of verdicts on tasks of the open cycle."""
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.tasks import tasks_of

    experiment = Experiment.find(NUMBER)
    asked = tasks_of(experiment, experiment.last_loop)[:VERDICTS]
    file = folder / "verdicts.csv"
    file.write_text("task_or_case,verdict,why\n" + "".join(f"{task.id},irrelevant,page {i}\n" for i, task in enumerate(asked)))
    _annotate("import", "-d", NUMBER, file, "-who", "bert", "--disable_progress_bar")


def queue(folder: Path) -> None:
    """The rows of the queue page, asked for again and again, as by a browser; an event is added between."""
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.ledger import Ledger
    from nnactive_ext.labelling.tasks import tasks_of
    from nnactive_ext.serve.queue import rows

    for number in range(QUEUE):
        experiment = Experiment.find(NUMBER)
        shown = tasks_of(experiment, experiment.last_loop)[:QUEUE]
        rows(experiment, shown, {}, set(), set())
        Ledger(experiment.annotation).add("said", "bert", number=number)


def adding(folder: Path) -> None:
    """``Ledger.add`` of as many answers as there are tasks, to a ledger that has as many."""
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.labelling.ledger import Ledger

    ledger = Ledger(Experiment.find(NUMBER).annotation)
    for number in range(sum(1 for _ in ledger.events())):
        ledger.add("said", "bert", number=number, text="x" * 400)


STEPS: dict[str, Callable[[Path], None]] = {
    "status": status,
    "queue": queue,
    "verdicts": verdicts,
    "export": export,
    "import": hand_in,
    "add": adding,
}
"""The later ones change the experiment."""
_WORDS = {
    "status": "nnactive_status",
    "queue": f"the queue page of nnactive_annotate serve, {QUEUE} times",
    "verdicts": f"nnactive_annotate import of {VERDICTS} verdicts",
    "export": "nnactive_annotate export of all tasks of one cycle",
    "import": "nnactive_annotate import of all of them",
    "add": "as many lines added to the ledger again",
}


def step(folder: Path, name: str) -> None:
    """Print the seconds and the processor seconds of a step, without Python's imports of it."""
    begin, used = time.perf_counter(), time.process_time()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        STEPS[name](folder)
    print(json.dumps([time.perf_counter() - begin, time.process_time() - used]))


def measure(folder: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each number of tasks and each step."""
    rows: list[dict[str, Any]] = []
    for tasks in given.tasks:
        for name in given.steps:
            many = name in ("status", "queue", "verdicts", "add")
            place = folder / f"{'many' if many else 'open'}_{tasks}"
            if not place.exists():
                place.mkdir(parents=True)
                os.environ.update(_environment(place))
                with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                    grown = Size(tasks // PER_CASE, tasks, CYCLES, tasks * 9 // 10) if many else Size(tasks // PER_CASE, tasks)
                    grow(place, grown)
                gc.collect()
            words = [sys.executable, "-m", "benchmarks.ledger_size", place, "-step", name]
            found = watched(words, _environment(place))
            seconds, processor = json.loads(found.text.splitlines()[-1])
            rows.append({"step": name, "tasks": tasks, "seconds": seconds, "processor": processor, "gb": found.peak_gb})
            print(json.dumps(rows[-1]), flush=True)
        if not given.keep:
            shutil.rmtree(folder / f"many_{tasks}", ignore_errors=True)
            shutil.rmtree(folder / f"open_{tasks}", ignore_errors=True)
    return rows


def report(rows: Sequence[dict[str, Any]], command: str) -> str:
    """Markdown, without the paths of this machine."""
    machine = description()
    text = (
        f"`{command}`, {machine['date'][:10]}, commit {machine['commit']}. {machine['machine']['cores']} cores of "
        f"{machine['machine']['cpu']}. A case has {PER_CASE} tasks. Seconds are processor seconds, without Python's start; "
        "memory is the peak of the process."
    )
    sizes = list(dict.fromkeys(row["tasks"] for row in rows))
    head = ["step", *(f"{n:,} tasks" for n in sizes), "ms per further task", "s on the clock", "peak"]
    lines = []
    for name in dict.fromkeys(row["step"] for row in rows):
        mine = {row["tasks"]: row for row in rows if row["step"] == name}
        used = [mine[n]["processor"] for n in sizes]
        further = 1000 * (used[-1] - used[0]) / (sizes[-1] - sizes[0]) if len(sizes) > 1 else float("nan")
        last = mine[sizes[-1]]
        lines.append(
            [_WORDS[name], *(f"{n:.1f}" for n in used), f"{further:.2f}", f"{last['seconds']:.1f}", f"{last['gb']:.2f} GB"]
        )
    return f"{text}\n\n{as_table(head, lines)}"


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures what commands take as an experiment grows.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the experiments are written")
    parser.add_argument(
        "-tasks", type=int, nargs="+", default=[1000, 2000, 4000, 8000], metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument("-steps", nargs="+", choices=STEPS, default=list(STEPS), metavar="STEP", help="(default: all)")
    parser.add_argument("-step", choices=STEPS, help="only do this step in FOLDER (for the benchmark itself)")
    parser.add_argument("--keep", action="store_true", help="keep the experiments")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows")
    given = parser.parse_args(args)
    if given.step:
        step(given.folder, given.step)
        return
    if given.markdown:
        check_markers(given.markdown, MARKS)
    rows = measure(given.folder.absolute(), given)
    publish(given, {"rows": rows}, report(rows, command("ledger_size", args, given.folder)), MARKS)


if __name__ == "__main__":
    main()
