"""A cycle on the device at hand; and what a query adds to its networks, with a stand-in for a device, the pipeline on and off.

    python -m benchmarks.cycle FOLDER [-shape 256] [-channels 15] [-cases 12] [-seconds 2.9] [-repeats 3] [--markdown FILE]
    python -m benchmarks.cycle FOLDER -device cuda [-tr nnActiveTrainer_10epochs] [-folds 5]

The second form runs a whole cycle with real networks on the device at hand (:mod:`benchmarks.whole_cycle`). The first one has
a stand-in in place of networks and statistics on a device: it hands over a case's means after so many seconds, which it
sleeps, so that the processor is free as it is beside a GPU. 2.9 s are an A100's time for five members of a 256-cube with 15
channels, computed from nnU-Net's training table. Everything else is what nnactive_query does: images are loaded, patches
ranked and merged, files written. With and without the pipeline take turns, and write the same loop file, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import inputs, machine, report, whole_cycle
from benchmarks.many_cases import train
from nnactive_ext.files import write_json
from nnactive_ext.geometry.patch import Triple
from nnactive_ext.loop.tables import table

SOURCE, EXPERIMENT = 870, 871
BEGIN, END = "<!-- benchmarks.cycle: begin -->", "<!-- benchmarks.cycle: end -->"
WHOLE = ("<!-- benchmarks.cycle -device: begin -->", "<!-- benchmarks.cycle -device: end -->")
GOAL = 0.15
"""What everything but the device may add to the device's time."""


