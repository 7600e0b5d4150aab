"""The noise of trainings on equal labels and of starting budgets, and the paired seeds that it asks for, at several lengths.

    python -m benchmarks.power FOLDER -hours 1

Trains cycle 0 of several starting budgets several times each, as nnactive_run would: one training, whose mirrorings are the
members. ``FOLDER`` keeps each result, so the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from benchmarks.machine import description
from benchmarks.open_set import entered
from benchmarks.report import as_table, check_markers, publish
from nnactive_ext.errors import NnActiveError
from nnactive_ext.files import read_json, write_json
from nnactive_ext.metrics.power import seeds_needed, upper_limit
from nnactive_ext.metrics.variance import Components, variance_components

MARKS = ("<!-- benchmarks.power: begin -->", "<!-- benchmarks.power: end -->")
PHANTOMS = {"phantom": "-d 10000 -lesions 2", "abdomen": "-d 10001 -kind abdomen"}
"""What ``nnactive_phantom`` is given for them, beside the number of cases."""
DATASETS = ("phantom", "../shared/data/Dataset004_Hippocampus")
DIFFERENCES = (1, 2, 5)
"""In points of Dice."""
LEARNED = 0.1
"""A class counts as learned by a training if its Dice on the test set is at least this."""
_EXPERIMENTS = 40_000
"""The first number of experiments, of which there are as many."""


@dataclass(frozen=True, order=True)
class Training:
    """One of the ``repeat`` trainings of the starting budget of a ``seed``; ``epochs`` is its length."""

    dataset: str
    epochs: int
    seed: int
    repeat: int

    @property
    def name(self) -> str:
        return f"{Path(self.dataset).name.partition('_')[2] or Path(self.dataset).name}_e{self.epochs}_seed{self.seed}"

    @property
    def file(self) -> str:
        return f"{self.name}_repeat{self.repeat}.json"


Train = Callable[[Any, Training], dict[str, Any]]
"""Carries out a training with the given options; returns what its file keeps."""


def trainings(given: Any) -> list[Training]:
    """All of them, in an order that may be stopped anywhere: few repeats of few budgets come first, at all lengths."""
    found = [
        Training(dataset, epochs, seed, repeat)
        for dataset in given.datasets
        for epochs in given.epochs
        for seed in range(1, given.budgets + 1)
        for repeat in range(1, given.repeats + 1)
    ]
    return sorted(found, key=lambda one: (max(one.seed, one.repeat), one.epochs, one.seed, one.repeat, one.dataset))


def settings(given: Any) -> dict[str, Any]:
    """What all results of a dataset in a folder have in common."""
    return {
        "protocol": "published",
        "patch_size": " ".join(given.patch_size),
        **{name: getattr(given, name) for name in ("iterations", "patches", "cases")},
    }


def measure(given: Any, train: Train) -> list[dict[str, Any]]:
    """The results of new trainings until the hours are over, and earlier ones; those of other settings are an error.

    With ``--finished`` all results that the folder has.
    """
    begin, rows = time.monotonic(), []
    results = given.folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    if given.finished:
        return [read_json(file) for file in sorted(results.glob("*.json"))]
    for one in trainings(given):
        file = results / one.file
        if not file.is_file() and time.monotonic() - begin < 3600 * given.hours:
            started = time.monotonic()
            with open(given.folder / "log.txt", "a", encoding="utf-8") as log, redirect_stdout(log):
                found = train(given, one)
            kept = {**asdict(one), "seconds": time.monotonic() - started, "settings": settings(given), **found}
            write_json(file, kept)
            print(f"{one.file}: Dice {100 * kept['dice']:.1f} %, {kept['seconds']:.0f} s", flush=True)
        if file.is_file():
            row = read_json(file)
            if row["settings"] != settings(given):
                raise SystemExit(f"{file}: made with {row['settings']}, not with {settings(given)}. Choose another folder.")
            rows.append(row)
    return rows


def train_once(given: Any, one: Training) -> dict[str, Any]:
    """Plan the experiment where it is not planned yet, train its member anew, and evaluate it on the test set."""
    from nnactive_ext.experiment.loops import loop_file
    from nnactive_ext.members.ensemble import fold_folder
    from nnactive_ext.members.evaluation import evaluate
    from nnactive_ext.members.tools import Tools

    experiment, tools = planned(given, one), Tools.of_nnunet("cpu")
    shutil.rmtree(fold_folder(experiment, 0), ignore_errors=True)  # of the repeat before, or of one that was killed
    tools.train(experiment, 0)
    found = evaluate(experiment, lambda folds: tools.open_ensemble(experiment, folds), [0], progress=False)
    assert found is not None
    return {
        "dice": found.mean_dice or 0.0,
        "dice_per_class": dict(found.dice_per_class),
        "patches": read_json(loop_file(experiment.raw, 0))["patches"],
        "test_cases": len(experiment.plan.test),
        "pool": len(experiment.plan.pool),
    }


def planned(given: Any, one: Training) -> Any:
    """The experiment of a starting budget at a length; the budget depends on dataset and seed only."""
    from nnactive_ext.cli.plan import main
    from nnactive_ext.experiment.experiment import Experiment

    # Of its own for each experiment, so that two processes may share the folder.
    number = _EXPERIMENTS + crc32(one.name.encode()) % _EXPERIMENTS
    try:
        return Experiment.find(f"Dataset{number}_{one.name}")
    except NnActiveError:
        pass  # not planned yet, or a planning that was killed, which the next one clears away
    words = (
        f"-d {source(given, one.dataset)} -o {number} -name {one.name} -seed {one.seed} --preset cpu -folds 1 -members mirror "
        "-protocol published "
        f"-tr nnActiveTrainer_{one.epochs}epochs --method random -cycles 2 -starting_budget {given.patches} "
        f"-query_size {given.patches} -patch_size {' '.join(given.patch_size)} -np 1 --disable_progress_bar"
    )
    main(words.split())
    return Experiment.find(number)


def source(given: Any, dataset: str) -> str:
    """The labelled dataset; a phantom is drawn when it is first needed."""
    from nnactive_ext.cli.phantom import main

    if dataset not in PHANTOMS:
        return str(Path(dataset).resolve())
    words = PHANTOMS[dataset].split()
    if not list(Path(os.environ["nnUNet_raw"]).glob(f"Dataset{words[1]}_*")):
        main([*words, "-n", str(given.cases)])
    return words[1]


@dataclass(frozen=True)
class Found:
    """The results of one dataset at one length."""

    rows: Sequence[dict[str, Any]]

    @property
    def budgets(self) -> dict[int, list[float]]:
        """Seed -> Dice (0 to 1) of the trainings on its starting budget."""
        found: dict[int, list[float]] = {}
        for row in self.rows:
            found.setdefault(row["seed"], []).append(row["dice"])
        return found

    @property
    def length(self) -> str:
        """Iterations of a training."""
        return f"{self.rows[0]['epochs'] * self.rows[0]['settings']['iterations']:,}"

    @property
    def components(self) -> Components | None:
        return variance_components(list(self.budgets.values()))

    def learned(self, name: str) -> int:
        """Trainings that learned a class."""
        return sum((row["dice_per_class"][name] or 0.0) >= LEARNED for row in self.rows)


def grouped(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int, Found]]:
    for dataset, epochs in sorted({(row["dataset"], row["epochs"]) for row in rows}):
        yield dataset, epochs, Found([row for row in rows if (row["dataset"], row["epochs"]) == (dataset, epochs)])


def check_labels(rows: Sequence[dict[str, Any]]) -> None:
    """Trainings of one starting budget, at whatever length, must have had the same patches."""
    patches: dict[tuple[str, int], Any] = {}
    for row in rows:
        if patches.setdefault((row["dataset"], row["seed"]), row["patches"]) != row["patches"]:
            raise SystemExit(f"Trainings of seed {row['seed']} of {row['dataset']} had other patches. Choose another folder.")


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    rows = found["rows"]
    check_labels(rows)
    lines = [
        f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}; {found['machine']['cores']} cores of "
        f"{found['machine']['cpu']}. Starting budgets are those of `-protocol published`; `--preset cpu`, one training "
        "per cycle (`-members mirror -folds 1`). Dice on the test set in %, mean ± standard deviation over trainings.",
        "",
        as_table(
            ("dataset", "patches", "iterations", "trainings", "starting budgets", "Dice", "classes: Dice (learned)", "s"),
            list(_dice(rows)),
        ),
        "",
        f"*learned*: trainings in which the class has a Dice of at least {100 * LEARNED:.0f} %. *s*: mean wall time of a "
        "training with its evaluation; the first one of an experiment includes its planning.",
        "",
        as_table(
            ("dataset", "iterations", "SD between trainings", "SD between starting budgets", *_headings()), list(_seeds(rows))
        ),
        "",
        "In points of Dice; in brackets the 95 % upper limit and the seeds that it asks for. Seeds are those of a paired "
        "t-test (two-sided, 5 %) with 80 % power for an SD of paired differences of √2 times the SD between trainings. Two "
        "methods have at least this SD; queries that depend on the training add to it.",
    ]
    return "\n".join(lines)


def _headings() -> list[str]:
    return [f"seeds for {points} {'point' if points == 1 else 'points'}" for points in DIFFERENCES]


def _name(dataset: str) -> str:
    return Path(dataset).name


def _dice(rows: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    for dataset, _, found in grouped(rows):
        number = len(found.rows)
        classes = [
            f"{name} {_mean([row['dice_per_class'][name] or 0.0 for row in found.rows])} ({found.learned(name)} of {number})"
            for name in found.rows[0]["dice_per_class"]
        ]
        seconds = statistics.mean(row["seconds"] for row in found.rows)
        mean = _mean([row["dice"] for row in found.rows])
        given, budgets = found.rows[0]["settings"], str(len(found.budgets))
        sides = given["patch_size"].split()
        patches = f"{given['patches']} of {' x '.join(sides * (3 // len(sides)))}"
        name = _name(dataset) + (f" ({given['cases']} cases)" if dataset in PHANTOMS else "")
        cells = [name, patches, found.length, str(number), budgets, mean, ", ".join(classes), f"{seconds:.0f}"]
        yield cells


def _seeds(rows: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    for dataset, _, found in grouped(rows):
        parts = found.components
        if parts is None or parts.within == 0:
            yield [_name(dataset), found.length, *["too few trainings"] * 2, *["–"] * len(DIFFERENCES)]
            continue
        sds = [100 * parts.within, 100 * upper_limit(parts.within, parts.within_df)]
        between = "0 (estimate negative)" if parts.negative else f"{100 * parts.between:.1f}"
        seeds = [[seeds_needed(points, 2**0.5 * sd) for sd in sds] for points in DIFFERENCES]
        cells = [f"{one:,} ({limit:,})" for one, limit in seeds]
        yield [_name(dataset), found.length, f"{sds[0]:.1f} ({sds[1]:.1f})", between, *cells]


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.power",
        description="Measures the noise of trainings on equal labels and of starting budgets, and the seeds that it asks for.",
    )
    made.add_argument("folder", type=Path, metavar="FOLDER", help="keeps what is done; made if missing")
    made.add_argument(
        "-datasets",
        nargs="+",
        default=list(DATASETS),
        metavar="DATASET",
        help=f"{' or '.join(PHANTOMS)}, or labelled datasets' folders in nnU-Net's raw format (default: {' '.join(DATASETS)})",
    )
    made.add_argument("-epochs", type=int, nargs="+", default=[5, 10, 20], metavar="N", help="lengths (default: 5 10 20)")
    made.add_argument("-iterations", type=int, default=50, metavar="N", help="of an epoch (default: %(default)s)")
    made.add_argument("-budgets", type=int, default=5, metavar="N", help="starting budgets (default: %(default)s)")
    made.add_argument("-repeats", type=int, default=3, metavar="N", help="trainings of each (default: %(default)s)")
    made.add_argument("-patches", type=int, default=20, metavar="N", help="of a starting budget (default: %(default)s)")
    made.add_argument(
        "-patch_size", nargs="+", default=["10"], metavar="N", help="z y x in voxels, or one for all (default: 10)"
    )
    made.add_argument("-cases", type=int, default=24, metavar="N", help="of a phantom (default: %(default)s)")
    made.add_argument("-hours", type=float, default=1.0, metavar="H", help="begin no training later (default: %(default)s)")
    made.add_argument("--finished", action="store_true", help="train nothing; report what the folder has")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    return made


def main(args: list[str] | None = None, train: Train = train_once) -> None:
    given = parser().parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)  # before the work, not after
    entered(given.folder.resolve())
    os.environ["nnactive_iterations_per_epoch"] = str(given.iterations)
    os.environ["nnactive_val_iterations_per_epoch"] = "1"
    rows = measure(given, train)
    if not rows:
        raise SystemExit(f"{given.folder}: no training is finished. Run the command without --finished, or with more -hours.")
    found = {
        **description(),
        "command": _command(given, sys.argv[1:] if args is None else args),
        "settings": {**settings(given), "datasets": [_name(dataset) for dataset in given.datasets]},
        "rows": rows,
    }
    text = report(found)
    found["rows"] = [{name: value for name, value in row.items() if name != "patches"} for row in rows]
    publish(given, found, text, MARKS)


def _command(given: Any, words: Sequence[str]) -> str:
    """The command line without paths of this machine, and without what only concerns the output."""
    pages = {"--markdown", "--json"}
    kept = [word for i, word in enumerate(words) if word != "--finished" and not pages & {word, *words[max(i, 1) - 1 : i]}]
    names = {str(given.folder): "FOLDER", **{dataset: _name(dataset) for dataset in given.datasets}}
    return shlex.join(["python", "-m", "benchmarks.power", *(names.get(word, word) for word in kept)])


if __name__ == "__main__":
    main()
