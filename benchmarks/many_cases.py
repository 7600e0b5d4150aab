"""Datasets of more and more tiny cases: planned, queried, shown and reported; seconds per case and the order of growth.

    python -m benchmarks.many_cases FOLDER [-cases 375 750 1500 3000] [--markdown FILE]

Each row is a command of its own. The members cost nothing (their logits are a few distances of the smoothed image), so what
is measured is everything but the networks. The roll-out and the simulation have the same images.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.watched import watched
from nnactive_ext.files import write_json

SHAPE = (20, 24, 24)
CASES = (375, 750, 1500, 3000)
ROLLOUT, SIMULATION, SOURCE = 881, 882, 880
COMMON = "-patch_size 6 -query_size 50 -starting_budget 50 -cycles 3 -folds 2 --preset cpu -np 1 --disable_progress_bar"


def case(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (z, y, x), int16, and its label map: a body with an organ and, in two thirds of the cases, a lesion in it."""
    rng = np.random.default_rng(number)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij", sparse=True)
    centre = rng.uniform(-0.2, 0.2, 3)
    organ = ((z - centre[0]) / 0.6) ** 2 + ((y - centre[1]) / 0.5) ** 2 + ((x - centre[2]) / 0.5) ** 2 < 1
    lesion = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 0.06
    labels = organ.astype(np.uint8) + (organ & lesion & bool(number % 3))
    return (100 + 60 * labels + rng.normal(0, 12, SHAPE)).astype(np.int16), labels