def make_dataset(folder: Path, shape: Triple, channels: int, cases: int) -> Path:
    """Write a dataset below ``folder``, which nnU-Net's variables name from now on; where the means are."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / f"nnUNet_{name}")
        (folder / f"nnUNet_{name}").mkdir(parents=True, exist_ok=True)
    means, made = folder / "means", folder / "made"
    if not made.is_file():
        if means.is_dir():
            raise SystemExit(f"{folder}: an earlier run was interrupted while it made the dataset. Remove the folder.")
        means.mkdir()
        inputs.make(shape, channels, 0, means)
        _write_cases(folder / "nnUNet_raw" / f"Dataset{SOURCE}_Cubes", means, channels, cases)
        made.touch()
    return means


def prepare(folder: Path, patches: str) -> None:
    """Plan an experiment of the dataset, with members that were never trained, unless an earlier run did."""
    from nnactive_ext.cli import plan
    from nnactive_ext.experiment.experiment import Experiment

    ready = folder / "ready"
    if not ready.is_file():
        plan.main(f"-d {SOURCE} -o {EXPERIMENT} {patches} -folds 2 --preset cpu -np 1 --disable_progress_bar".split())
        experiment = Experiment.find(EXPERIMENT)
        for fold in experiment.folds():
            train(experiment, fold)
        ready.touch()


def _write_cases(folder: Path, means: Path, channels: int, cases: int) -> None:
    """Images (int16) in air, whose labels are the likeliest classes of the ``means``, shifted in each case."""
    import SimpleITK as sitk

    labels = inputs.load(means).mean.argmax(axis=0).astype(np.uint8)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in labels.shape), indexing="ij", sparse=True)
    air = z**2 * 0 + y**2 + x**2 > 0.9
    noise = np.random.default_rng(0).normal(0, 20, labels.shape).astype(np.float32)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(cases):
        moved = np.roll(labels, (number * 11, number * 7), axis=(1, 2)) * ~air
        image = np.where(air, -1000 + noise / 4, 30 + 10.0 * moved + noise).astype(np.int16)
        for array, name in ((image, f"imagesTr/cube{number:02d}_0000.nii"), (moved, f"labelsTr/cube{number:02d}.nii")):
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / name))
    names = {"background": 0, **{f"class {label:02d}": label for label in range(1, channels)}}
    content = {"channel_names": {"0": "CT"}, "labels": names, "numTraining": cases, "file_ending": ".nii"}
    write_json(folder / "dataset.json", content)


def stand_ins(known: inputs.Inputs, seconds: float) -> tuple[Callable[..., Any], type]:
    """In place of an ensemble, and of the statistics that are on their way from a device."""
    from nnactive_ext.query_methods.base import EXPECTED_ENTROPY, Statistics

    every = frozenset(range(len(known.mean)))

    class Networks:
        def logits(self, image: np.ndarray, case: str = "") -> Iterator[tuple[str, None]]:
            time.sleep(seconds)
            yield "the device", None

    class OnDevice:
        def __init__(self, regions: bool, accumulators: str, needs: frozenset[str]):
            self.needs = needs

        def add(self, logits: None, member: str) -> None:
            pass

        def hand_over(self) -> Callable[[], Statistics]:
            entropy = known.entropy if EXPECTED_ENTROPY in self.needs else None
            return lambda: Statistics(known.mean, entropy, every)

    return lambda experiment, folds: Networks(), OnDevice


def run(known: inputs.Inputs, seconds: float, overlapped: bool, method: str | None) -> dict[str, Any]:
    """One query: seconds on the clock, processor seconds of this process, seconds per step over the cases (of ranking, in
    its thread), the loop file."""
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.experiment.timing import QUERY, read_times
    from nnactive_ext.querying import query

    experiment = Experiment.find(EXPERIMENT)
    for file in (experiment.results / "cycle_000" / query.CANDIDATES).glob("*"):
        file.unlink()
    networks, on_device = stand_ins(known, seconds)
    before = len(read_times(experiment))
    begin, processor = time.perf_counter(), time.process_time()
    with mock.patch.object(query, "RunningStatistics", on_device):
        query.query_cycle(experiment, networks, experiment.folds(), method, progress=False, overlapped=overlapped)
    spent = {"seconds": time.perf_counter() - begin, "processor": time.process_time() - processor}
    steps = dict.fromkeys(QUERY, 0.0)
    for line in read_times(experiment)[before:]:
        steps[line["step"]] += line.get("thread", line["seconds"])
    loop = experiment.raw / "loop_001.json"
    content = loop.read_bytes()
    loop.unlink()  # or its patches would count as asked for
    cases = len(experiment.plan.pool)
    device = seconds * cases
    return {"overlapped": overlapped, "cases": cases, "device": device, **spent, "steps": steps, "loop": content}


def measure(means: Path, seconds: float, repeats: int, method: str | None) -> dict[str, Any]:
    """Medians over ``repeats`` runs with and without the pipeline, which take turns, after one that warms things up."""
    known = inputs.load(means)
    run(known, 0.0, True, method)
    runs = [run(known, seconds, overlapped, method) for _ in range(repeats) for overlapped in (False, True)]
    if len({one["loop"] for one in runs}) > 1:
        raise SystemExit("The loop files with and without the pipeline differ.")
    rows = []
    for overlapped in (False, True):
        own = [one for one in runs if one["overlapped"] == overlapped]
        row = {name: statistics.median(one[name] for one in own) for name in ("seconds", "processor", "device")}
        steps = {step: statistics.median(one["steps"][step] for one in own) for step in own[0]["steps"]}
        rows.append({"overlapped": overlapped, "cases": own[0]["cases"], **row, "steps": steps})
    return {"rows": rows, "same": True}


def added(row: dict[str, Any]) -> float:
    """What everything else adds to the device's time."""
    return float(row["seconds"] / row["device"] - 1)


def lines(answer: dict[str, Any]) -> list[list[str]]:
    """A head and a line for each way."""
    head = ["pipeline", "cases", "device s", "clock s", "added", "processor s a case", "load s", "score s"]
    found = [head]
    for row in answer["rows"]:
        n = row["cases"]
        numbers = [f"{row['device']:.1f}", f"{row['seconds']:.1f}", f"{100 * added(row):.1f} %", f"{row['processor'] / n:.2f}"]
        numbers += [f"{row['steps'][step] / n:.2f}" for step in ("load", "score")]
        found.append(["on" if row["overlapped"] else "off", str(n), *numbers])
    return found


