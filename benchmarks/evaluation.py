"""What the evaluation of a test case costs: Dice and surfaces of 14 classes, and passes of the networks by the inference.

    python -m benchmarks.evaluation

Alternatives run in turn in one process, and medians are compared. Dice is that of masks, class by class, as it was computed
before there was a confusion matrix; both must agree in every bit.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from math import nan
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

from benchmarks.machine import description
from benchmarks.report import check_markers, insert
from nnactive_ext.engine.threads import thread_count
from nnactive_ext.experiment.inference import NNUNET, Inference
from nnactive_ext.experiment.plan import Geometry
from nnactive_ext.metrics.overlap import Confusion
from nnactive_ext.metrics.surface import surface_per_case
from nnactive_ext.planning.cycle_cost import Network

MARKS = ("<!-- benchmarks.evaluation: begin -->", "<!-- benchmarks.evaluation: end -->")
SECONDS, TIMES = 0.5, 15
"""The goals: of Dice, and how many times fewer passes."""
CHEAP = Inference(mirroring=False, step=0.75)
IMAGES = {
    "three network patches along each axis": ((192, 384, 384), (64, 128, 128)),
    "AMOS-like": ((160, 384, 528), (64, 96, 96)),
    "a 512 x 512 CT of 320 slices": ((320, 512, 512), (96, 160, 160)),
    "two network patches along each axis": ((128, 256, 256), (64, 128, 128)),
    "an image of one network patch": ((64, 128, 128), (64, 128, 128)),
}


def organs(side: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction (uint8) and reference (float32, as nnU-Net's readers give it) of a cube: balls, of which the predicted ones
    are shifted by a voxel or two."""
    rng = np.random.default_rng(0)
    prediction, reference = np.zeros((2, side, side, side), np.uint8)
    grid = np.indices((side // 4,) * 3, np.float32)
    for label in range(1, classes + 1):
        corner = rng.integers(0, side - side // 4 - 2, 3)
        ball = ((grid - side / 8) ** 2).sum(0) < (side / rng.uniform(9, 20)) ** 2
        for array, shift in ((reference, 0), (prediction, rng.integers(1, 3))):
            place = tuple(slice(c + shift, c + shift + side // 4) for c in corner)
            array[place][ball] = label
    return prediction, reference.astype(np.float32)


def by_masks(prediction: np.ndarray, reference: np.ndarray, classes: Mapping[str, int]) -> dict[str, float]:
    """Dice class by class, with two masks each."""
    scores = {}
    for name, label in classes.items():
        predicted, true = np.isin(prediction, label), np.isin(reference, label)
        either = int(predicted.sum() + true.sum())
        scores[name] = 2 * int((predicted & true).sum()) / either if either else nan
    return scores


def in_turn(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Medians of processor seconds and of seconds on the clock of each call."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            cpu, clock = process_time(), perf_counter()
            call()
            times[name].append((process_time() - cpu, perf_counter() - clock))
    return {name: (median(cpu for cpu, _ in found), median(clock for _, clock in found)) for name, found in times.items()}


def report(side: int, classes: int, repeats: int) -> str:
    """Both tables; AssertionError where the alternatives do not agree."""
    names = {f"class {label}": label for label in range(1, classes + 1)}
    prediction, reference = organs(side, classes)
    spacing, threads = (1.5, 1.0, 1.0), thread_count()

    def surfaces(number: int) -> Callable[[], object]:
        return lambda: surface_per_case(prediction, reference, names, spacing, 1.0, None, number)

    assert Confusion(prediction, reference, names).dice == by_masks(prediction, reference, names)
    assert surfaces(1)() == surfaces(threads)()
    calls: dict[str, Callable[[], object]] = {
        "Dice by masks, class by class": lambda: by_masks(prediction, reference, names),
        "Dice from one confusion matrix": lambda: Confusion(prediction, reference, names).dice,
        "surfaces, one class after another": surfaces(1),
        f"surfaces, in {threads} threads": surfaces(threads),
    }
    times = in_turn(calls, repeats)
    lines = ["| of one case | processor s | s on the clock |", "|---|---|---|"]
    lines += [f"| {name} | {cpu:.2f} | {clock:.2f} |" for name, (cpu, clock) in times.items()]
    met = times["Dice from one confusion matrix"][0] <= SECONDS
    lines += ["", f"The goal, at most {SECONDS:g} processor seconds of Dice, is {'met' if met else '**not** met'}.", ""]
    lines += [f"| image | passes {NNUNET} | passes {CHEAP} | times fewer |", "|---|---|---|---|"]
    for name, (shape, patch) in IMAGES.items():
        z, y, x = shape
        network, image = Network(patch, (1.0, 1.0, 1.0), (0, 1, 2), batch=2), Geometry((z, y, x), (1.0, 1.0, 1.0))
        whole, cheap = 8 * network.tiles(image, NNUNET.step), network.tiles(image, CHEAP.step)
        lines.append(f"| {name} | {whole:,} | {cheap:,} | {whole / cheap:.1f} |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures what the evaluation of a test case costs.")
    parser.add_argument("-side", type=int, default=256, metavar="VOXELS", help="side of the cube (default: %(default)s)")
    parser.add_argument("-classes", type=int, default=14, metavar="N", help="number of classes (default: %(default)s)")
    parser.add_argument("-repeats", type=int, default=5, metavar="N", help="times that each is measured (default: %(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    options = parser.parse_args(args)
    if options.markdown:
        check_markers(options.markdown, MARKS)
    about, found = description(), report(options.side, options.classes, options.repeats)
    command = shlex.join(["python", "-m", "benchmarks.evaluation", *(sys.argv[1:] if args is None else args)])
    where = f"{about['machine']['cores']} cores of {about['machine']['cpu']}"
    what = f"{options.classes} classes in a cube of {options.side} voxels; medians of {options.repeats}"
    text = f"`{command}`, {about['date'][:10]}, commit {about['commit'] or 'unknown'}. {where}. {what}.\n\n{found}\n"
    print(text)
    if options.markdown:
        insert(options.markdown, text, MARKS)


if __name__ == "__main__":
    main()
