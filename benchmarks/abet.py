"""What AbeT's last layer costs in Dice on synthetic CTs: the same labels, network and iterations, trained several times.

    python -m benchmarks.abet -work FOLDER

Everything is planned, trained and evaluated as by the commands. ``FOLDER`` keeps what is done, so the same command goes on
after a kill. nnU-Net does not seed trainings, so trainings of one arm on equal labels differ: the noise to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from benchmarks.machine import description
from benchmarks.pretrained import dice, plan, train
from benchmarks.report import check_markers, publish

MARKS = ("<!-- benchmarks.abet: begin -->", "<!-- benchmarks.abet: end -->")
ARMS = {"plain": "nnActiveTrainer", "AbeT": "nnActiveTrainer_AbeT"}
_DATASET, _EXPERIMENTS = 940, 941
"""Numbers of the datasets."""
_ROWS = "rows.jsonl"


def experiment_of(given: Any, seed: int, arm: str) -> Any:
    """The experiment of a seed and an arm; the same patches are annotated in both arms."""
    from nnactive_ext.experiment.experiment import Experiment

    number = _EXPERIMENTS + 2 * seed + list(ARMS).index(arm)
    if list(given.work.glob(f"nnUNet_preprocessed/Dataset{number}_*/nnactive_state.json")):
        return Experiment.find(str(number))
    return plan(
        f"-d {_DATASET} -o {number} -name {arm}_{seed} -seed {seed} -patch_size {given.patch_size} --method random_fg_66 "
        f"-starting_budget {given.patches} -query_size {given.patches} -tr {ARMS[arm]}_{given.epochs}epochs_NoMirroring -np 1"
    )


def measure(given: Any, rows: list[dict[str, Any]]) -> None:
    """Add what is missing to ``rows`` and to the file of rows."""
    from nnactive_ext.experiment.loops import loop_file
    from nnactive_ext.files import read_json
    from nnactive_ext.members.ensemble import fold_folder

    done = {(row["seed"], row["arm"], row["training"]) for row in rows}
    for training in range(1, given.trainings + 1):
        for seed in given.seeds:
            made = {arm: experiment_of(given, seed, arm) for arm in ARMS}
            patches = [read_json(loop_file(one.raw, 0))["patches"] for one in made.values()]
            assert patches[0] == patches[1], "both arms train on the same labels"
            for arm, experiment in made.items():
                if (seed, arm, training) in done:
                    continue
                shutil.rmtree(fold_folder(experiment, 0), ignore_errors=True)
                with open(given.work / "log.txt", "a", encoding="utf-8") as log, redirect_stdout(log):
                    seconds = train(experiment)
                    found = dice(experiment)
                rows.append({"seed": seed, "arm": arm, "training": training, "seconds": seconds, "dice": found})
                print(json.dumps(rows[-1]), flush=True)
                with open(given.work / _ROWS, "a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    given = found["settings"]
    rows = [row for row in found["rows"] if row["training"] <= given["trainings"]]
    of = {arm: {seed: _values(rows, arm, seed) for seed in given["seeds"]} for arm in ARMS}
    lines = [
        f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}. One thread of "
        f"{found['machine']['cpu']}. {given['cases']} cases, a quarter of them for tests; "
        f"{given['patches']} annotated patches of {given['patch_size']} voxels along each axis, chosen by `random_fg_66`; "
        f"{given['epochs']} epochs of {given['iterations']} iterations; Dice in % of one member (fold 0) on the test set; "
        f"{given['trainings']} trainings on each set of labels.",
        "",
        "| last layer | " + " | ".join(f"labels {seed}" for seed in given["seeds"]) + " | mean | SD between trainings |",
        "|---|" + "---|" * (len(given["seeds"]) + 2),
    ]
    for arm, by_seed in of.items():
        cells = [", ".join(f"{value:.1f}" for value in values) for values in by_seed.values()]
        every = [value for values in by_seed.values() for value in values]
        lines.append(f"| {arm} | {' | '.join(cells)} | {statistics.mean(every):.1f} | {noise(list(by_seed.values())):.1f} |")
    gains = [statistics.mean(of["AbeT"][seed]) - statistics.mean(of["plain"][seed]) for seed in given["seeds"]]
    error = standard_error(of["AbeT"], of["plain"])
    lines.append(f"| difference | {' | '.join(f'{g:+.1f}' for g in gains)} | {statistics.mean(gains):+.1f} | ± {error:.1f} |")
    lines += ["", "± is the standard error of the mean difference, from the spread between trainings on equal labels."]
    return "\n".join(lines)


def noise(groups: list[list[float]]) -> float:
    """Standard deviation within groups, pooled; NaN where no group has two.

    >>> noise([[1.0, 3.0], [10.0, 12.0]]) == 2**0.5
    True
    """
    free = sum(len(group) - 1 for group in groups)
    squares = sum((value - statistics.mean(group)) ** 2 for group in groups for value in group)
    return float((squares / free) ** 0.5) if free else float("nan")


def standard_error(*arms: dict[int, list[float]]) -> float:
    """Of the difference of two arms' means over labels, each label with as many trainings."""
    each = [noise(list(arm.values())) ** 2 / sum(map(len, arm.values())) for arm in arms]
    return float(sum(each) ** 0.5)


def _values(rows: list[dict[str, Any]], arm: str, seed: int) -> list[float]:
    return [100 * row["dice"] for row in rows if (row["arm"], row["seed"]) == (arm, seed)]


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compares AbeT's last layer with nnU-Net's, on synthetic CTs.")
    parser.add_argument("-work", type=Path, required=True, metavar="FOLDER", help="keeps what is done; made if missing")
    parser.add_argument("-seeds", type=int, nargs="+", default=[1, 2], metavar="N", help="of labels (default: %(default)s)")
    parser.add_argument("-trainings", type=int, default=3, metavar="N", help="on equal labels (default: %(default)s)")
    parser.add_argument("-epochs", type=int, default=8, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-iterations", type=int, default=25, metavar="N", help="of an epoch (default: %(default)s)")
    parser.add_argument("-cases", type=int, default=16, metavar="N", help="of the dataset (default: %(default)s)")
    parser.add_argument("-patches", type=int, default=16, metavar="N", help="annotated ones (default: %(default)s)")
    parser.add_argument("-patch_size", type=int, default=12, metavar="N", help="in voxels (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)  # before the work, not after
    rows = run(given)
    left_out = ("json", "markdown", "work")
    found = {
        **description(),
        "command": shlex.join(["python", "-m", "benchmarks.abet", *(sys.argv[1:] if args is None else args)]),
        "settings": {key: value for key, value in vars(given).items() if key not in left_out},
        "rows": rows,
    }
    found["command"] = found["command"].replace(str(given.work), "FOLDER")
    publish(given, found, report(found), MARKS)


def run(given: Any) -> list[dict[str, Any]]:
    """All rows: those that the folder has, and those that are measured now."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        folder = given.work.resolve() / name
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    iterations = {"nnactive_iterations_per_epoch": given.iterations, "nnactive_val_iterations_per_epoch": 1}
    os.environ |= {key: str(value) for key, value in iterations.items()} | {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    from nnactive_ext import phantom

    if not (Path(os.environ["nnUNet_raw"]) / f"Dataset{_DATASET}_Phantom").exists():
        phantom.write_dataset(_DATASET, given.cases, seed=1)
    rows: list[dict[str, Any]] = []
    if (given.work / _ROWS).is_file():
        rows = [json.loads(line) for line in (given.work / _ROWS).read_text(encoding="utf-8").splitlines()]
    measure(given, rows)
    return rows


if __name__ == "__main__":
    main()
