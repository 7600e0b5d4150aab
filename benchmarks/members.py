"""What cheaper members cost and are worth on real MRIs: five folds against mirrorings and snapshots of one training.

    python -m benchmarks.members -o FOLDER

All arms start from the same patches, and trainings have the same network, augmentation and number of iterations. Everything is
planned, trained, queried and measured as by the commands. A command that was stopped continues in its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import combinations, product
from pathlib import Path
from typing import Any

from benchmarks.machine import description
from benchmarks.report import check_markers, insert
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json

MARKS = ("<!-- benchmarks.members: begin -->", "<!-- benchmarks.members: end -->")
ARMS = {
    "folds": ("nnActiveTrainer", 5),
    "mirror": ("nnActiveTrainer", 1),
    "snapshots:5": ("nnActiveTrainer_Snapshots", 1),
}
"""``-members`` -> the family of its trainer, and ``-folds``."""
SCORES = ("predictive_entropy", "disagreement")
STEPS = {"train": ("train",), "query": ("load", "predict", "statistics", "score"), "evaluate": ("evaluate",)}
DATA = Path("../shared/data/Dataset004_Hippocampus")
NUMBERS = {"pool": 32, "test": 16, "cycles": 2, "repeats": 3, "epochs": 50, "iterations": 2, "patches": 16, "patch_size": 20}
_FIRST = 4
"""Number of the dataset; those of the experiments follow."""


def cpu_seconds(process: str = "self") -> float:
    """CPU seconds of this process, of what it started, and of the children of these, running or not. Linux."""
    if process == "self":
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = time.process_time() + ended.ru_utime + ended.ru_stime
    else:
        fields = _read(Path("/proc", process, "stat")).rpartition(")")[2].split()
        spent = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    children = {child for file in Path("/proc", process, "task").glob("*/children") for child in _read(file).split()}
    return spent + sum(map(cpu_seconds, children))


def _read(file: Path) -> str:
    """Nothing of a process or thread that ended just now; its parent has its seconds."""
    with suppress(OSError):
        return file.read_text()
    return ""


def write_subset(source: Path, raw: Path, listed: Path, pool: int, test: int) -> None:
    """A dataset of links to some cases, evenly over all, and the list of its test cases."""
    folder, content = raw / f"Dataset{_FIRST:03d}_{source.name.partition('_')[2]}", read_json(source / "dataset.json")
    ending = content["file_ending"]
    names = sorted(file.name.removesuffix(ending) for file in (source / "labelsTr").glob(f"*{ending}"))
    chosen = [names[i * len(names) // (pool + test)] for i in range(pool + test)]
    tests = [chosen[i * len(chosen) // test] for i in range(test)]
    for case in chosen:
        for file in [*(source / "imagesTr").glob(f"{case}_*{ending}"), source / "labelsTr" / f"{case}{ending}"]:
            link = folder / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(file.resolve())
    write_json(folder / "dataset.json", {**content, "numTraining": len(chosen)})
    listed.write_text("\n".join(tests) + "\n", encoding="utf-8")


def loop(given: argparse.Namespace, tests: Path, number: int, arm: str, seed: int) -> dict[str, Any]:
    """Plan, run and validate one experiment, or what is missing of it."""
    from nnactive_ext.cli.plan import main
    from nnactive_ext.compare.validation import worth
    from nnactive_ext.experiment import timing
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.experiment.loops import loop_file, read_loop
    from nnactive_ext.experiment.result import read_results
    from nnactive_ext.loop.cycles import run_cycles
    from nnactive_ext.members.tools import Tools
    from nnactive_ext.members.validating import Asked, validate

    begin = time.perf_counter()
    vars(timing)["perf_counter"] = cpu_seconds  # what the experiment notes of its steps
    trainer, folds = ARMS[arm]
    words = f"-d {_FIRST} -o {number} -name M{number} -patch_size {given.patch_size} -cycles {given.cycles} --preset cpu"
    words += f" -starting_budget {given.patches} -query_size {given.patches} -seed {seed} --method {given.method}"
    words += f" -folds {folds} -members {arm} -tr {trainer}_{given.epochs}epochs --disable_progress_bar"
    try:
        experiment, continued = Experiment.find(number), True
    except NnActiveError:
        main([*words.split(), "-test", str(tests)])
        experiment, continued = Experiment.find(number), False
    tools = Tools.of_nnunet("cpu")
    run_cycles(experiment, tools, progress=False)
    experiment = experiment.anew()
    asked = Asked(scores=SCORES, aggregations=(given.aggregation,))
    found = validate(experiment, lambda of: tools.open_ensemble(experiment, of), experiment.folds(), asked, progress=False)
    spent = timing.seconds_per_step(experiment)
    turns = {"train": given.cycles, "query": given.cycles - 1, "evaluate": given.cycles}
    chosen = read_loop(loop_file(experiment.raw, 1), experiment.dataset.file_ending)
    return {
        "dice": [result.mean_dice for result in read_results(experiment.results)],
        "cpu_seconds": {step: sum(spent[name] for name in names) / turns[step] for step, names in STEPS.items()},
        "wall_seconds": None if continued else time.perf_counter() - begin,
        "members": found.members,
        "aurc": {one.line.score: [one.aurc, one.excess] for one in worth(found)},
        "query": [[patch.case, patch.start, patch.size] for patch in chosen],
    }


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """All loops, each kept in a file when it is done."""
    folder = given.o.absolute()
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(folder / name)
        (folder / name).mkdir(parents=True, exist_ok=True)
    os.environ["nnactive_iterations_per_epoch"] = str(given.iterations)
    os.environ["nnactive_val_iterations_per_epoch"] = "1"
    rows, tests = [], folder / "test_cases.txt"
    if not given.finished:
        write_subset(given.data, folder / "nnUNet_raw", tests, given.pool, given.test)
    loops = list(enumerate(product(given.seeds, range(given.repeats), ARMS)))
    # One of each arm, then the repeats of the cheap ones: whoever stops early has the most.
    for i, (seed, repeat, arm) in sorted(loops, key=lambda one: (one[1][1] > 0, ARMS[one[1][2]][1], one[0])):
        file = folder / f"loop_{i:03d}.json"
        if given.finished and not file.is_file():
            continue
        if not file.is_file():
            write_json(file, {"arm": arm, "seed": seed, "repeat": repeat, **loop(given, tests, _FIRST + 1 + i, arm, seed)})
            print(json.dumps({key: value for key, value in read_json(file).items() if key != "query"}), flush=True)
        rows.append(read_json(file))
    return rows


def overlap(one: Sequence[Any], other: Sequence[Any]) -> float:
    """The voxels that two queries share, divided by those of the smaller one; patches of one query are disjoint."""
    from nnactive_ext.geometry.patch import Patch, shared

    queries = [[Patch(case, tuple(start), tuple(size)) for case, start, size in query] for query in (one, other)]
    common = 0
    for a, b in product(*queries):
        if a.overlaps(b):
            z, y, x = (s.stop - s.start for s in shared(a, b)[0])
            common += z * y * x
    return common / min(sum(patch.voxels for patch in query) for query in queries)


def _spread(values: Iterable[float], factor: float = 1.0, digits: int = 1) -> str:
    """Mean and standard deviation (n - 1)."""
    values = [factor * value for value in values]
    sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{sd}" if values else "–"


def _overlaps(rows: Sequence[dict[str, Any]], one: str, other: str) -> list[float]:
    """Of the first queries of loops that started with the same labels."""
    pairs = [pair for pair in combinations(rows, 2) if pair[0]["seed"] == pair[1]["seed"]]
    return [overlap(a["query"], b["query"]) for a, b in pairs if sorted((a["arm"], b["arm"])) == sorted((one, other))]


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    given, rows = found["settings"], found["rows"]
    of = {arm: [row for row in rows if row["arm"] == arm] for arm in ARMS}
    first = [f"| `{arm}` | {_trainings(arm)} | {of[arm][0]['members']} |" for arm in ARMS if of[arm]]
    for i, arm in enumerate(arm for arm in ARMS if of[arm]):
        dice = [[100 * row["dice"][cycle] for row in of[arm]] for cycle in (0, -1)]
        cells = [f"{_spread(values)} ({', '.join(f'{value:.1f}' for value in values)})" for values in dice]
        areas = [[row["aurc"][score] for row in of[arm]] for score in SCORES]
        cells += [", ".join(f"{area:.3f} ({excess:.3f})" for area, excess in found_areas) for found_areas in areas]
        first[i] += f" {' | '.join(cells)} |"
    costs = []
    for arm in ARMS:
        if rows_of := of[arm]:
            steps = [_spread((row["cpu_seconds"][step] for row in rows_of), 1, 0) for step in STEPS]
            cycle = [(row["cpu_seconds"]["train"] + row["cpu_seconds"]["query"]) / 3600 for row in rows_of]
            walls = [row["wall_seconds"] for row in rows_of if row["wall_seconds"] is not None]
            costs.append(f"| `{arm}` | {' | '.join(steps)} | {_spread(cycle, 1, 3)} | {_spread(walls, 1 / 60, 0)} |")
    names = [arm for arm in ARMS if of[arm]]
    overlaps = [
        f"| `{one}` | " + " | ".join(_spread(_overlaps(rows, one, other), 100, 0) for other in names) + " |" for one in names
    ]
    total = given["epochs"] * given["iterations"]
    loops = ", ".join(f"{len(of[arm])} of `{arm}`" for arm in names)
    return "\n".join(
        [
            f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}. One core of {found['machine']['cpu']}, "
            f"shared with other work. {given['pool']} cases in the pool, {given['test']} test cases. {given['patches']} "
            f"patches of {given['patch_size']} x {given['patch_size']} x {given['patch_size']} voxels to start with, and as "
            f"many in each query (`{given['method']}`); {given['cycles']} cycles. Each training has {given['epochs']} epochs "
            f"of {given['iterations']} iterations ({total}). Loops of each arm: {loops}; starts: {len(given['seeds'])}. "
            "±: standard deviation over loops, and in brackets each of them.",
            "",
            "| members | trainings per cycle | members | Dice, cycle 0 | Dice, last cycle | "
            + " | ".join(f"AURC (E-AURC) of `{score}`" for score in SCORES)
            + " |",
            "|---|---|---|---|---|---|---|",
            *first,
            "",
            "| members | training, CPU s per cycle | query, CPU s | evaluation, CPU s | training and query, CPU hours per "
            "cycle | whole loop, wall minutes |",
            "|---|---|---|---|---|---|",
            *costs,
            "",
            "| overlap of the first query in % | " + " | ".join(f"`{name}`" for name in names) + " |",
            "|---|" + "---|" * len(names),
            *overlaps,
        ]
    )


def _trainings(arm: str) -> int:
    return ARMS[arm][1]


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compares members of five trainings with members of one, on real MRIs.")
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="where the experiments are made, and continued")
    parser.add_argument("-data", type=Path, default=DATA, metavar="FOLDER", help="labelled dataset (default: %(default)s)")
    for name, default in NUMBERS.items():
        parser.add_argument(f"-{name}", type=int, default=default, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-seeds", type=int, nargs="+", default=[1], metavar="N", help="one start each (default: %(default)s)")
    parser.add_argument("-method", default="predictive_entropy", help="(default: %(default)s)")
    parser.add_argument("-aggregation", default="mean_foreground", help="of entropy over a case (default: %(default)s)")
    parser.add_argument("--finished", action="store_true", help="run nothing; report the loops that are done")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)  # before the work, not after
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # nnU-Net takes the number of cores for that of its threads
    rows = measure(given)
    words = sys.argv[1:] if args is None else args
    hidden = {"-o", "-data", "--markdown"}
    shown = [word for i, word in enumerate(words) if word != "--finished" and not hidden & {word, *words[max(i, 1) - 1 : i]}]
    found = {
        **description(),
        "command": shlex.join(["python", "-m", "benchmarks.members", "-o", "FOLDER", *shown]),
        "settings": {key: value for key, value in vars(given).items() if key not in ("o", "data", "markdown", "finished")},
        "rows": rows,
    }
    print(report(found))
    if given.markdown:
        insert(given.markdown, report(found) + "\n", MARKS)


if __name__ == "__main__":
    main()
