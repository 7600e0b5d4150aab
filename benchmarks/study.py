"""The study of docs/benchmarks/study.md: all methods from the same starts, seed by seed; the repository keeps what is done.

    python -m benchmarks.study FOLDER -hours 3

Each seed of a part of the study is a benchmark of its own (``nnactive_bench``), on one core or more. Its results become a file
of ``docs/benchmarks/study``, and its experiments are removed. A command that was killed goes on in its folder; on another
machine it goes on with the next seed that has no file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.machine import command, description
from benchmarks.report import check_markers, insert, publish
from benchmarks.strange_pool import write_strange_pool
from benchmarks.study_report import MARKS, PLAN_MARKS, detectable_table, report
from nnactive_ext.bench.definition import read_benchmark
from nnactive_ext.bench.side_by_side import run_side_by_side
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json
from nnactive_ext.nnunet.environment import FOLDERS

ROOT = Path(__file__).parent.parent
PROTOCOLS = ROOT / "benchmarks" / "protocols" / "study"
RESULTS = ROOT / "docs" / "benchmarks" / "study"
HIPPOCAMPUS = "../shared/data/Dataset004_Hippocampus"
# The same for all seeds: a seed chooses the folds and the starting budget.
DRAWN = {900: "-d 900 -n 32 -lesions 2", 910: "-d 910 -n 24 -kind abdomen"}
"""Number of a synthetic dataset -> what ``nnactive_phantom`` is given."""
STRANGE, STRANGE_POOL = 920, {"phantoms": 16, "tests": 8, "lesions": 2}
"""Number of the pool with strangers, and what :func:`benchmarks.strange_pool.write_strange_pool` is given."""
_SEEDS = re.compile(r"^seeds = \[([\d, ]+)\].*$", re.MULTILINE)

Run = Callable[[Path, str, int], None]
"""Runs the benchmark of a file, with the Hippocampus MRIs of a folder, on so many cores; results come beside the file."""


def parts() -> list[str]:
    return sorted(file.stem for file in PROTOCOLS.glob("*.toml"))


def planned(part: str) -> tuple[str, list[int]]:
    """The text of a part's benchmark file, and its seeds."""
    text = (PROTOCOLS / f"{part}.toml").read_text(encoding="utf-8")
    found = _SEEDS.search(text)
    assert found is not None, f"{part}.toml has no line of seeds"
    return text, [int(seed) for seed in found[1].split(",")]


def digest(part: str) -> str:
    """Of everything that a part's file and this one settle: settings, seeds, synthetic images."""
    lines = [line.partition("#")[0].strip() for line in planned(part)[0].splitlines()]
    drawn = [str(what) for number, what in {**DRAWN, STRANGE: STRANGE_POOL}.items() if f"dataset = {number}" in lines]
    return hashlib.sha256("\n".join([*filter(None, lines), *drawn]).encode()).hexdigest()[:16]


def result_file(results: Path, part: str, seed: int) -> Path:
    return results / f"{part}_seed{seed:02d}.json"


def left(given: Any) -> list[tuple[str, int]]:
    """Part and seed of what is still to be run: the first seeds of all parts before the second ones."""
    every = [(part, seed) for part in given.parts for seed in planned(part)[1]]
    return sorted((one for one in every if not result_file(given.results, *one).is_file()), key=lambda one: (one[1], one[0]))


def done(given: Any) -> list[dict[str, Any]]:
    """What the files of results hold; one of another plan is an error, for its numbers answer another question."""
    found = []
    for part in parts():
        for seed in planned(part)[1]:
            file = result_file(given.results, part, seed)
            if not file.is_file():
                continue
            content = read_json(file)
            if content["plan"] != digest(part):
                raise SystemExit(
                    f"{file}: made with another plan than {PROTOCOLS.name}/{part}.toml. Remove it to run it again."
                )
            found.append(content)
    return found


def measure(given: Any, run: Run) -> None:
    """Run what is left, at most ``given.np`` seeds at once, each on cores of its own; none begins after ``given.hours``."""
    waiting, end = left(given), time.monotonic() + 3600 * given.hours
    if not hasattr(os, "sched_getaffinity"):
        raise SystemExit("The study gives each seed cores of its own, which needs Linux.")
    free = sorted(os.sched_getaffinity(0))
    at_once = min(given.np, len(free) // given.cores)
    if at_once < 1:
        raise SystemExit(f"-cores {given.cores}: this process may use {len(free)}. Name as many or fewer.")

    def work(number: int) -> None:
        os.sched_setaffinity(0, free[number * given.cores : (number + 1) * given.cores])  # of this thread, and what it starts
        while waiting and time.monotonic() < end:
            part, seed = waiting.pop(0)
            one(given, run, part, seed)

    with ThreadPoolExecutor(at_once) as pool:
        for each in [pool.submit(work, number) for number in range(at_once)]:
            each.result()


def one(given: Any, run: Run, part: str, seed: int) -> None:
    """Run a seed of a part, or what is missing of it, and keep its results."""
    folder = given.folder.resolve() / f"{part}_seed{seed:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.toml").write_text(_SEEDS.sub(f"seeds = [{seed}]", planned(part)[0]), encoding="utf-8")
    run(folder / "benchmark.toml", given.hippocampus, given.cores)
    where = description()
    kept = {
        "part": part,
        "seed": seed,
        "plan": digest(part),
        **{name: where[name] for name in ("date", "commit", "machine", "versions")},
        "arms": list(arms(folder)),
    }
    given.results.mkdir(parents=True, exist_ok=True)
    write_json(result_file(given.results, part, seed), kept)
    shutil.rmtree(folder)
    finals = ", ".join(f"{arm['method']} {100 * arm['cycles'][-1]['dice']:.1f}" for arm in kept["arms"])
    print(f"{part}, seed {seed}: final Dice {finals}", flush=True)


