"""Plans synthetic CTs with 14 classes: processor seconds of nnactive_plan, beside nnU-Net's own command and by part.

    python -m benchmarks.planning FOLDER [-side 256] [-cases 8 60] [-np 1] [-repeats 3] [--markdown FILE]

``nnactive_plan`` and ``nnUNetv2_plan_and_preprocess`` take turns. The parts (starting budget, checks, labels, fingerprint,
preprocessing) are those of one more planning, profiled in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import check_markers, insert
from benchmarks.watched import watched
from nnactive_ext.files import write_json

MARKS = ("<!-- benchmarks.planning: begin -->", "<!-- benchmarks.planning: end -->")
CLASSES = 14
SOURCE, MADE = 870, 871
PARTS = {
    "check and measure": "measure",
    "starting budget": "_drawn",
    "partial labels": "write_labels",
    "fingerprint": "write_fingerprint",
    "preprocessing": "preprocess",
}
"""Row -> the function of :mod:`nnactive_ext` whose processor seconds it shows."""


def case(number: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A CT (z, y, x), int16, and its label map: a body in air with 14 organs of different sizes, and noise."""
    rng = np.random.default_rng(number)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 3, indexing="ij", sparse=True)
    image = np.where((y / 0.8) ** 2 + (x / 0.95) ** 2 < 1, np.int16(40), np.int16(-1000)) + np.zeros_like(z, np.int16)
    labels = np.zeros(image.shape, np.uint8)
    for label in range(1, CLASSES + 1):
        angle = 2 * np.pi * label / CLASSES
        place = rng.normal([0, 0.45 * np.sin(angle), 0.55 * np.cos(angle)], [0.2, 0.04, 0.04])
        radii = rng.uniform(0.06, 0.1 + 0.012 * label, 3)
        organ = sum((((axis - c) / r) ** 2 for axis, c, r in zip((z, y, x), place, radii, strict=True)), np.float32(0)) < 1
        labels[organ], image[organ] = label, 60 + 8 * label
    image += (rng.standard_normal(image.shape, np.float32) * 15).astype(np.int16)
    return image, labels


def write_cases(folder: Path, cases: int, side: int) -> None:
    """An nnU-Net dataset of ``cases`` CTs of 1.5 x 0.8 x 0.8 mm and one test case, written where it is not there yet."""
    import SimpleITK as sitk

    if (folder / "dataset.json").is_file():
        return
    for number in range(cases + 1):
        part = "Tr" if number < cases else "Ts"  # all others are the pool: nnU-Net preprocesses all of imagesTr
        files = (f"images{part}/ct{number:03d}_0000.nii.gz", f"labels{part}/ct{number:03d}.nii.gz")
        for array, file in zip(case(number, side), files, strict=True):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((0.8, 0.8, 1.5))
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(image, str(folder / file))
    labels = {"background": 0, **{f"organ{n:02d}": n for n in range(1, CLASSES + 1)}}
    content = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", content)