def markdown(answer: dict[str, Any]) -> str:
    """The table, where it was measured, and whether the goal is met."""
    head, *rows = lines(answer)
    where, met = answer["machine"], "met" if added(answer["rows"][1]) <= GOAL else "not met"
    return (
        f"{report.as_table(head, rows)}\n\n`{answer['command']}`, {answer['date'][:10]}, commit {answer['commit']}, "
        f"{where['cores']} cores of {where['cpu']}. Both ways write the same loop file. Goal, at most {GOAL:.0%} added with "
        f"the pipeline: {met}.\n"
    )


def whole_markdown(answer: dict[str, Any]) -> str:
    """The same of a whole cycle."""
    head, *rows = whole_cycle.lines(answer)
    where = answer["machine"]
    return (
        f"{report.as_table(head, rows)}\n\n{whole_cycle.sentence(answer)} `{answer['command']}`, "
        f"{answer['date'][:10]}, commit {answer['commit']}, {where['cores']} cores of {where['cpu']}.\n"
    )


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycle", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder for dataset, experiment and means; kept and used again")
    parser.add_argument("-shape", type=int, default=256, metavar="N", help="cube of so many voxels (default: %(default)s)")
    parser.add_argument("-channels", type=int, default=15, metavar="C", help="background included (default: %(default)s)")
    parser.add_argument("-cases", type=int, default=12, metavar="N", help="three quarters are the pool (default: %(default)s)")
    parser.add_argument("-seconds", type=float, default=2.9, metavar="S", help="of the device, a case (default: %(default)s)")
    parser.add_argument("-patch_size", type=int, nargs=3, default=[32, 64, 64], metavar=("Z", "Y", "X"), help="query patch")
    parser.add_argument("-method", help="query method (default: the default one)")
    parser.add_argument("-repeats", type=int, default=3, metavar="N", help="runs of each way (default: %(default)s)")
    parser.add_argument("-device", choices=("cuda", "cpu", "mps"), help="run a whole cycle with real networks on this device")
    words = "with -device: trainer of the members (default: nnActiveTrainer_10epochs; on the CPU that of --preset cpu)"
    parser.add_argument("-tr", metavar="TRAINER", help=words)
    parser.add_argument("-folds", type=int, default=5, metavar="N", help="with -device: trainings (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="put the table between this benchmark's markers")
    options = parser.parse_args(args)
    marks = WHOLE if options.device else (BEGIN, END)
    if options.markdown:
        report.check_markers(options.markdown, marks)  # before the work, not after
    folder = options.folder.absolute() / f"{options.shape}_{options.channels}_{options.cases}"
    means = make_dataset(folder, (options.shape,) * 3, options.channels, options.cases)
    size = " ".join(map(str, options.patch_size))
    budget = f"-patch_size {size} -query_size 40 -starting_budget {options.channels} -cycles 3"
    if options.device:
        small = options.device == "cpu"
        trainer = options.tr or ("" if small else "nnActiveTrainer_10epochs")
        more = f"-folds {options.folds}{f' -tr {trainer}' if trainer else ''}{' --preset cpu' if small else ''}"
        measured = whole_cycle.measure(SOURCE, f"{budget} {more}".split(), options.device)
        shown, write = whole_cycle.lines(measured), whole_markdown
    else:
        prepare(folder, budget)
        measured = measure(means, options.seconds, options.repeats, options.method)
        shown, write = lines(measured), markdown
    answer = {**machine.description(), "command": machine.command("cycle", args, options.folder), **measured}
    print(table(shown, numbers=True))
    if options.device:
        print(whole_cycle.sentence(measured))
    if options.json:
        options.json.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        report.insert(options.markdown, write(answer), marks)


if __name__ == "__main__":
    main()
