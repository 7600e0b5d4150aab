"""A volume of half a billion voxels: planned, annotated, trained and queried in blocks, and predicted; seconds and peak memory.

    python -m benchmarks.large_volume FOLDER

The annotator is a threshold. Each row is a command of its own, with all of its processes; shared memory is counted once (PSS).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.watched import watched
from nnactive_ext.files import read_json, write_json

NUMBER = 870
SHAPE = (512, 1024, 1024)


def synthetic(path: Path, shape: tuple[int, ...]) -> None:
    """16 bit, OME-Zarr 0.5, four levels: an ellipsoid with bright spots, its surroundings empty; written slab by slab."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    arrays, datasets = [], []
    for level in range(4):
        n = tuple(-(-side // 2**level) for side in shape)
        arrays.append(group.create_array(str(level), shape=n, chunks=(64, 64, 64), dtype="uint16"))
        scale = [{"type": "scale", "scale": [2.0**level] * 3}]
        datasets.append({"path": str(level), "coordinateTransformations": scale})
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[1:])
    disc = (y[:, None] / 0.9) ** 2 + (x / 0.9) ** 2
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10, (64, *shape[1:])).astype(np.float32)
    spots = np.sin(60 * y)[:, None] * np.sin(60 * x)
    for z in range(0, shape[0], 64):
        slab = np.empty((64, *shape[1:]), np.uint16)
        for i in range(64):
            depth = 2 * (z + i) / shape[0] - 1
            body = disc + (depth / 0.9) ** 2 < 1
            bright = spots * np.sin(60 * depth) > 0.3
            slab[i] = (100 + noise[(i * 7 + z) % 64] + body * (300 + 200 * x + 500 * bright)).clip(0)
        for level, array in enumerate(arrays):
            step = 2**level
            array[z // step : (z + 64) // step] = slab[::step, ::step, ::step]
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"name": "brain", "axes": axes, "datasets": datasets}]}


def annotate(exported: Path, raw: Path) -> None:
    """Label every exported task by thresholds of its image."""
    import SimpleITK as sitk

    for file in sorted(exported.glob("*/task.json")):
        task = read_json(file)
        label = file.parent / task["label"]
        shown = sitk.ReadImage(str(label))
        image = sitk.ReadImage(str(raw / "imagesTr" / f"{task['case']}_0000.nii.gz"), sitk.sitkFloat32)
        seen = sitk.GetArrayFromImage(sitk.Resample(image, shown, sitk.Transform(), sitk.sitkNearestNeighbor, 0))
        labels = np.full(seen.shape, task["labels"]["ignore"], np.uint8)
        start, size = task["box"]["start_zyx"], task["box"]["size_zyx"]
        box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        labels[box] = (seen[box] > 550).astype(np.uint8)
        made = sitk.GetImageFromArray(labels)
        made.CopyInformation(shown)
        sitk.WriteImage(made, str(label), True)