def write_cases(folder: Path, cases: int) -> None:
    """An nnU-Net dataset; its ``imagesTr`` is the folder of the roll-out."""
    import SimpleITK as sitk

    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in range(cases):
        image, labels = case(number)
        sitk.WriteImage(sitk.GetImageFromArray(image), str(folder / "imagesTr" / f"case{number:05d}_0000.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / "labelsTr" / f"case{number:05d}.nii.gz"))
    labels = {"background": 0, "organ": 1, "lesion": 2}
    content = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", content)


def measure(folder: Path, cases: int) -> list[dict[str, Any]]:
    """A row for each command: what, cases, seconds, peak memory in GB."""
    environment = dict(os.environ)
    for name in ("raw", "preprocessed", "results"):
        environment[f"nnUNet_{name}"] = str(folder / f"nnUNet_{name}")
        (folder / f"nnUNet_{name}").mkdir(parents=True, exist_ok=True)
    source = folder / "nnUNet_raw" / f"Dataset{SOURCE}_Tiny"
    write_cases(source, cases)
    rows: list[dict[str, Any]] = []

    def step(what: str, *words: object) -> None:
        found = watched(words, environment, 1)  # looking at memory takes processor time, too
        row = {"what": what, "cases": cases, "seconds": round(found.seconds, 2), "processor": round(found.processor, 2)}
        rows.append({**row, "peak_gb": round(found.peak_gb, 3)})
        print(json.dumps(rows[-1]), flush=True)

    def ours(name: str, words: str) -> list[object]:
        return [Path(sys.executable).parent / f"nnactive_{name}", *words.split()]

    alone = [sys.executable, "-m", "benchmarks.many_cases", folder, "--stand_in"]
    rollout = f"-i {source / 'imagesTr'} -o {ROLLOUT} --labels organ lesion -training_hours 1 {COMMON}"
    step("nnactive_plan -i", *ours("plan", rollout))
    step("nnactive_status, roll-out", *ours("status", f"-d {ROLLOUT}"))
    step("nnactive_plan -d", *ours("plan", f"-d {SOURCE} -o {SIMULATION} {COMMON}"))
    step("evaluation and query of cycle 0", *alone, "cycle")
    step("nnactive_query", *alone, "query")
    step("nnactive_status", *ours("status", f"-d {SIMULATION}"))
    step("nnactive_report", *ours("report", f"-d {SIMULATION} -device none --disable_progress_bar"))
    report = next((folder / "nnUNet_results").glob(f"Dataset{SIMULATION}_*/**/report.html"))
    rows[-1]["report_mb"] = report.stat().st_size / 1e6
    return rows


class StandIn:
    """In place of members: logits that depend on image and cycle, and label maps by a threshold."""

    def __init__(self, experiment: Any):
        self.experiment = experiment

    def logits(self, image: np.ndarray, case: str = "") -> Any:
        import torch
        from scipy import ndimage

        smooth = ndimage.gaussian_filter(image[0], 1 + self.experiment.state["cycle"])
        centres = np.quantile(smooth, (0.3, 0.7, 0.95))
        yield "fold 0", torch.from_numpy(-4 * np.abs(smooth - centres[:, None, None, None]))

    def segment(self, case: Any, inference: Any = None) -> np.ndarray:
        import SimpleITK as sitk

        image = sitk.GetArrayFromImage(sitk.ReadImage(str(case.images[0])))
        return np.digitize(image, (130, 190)).astype(np.uint8)


def train(experiment: Any, fold: int) -> None:
    """Leave what a training leaves, without its network."""
    from nnactive_ext.experiment import marks
    from nnactive_ext.members.ensemble import fold_folder

    folder = fold_folder(experiment, fold)
    folder.mkdir(parents=True, exist_ok=True)
    lock = marks.begin(folder, experiment.preprocessed.folder, continued=False)
    (folder / "checkpoint_final.pth").write_bytes(b"no member")
    marks.finish(folder)
    if lock is not None:
        lock.release()


def stand_in(what: str) -> None:
    """A cycle, or a query, with members that cost nothing."""
    from nnactive_ext.cli import query
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.loop.cycles import run_cycles
    from nnactive_ext.members import ensemble
    from nnactive_ext.members.tools import Tools

    experiment = Experiment.find(SIMULATION)
    if what == "cycle":
        run_cycles(experiment, Tools(train, lambda e, folds: StandIn(e)), progress=False, once=True)  # type: ignore[arg-type]
        return
    for fold in experiment.folds():
        train(experiment, fold)
    ensemble.NnUNetEnsemble = lambda e, folds, device: StandIn(e)  # type: ignore[assignment, misc]
    query.main(["-d", str(SIMULATION), "-device", "cpu", "--disable_progress_bar"])


def growth(rows: Sequence[dict[str, Any]]) -> float:
    """The order of growth p, of constant + factor x cases^p, from processor seconds at doubling numbers of cases.

    The differences between neighbours do not contain the constant; they grow by 2^p.
    """
    seconds = [row["processor"] for row in rows]
    first, last = seconds[1] - seconds[0], seconds[-1] - seconds[-2]
    return math.log2(last / first) / (len(seconds) - 2) if first > 0 and last > 0 else float("nan")


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each command: processor and other seconds, ms per further case, order of growth, peak memory."""
    numbers = sorted({row["cases"] for row in rows})
    many = len(numbers) > 2
    head = [
        "command",
        *(f"{n:,} cases" for n in numbers),
        "ms per further case",
        "order of growth",
        "s on the clock",
        "peak, GB",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for what in dict.fromkeys(row["what"] for row in rows):
        own = sorted((row for row in rows if row["what"] == what), key=lambda row: row["cases"])
        seconds, last = [row["processor"] for row in own], own[-1]
        each = 1000 * (seconds[-1] - seconds[0]) / (numbers[-1] - numbers[0]) if many else float("nan")
        cells = [what, *(f"{value:.1f}" for value in seconds), f"{each:.1f}", f"{growth(own) if many else float('nan'):.2f}"]
        lines.append("| " + " | ".join([*cells, f"{last['seconds']:.0f}", f"{last['peak_gb']:.2f}"]) + " |")
    sizes = ", ".join(f"{row['report_mb']:.2f}" for row in rows if "report_mb" in row)
    return "\n".join([*lines, "", f"Size of the report's page: {sizes} MB."])


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_cases", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder for datasets and experiments, 1 GB")
    parser.add_argument("-cases", type=int, nargs="+", default=list(CASES), metavar="N", help="(default: %(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--stand_in", choices=("cycle", "query"), help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.stand_in:
        stand_in(options.stand_in)
        return
    from benchmarks.machine import description

    folder = options.folder.absolute()
    rows = [row for cases in options.cases for row in measure(folder / str(cases), cases)]
    write_json(folder / "rows.json", {**description(), "command": f"python -m benchmarks.many_cases {folder}", "rows": rows})
    print(markdown(rows))
    if options.markdown:
        options.markdown.write_text(markdown(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