def measure(folder: Path, cases: int, side: int, processes: int, repeats: int) -> dict[str, Any]:
    """The medians of processor seconds, seconds and peak memory of both commands, and the seconds of each part of ours."""
    environment = {key: value for key, value in os.environ.items() if key != "nnUNet_n_proc_DA"}  # 0 ends nnU-Net's planner
    for name in ("raw", "preprocessed", "results"):
        environment[f"nnUNet_{name}"] = str(folder / f"nnUNet_{name}")
        (folder / f"nnUNet_{name}").mkdir(parents=True, exist_ok=True)
    write_cases(folder / "nnUNet_raw" / f"Dataset{SOURCE}_CT", cases, side)
    size = max(8, side // 8)
    ours = f"-d {SOURCE} -o {MADE} -patch_size {size} -c 3d_fullres -np {processes}"
    theirs = f"-d {SOURCE} -c 3d_fullres -np {processes} -npfp {processes}"
    commands: dict[str, Sequence[object]] = {
        "nnactive_plan": [Path(sys.executable).parent / "nnactive_plan", *ours.split()],
        "nnUNetv2_plan_and_preprocess": [Path(sys.executable).parent / "nnUNetv2_plan_and_preprocess", *theirs.split()],
    }
    rows: dict[str, list[dict[str, float]]] = {what: [] for what in commands}
    for _ in range(repeats):
        for what, words in commands.items():
            _remove(folder)
            found = watched(words, environment, 1)
            row = {"processor": found.processor, "seconds": found.seconds, "peak_gb": found.peak_gb}
            rows[what].append(row)
            print(json.dumps({"what": what, "cases": cases, "side": side, **row}), flush=True)
    medians = {what: {k: statistics.median(row[k] for row in found) for k in found[0]} for what, found in rows.items()}
    _remove(folder)
    alone = [sys.executable, "-m", "benchmarks.planning", folder, "--parts", *ours.replace(f"-np {processes}", "-np 1").split()]
    parts = json.loads(watched(alone, environment, 1).text.splitlines()[-1])
    print(json.dumps(parts), flush=True)
    return {"cases": cases, "side": side, "processes": processes, "repeats": repeats, "commands": medians, "parts": parts}


def _remove(folder: Path) -> None:
    """What an earlier command made."""
    for made in (*folder.glob(f"nnUNet_*/Dataset{MADE}_*"), *folder.glob(f"nnUNet_preprocessed/Dataset{SOURCE}_*")):
        shutil.rmtree(made)


def parts(words: Sequence[str]) -> dict[str, float]:
    """Processor seconds of each part of a planning in this process."""
    import cProfile
    import pstats
    import time

    from nnactive_ext.cli import plan

    profile = cProfile.Profile(time.process_time)
    profile.runcall(plan.main, list(words))
    stats: Mapping[tuple[str, int, str], tuple] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    ours = {name: found[3] for (file, _, name), found in stats.items() if "nnactive_ext" in file}
    return {row: round(ours.get(function, 0.0), 2) for row, function in PARTS.items()}


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Both commands and the parts, a column for each number of cases."""
    head = ["processor seconds", *(f"{row['cases']} CTs of {row['side']}^3" for row in rows)]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]

    def line(name: str, cells: Sequence[str]) -> None:
        lines.append("| " + " | ".join([name, *cells]) + " |")

    for what in rows[0]["commands"]:
        line(f"`{what}`", [f"{row['commands'][what]['processor']:.1f}" for row in rows])
        line("its seconds on the clock", [f"{row['commands'][what]['seconds']:.0f}" for row in rows])
        line("its peak, GB", [f"{row['commands'][what]['peak_gb']:.2f}" for row in rows])
    for part in rows[0]["parts"]:
        line(part, [f"{row['parts'][part]:.1f}" for row in rows])
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder for the datasets: 0.15 GB for each CT of 256^3")
    parser.add_argument("-side", type=int, default=256, metavar="N", help="voxels along each axis (default: %(default)s)")
    parser.add_argument("-cases", type=int, nargs="+", default=[8, 60], metavar="N", help="(default: %(default)s)")
    parser.add_argument("-np", type=int, default=1, metavar="N", help="processes of both commands (default: %(default)s)")
    parser.add_argument("-repeats", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    parser.add_argument("--parts", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.parts:
        print(json.dumps(parts(options.parts)))
        return
    if options.markdown:
        check_markers(options.markdown, MARKS)  # before the work, not after
    from benchmarks.machine import command, description

    folder = options.folder.absolute()
    rows = [measure(folder / f"{n}_{options.side}", n, options.side, options.np, options.repeats) for n in options.cases]
    answer = {**description(), "command": command("planning", args, options.folder), "rows": rows}
    write_json(folder / "rows.json", answer)
    where = answer["machine"]
    text = (
        f"`{answer['command']}`, {answer['date'][:10]}, commit {answer['commit'] or 'unknown'}. {where['cores']} cores of "
        f"{where['cpu']}; medians of {options.repeats}.\n\n{markdown(rows)}\n"
    )
    print(text)
    if options.markdown:
        insert(options.markdown, text, MARKS)


if __name__ == "__main__":
    main()