def benchmark(folder: Path, blocks: int, size: int, cube: int, folds: int) -> list[dict[str, Any]]:
    environment = dict(os.environ)
    for name in ("raw", "preprocessed", "results"):
        environment[f"nnUNet_{name}"] = str(folder / f"nnUNet_{name}")
        (folder / f"nnUNet_{name}").mkdir(parents=True, exist_ok=True)
    binary = Path(sys.executable).parent
    rows: list[dict[str, Any]] = []

    def step(what: str, *words: object) -> None:
        found = watched(words, environment)
        row = {"step": what, "seconds": round(found.seconds, 1), "processor": round(found.processor, 1)}
        rows.append({**row, "peak_gb": round(found.peak_gb, 2)})
        print(json.dumps(rows[-1]), flush=True)
        write_json(folder / "rows.json", rows)

    def ours(name: str, *words: object) -> list[object]:
        return [binary / f"nnactive_{name}", *words]

    brain, d = folder / "brain.ome.zarr", ("-d", NUMBER)
    if not brain.exists():
        begin = time.perf_counter()
        synthetic(folder / "half.zarr", SHAPE)
        (folder / "half.zarr").rename(brain)
        print(f"made {brain} in {time.perf_counter() - begin:.0f} s", flush=True)
    quiet = "--disable_progress_bar"
    plan = f"--labels spot -o {NUMBER} -blocks {blocks} -block_size {size} -patch_size 24 -starting_budget 6 -query_size 6 "
    plan += f"-cycles 2 -folds {folds} --preset cpu -tr nnActiveTrainer_1epochs_NoMirroring -np 1 -training_hours 1 {quiet}"
    step(f"plan: {blocks} blocks of {size}", *ours("plan", "-i", brain, *plan.split()))
    raw = next((folder / "nnUNet_raw").glob(f"Dataset{NUMBER}_*"))
    points = folder / "points.csv"
    points.write_text(_points(raw))
    step("points", *ours("annotate", "points", *d, points))
    step("export", *ours("annotate", "export", *d, "-o", folder / "tasks", "--blank", quiet))
    annotate(folder / "tasks", raw)
    step("import", *ours("annotate", "import", *d, folder / "tasks", "-who", "threshold"))
    step(f"run: preprocess, train {folds} members of 1 epoch, query", *ours("run", *d, "-device", "cpu", quiet))
    part = folder / f"cube_{cube}.ome.zarr"
    if not part.exists():
        _cut(brain, part, cube)
    predict = ("-o", folder / f"labels_{cube}.ome.zarr", "-device", "cpu", "-block_size", 128, quiet)
    step(f"predict_blocks: {cube}-cube, {folds} members", *ours("predict_blocks", *d, "-i", part, *predict))
    stand_in = [sys.executable, "-m", "benchmarks.large_volume", folder, "--stand_in"]
    step("predict the whole volume, a threshold for the network", *stand_in)
    return rows


def _points(raw: Path) -> str:
    import SimpleITK as sitk

    rows = ["case,class,i,j,k"]
    for file in sorted((raw / "imagesTr").glob("*_0000.nii.gz")):
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        found = np.argwhere(voxels > 700)
        if len(found):
            z, y, x = found[len(found) // 2]
            rows.append(f"{file.name[:-12]},spot,{x},{y},{z}")
    return "\n".join(rows) + "\n"


def _cut(brain: Path, target: Path, side: int) -> None:
    """The middle of the volume as a volume of its own."""
    import zarr

    source = zarr.open_group(brain, mode="r")
    start = [(n - side) // 2 for n in SHAPE]
    group = zarr.open_group(target, mode="w", zarr_format=3)
    array = group.create_array("0", shape=(side,) * 3, chunks=(64, 64, 64), dtype="uint16")
    array[...] = source["0"][tuple(slice(a, a + side) for a in start)]  # type: ignore[index]
    content = dict(source.attrs)["ome"]
    datasets = content["multiscales"][0]["datasets"][:1]  # type: ignore[index, call-overload]
    group.attrs["ome"] = {**content, "multiscales": [{**content["multiscales"][0], "datasets": datasets}]}  # type: ignore


class Threshold:
    """In place of members: everything that a prediction does, but for the network."""

    def __init__(self, experiment: Any):
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        plans = PlansManager(experiment.preprocessed.plans)
        configuration = plans.get_configuration(experiment.plan.configuration)
        self.planned = plans, configuration, plans.get_label_manager(experiment.dataset.json)

    def segment_windows(self, image: np.ndarray, windows: Any, inside: tuple, mirroring: bool) -> np.ndarray:
        return (image[0][inside] > 0.5).astype(np.uint8)


def stand_in(folder: Path) -> None:
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.images.volumes import open_volume
    from nnactive_ext.members.whole import Asked, predict_volume

    experiment = Experiment.find(NUMBER)
    volume, target = open_volume(folder / "brain.ome.zarr"), folder / "whole.ome.zarr"
    asked = Asked(experiment, volume, target, experiment.folds())
    print(predict_volume(asked, lambda e, folds: Threshold(e), progress=False))


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_volume", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder for the volume and the experiment, 3 GB")
    parser.add_argument("-blocks", type=int, default=4)
    parser.add_argument("-block_size", type=int, default=256)
    parser.add_argument("-cube", type=int, default=256, help="side of the part that real members predict")
    parser.add_argument("-folds", type=int, default=2)
    parser.add_argument("--stand_in", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if options.stand_in:
        stand_in(folder)
    else:
        benchmark(folder, options.blocks, options.block_size, options.cube, options.folds)


if __name__ == "__main__":
    main()