def arms(folder: Path) -> Iterator[dict[str, Any]]:
    """Of each experiment of a benchmark: what was asked for, what it was worth, and the seconds of its steps."""
    from nnactive_ext.compare.trajectories import read_trajectories
    from nnactive_ext.experiment.loops import loop_file
    from nnactive_ext.experiment.timing import times_in

    for trajectory in read_trajectories(list((folder / "nnUNet_results").glob("Dataset*/nnactive"))):
        if trajectory.purpose:  # the start that all share
            continue
        if len(trajectory.scored) < trajectory.planned:
            raise NnActiveError(f"{trajectory.label}: not all of its cycles are evaluated. Run the command again.")
        raw = folder / "nnUNet_raw" / trajectory.name
        asked = [read_json(loop_file(raw, result.cycle))["patches"] for result in trajectory.scored]
        seconds: dict[str, float] = {}
        for line in times_in(trajectory.folder):
            seconds[line["step"]] = seconds.get(line["step"], 0.0) + float(line["seconds"])
        yield {
            "method": trajectory.method,
            "start": hashlib.sha256(json.dumps(asked[0], sort_keys=True).encode()).hexdigest()[:16],
            "cycles": [
                {
                    "asked": sum(map(len, asked[: number + 1])),
                    "annotated": result.patches,
                    "dice": result.mean_dice or 0.0,
                    "dice_per_class": dict(result.dice_per_class),
                }
                for number, result in enumerate(trajectory.scored)
            ],
            "seconds": {step: round(value, 1) for step, value in seconds.items()},
        }


def run_bench(file: Path, hippocampus: str, cores: int) -> None:
    """``nnactive_bench``, its experiments on one core each, in processes that end with this one and write ``process_*.log``.

    Raises:
        NnActiveError: an experiment fails.
    """
    real = Path(hippocampus).resolve()
    if not (real / "dataset.json").is_file():
        raise SystemExit(f"{hippocampus}: holds no dataset.json. Name the folder of Dataset004_Hippocampus with -hippocampus.")
    folder = file.parent
    added = {name: str(folder / name) for name in FOLDERS} | {"OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": "0"}
    raw = folder / FOLDERS[0]
    raw.mkdir(exist_ok=True)
    linked = raw / real.name
    linked.unlink(missing_ok=True)  # it may lead to where the data was on another day
    linked.symlink_to(real, target_is_directory=True)
    wanted = file.read_text(encoding="utf-8")
    for number, words in DRAWN.items():
        if f"dataset = {number}" in wanted and not list(raw.glob(f"Dataset{number}_*")):
            drawing = [sys.executable, "-m", "nnactive_ext.cli.phantom", *words.split()]
            subprocess.run(drawing, env={**os.environ, **added}, stdout=subprocess.DEVNULL, check=True)
    if f"dataset = {STRANGE}" in wanted and not (folder / "tests.txt").is_file():
        pool = raw / f"Dataset{STRANGE}_Pool"
        shutil.rmtree(pool, ignore_errors=True)  # of a run that was killed while it wrote it
        strangers = write_strange_pool(pool, real, **STRANGE_POOL)
        (folder / "strangers.txt").write_text("\n".join(strangers) + "\n")
        (folder / "tests.txt").write_text("\n".join(f"phantom_t{i:02d}" for i in range(STRANGE_POOL["tests"])) + "\n")
    arguments = [str(file), "-device", "cpu", "--disable_progress_bar", "-num_parts", str(cores), "-part_id"]
    run_side_by_side(cores, lambda i: [*arguments, str(i)], folder, say=lambda line: None, environments=[added] * cores)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description="Runs the study of docs/benchmarks/study.md, as far as the time allows."
    )
    made.add_argument("folder", type=Path, metavar="FOLDER", help="keeps what is begun; made if missing")
    made.add_argument("-hours", type=float, default=1.0, metavar="H", help="begin no seed later (default: %(default)s)")
    made.add_argument("-np", type=int, default=2, metavar="N", help="seeds at once (default: %(default)s)")
    made.add_argument(
        "-cores", type=int, default=1, metavar="N", help="cores of each seed, shared by its arms (default: %(default)s)"
    )
    made.add_argument("-parts", nargs="+", default=parts(), choices=parts(), metavar="PART", help="(default: all)")
    made.add_argument(
        "-hippocampus", default=HIPPOCAMPUS, metavar="FOLDER", help="Dataset004_Hippocampus (default: %(default)s)"
    )
    made.add_argument("-results", type=Path, default=RESULTS, metavar="FOLDER", help="where results are kept (default: docs)")
    made.add_argument(
        "--detectable", type=Path, metavar="FILE", help="run nothing; print what the plan can detect by the pilot, power.json"
    )
    made.add_argument("--finished", action="store_true", help="run nothing; report the seeds that are done")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    return made


def main(args: list[str] | None = None, run: Run = run_bench) -> None:
    given = parser().parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)  # before the work, not after
    if given.detectable:
        protocols = {part: read_benchmark(PROTOCOLS / f"{part}.toml") for part in parts()}
        text = detectable_table(read_json(given.detectable)["rows"], protocols)
        print(text)
        if given.markdown:
            insert(given.markdown, text + "\n", PLAN_MARKS)
        return
    if not given.finished:
        measure(given, run)
    rows = done(given)
    if not rows:
        raise SystemExit(f"{given.results}: no seed is finished. Run the command without --finished, or with more -hours.")
    seeds = {part: planned(part)[1] for part in parts()}
    found = {"command": command("study", ["FOLDER"]), "seeds": seeds, "rows": rows}
    publish(given, found, report(found), MARKS)


if __name__ == "__main__":
    main()
