"""What pretrained weights are worth on synthetic CTs: a model of some structures as the start of others, against scratch.

    python -m benchmarks.pretrained

Both arms train on the same few patches, with the same network and as many iterations; everything is planned, trained and
evaluated as by the commands.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.machine import description
from benchmarks.report import check_markers, publish
from nnactive_ext import phantom
from nnactive_ext.files import write_json
from nnactive_ext.randomness import generator

MARKS = ("<!-- benchmarks.pretrained: begin -->", "<!-- benchmarks.pretrained: end -->")
SCRATCH, PRETRAINED = "scratch", "pretrained"
TRAINERS = {SCRATCH: "nnActiveTrainer", PRETRAINED: "nnActiveTrainer_Finetune"}
OTHERS = {"background": 0, "kidneys": 1, "spleen": 2, "great_vessels": 3}
_PAINTED = (1, 1, 1, 1, 2, 0, 0, 0, 3, 3)
"""Labels of what the phantom paints as other organs, in its order: kidneys, spleen, stomach and a cyst, aorta and vena cava."""
_FIRST, _OTHER, _MODEL, _EXPERIMENTS = 900, 910, 901, 920
"""Numbers of the datasets."""


class _Relabelled(phantom._Canvas):
    """A canvas that keeps labels of the other organs instead of the phantom's own."""

    def __init__(self, shape: Sequence[int], rng: np.random.Generator):
        super().__init__(shape, rng)
        self.to_come: list[int] = []

    def paint(self, depth: np.ndarray, value: Any, label: int = 0) -> None:
        super().paint(depth, value, self.to_come.pop(0) if self.to_come else 0)


def other_structures(seed: int, case: str) -> phantom.Phantom:
    """A torso as the phantom's, in which kidneys, spleen and great vessels are labelled, and its own structures are not."""
    rng = generator(seed, 0, "phantom", case)
    shape = (int(rng.integers(32, 41)), int(rng.integers(64, 73)), 64)
    canvas = _Relabelled(shape, rng)
    cavity = phantom._torso(canvas, rng)
    canvas.to_come = list(_PAINTED)
    phantom._other_organs(canvas, cavity, rng)
    phantom._labelled(canvas, cavity, rng)
    return phantom.Phantom(phantom._scan(canvas.grey, rng), canvas.labels, phantom._direction(rng))


def write_other(raw: Path, cases: int, seed: int) -> None:
    folder = raw / f"Dataset{_OTHER}_Other"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for case in (f"other_{i:03d}" for i in range(cases)):
        drawn = other_structures(seed, case)
        phantom._write(drawn.image, drawn.direction, folder / "imagesTr" / f"{case}_0000.nii.gz")
        phantom._write(drawn.labels, drawn.direction, folder / "labelsTr" / f"{case}.nii.gz")
    content = {"channel_names": {"0": "CT"}, "labels": OTHERS, "numTraining": cases, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", content)


def plan(words: str) -> Any:
    """The experiment that ``nnactive_plan`` makes on the CPU with these words."""
    from nnactive_ext.cli.plan import main
    from nnactive_ext.experiment.experiment import Experiment

    number = words.split()[words.split().index("-o") + 1]
    main([*words.split(), "--preset", "cpu", "-folds", "2", "-cycles", "1", "--disable_progress_bar"])
    return Experiment.find(number)


def train(experiment: Any) -> float:
    """Train the member of fold 0; returns the seconds."""
    from nnactive_ext.members.training import train_member

    begin = perf_counter()
    train_member(experiment, 0, "cpu")
    return perf_counter() - begin


def dice(experiment: Any) -> float:
    """Mean Dice of that member on the test set."""
    from nnactive_ext.members.evaluation import evaluate
    from nnactive_ext.members.tools import Tools

    opened = Tools.of_nnunet("cpu").open_ensemble
    found = evaluate(experiment, lambda folds: opened(experiment, folds), [0], progress=False)
    return float(found.mean_dice or 0.0)


def first_model(given: Any) -> Path:
    """The checkpoint of a model that is trained on all labels of the phantom."""
    phantom.write_dataset(_FIRST, given.cases, seed=1, name="First")
    model = plan(
        f"-d {_FIRST} -o {_MODEL} --all_labels -patch_size 10 -tr nnActiveTrainer_{given.first_epochs}epochs_NoMirroring"
    )
    train(model)
    return Path(model.model_folder / "fold_0" / "checkpoint_final.pth")


def measure(given: Any) -> list[dict[str, Any]]:
    raw = Path(os.environ["nnUNet_raw"])
    write_other(raw, given.cases, seed=2)
    weights = given.weights or first_model(given)
    os.environ["nnactive_iterations_per_epoch"] = str(given.iterations)
    rows, number = [], _EXPERIMENTS
    for seed in given.seeds:
        for epochs in given.epochs:
            for arm, trainer in TRAINERS.items():
                start = f"-pretrained {weights} -pretrained_seen no" if arm == PRETRAINED else ""
                same = f"-d {_OTHER} -o {number} -name {arm}_{seed}_{epochs} -patch_size 10 -starting_budget {given.patches}"
                trained = f"-query_size {given.patches} -seed {seed} -tr {trainer}_{epochs}epochs_NoMirroring"
                experiment = plan(f"{same} {trained} {start}")
                seconds = train(experiment)
                rows.append({"arm": arm, "seed": seed, "epochs": epochs, "seconds": seconds, "dice": dice(experiment)})
                print(json.dumps(rows[-1]), flush=True)
                number += 1
    return rows


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    given, rows = found["settings"], found["rows"]
    of = {(row["arm"], row["seed"], row["epochs"]): row["dice"] for row in rows}
    lines = [
        f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}. {found['machine']['cores']} cores of "
        f"{found['machine']['cpu']}. {given['cases']} cases in each dataset, a quarter of them for tests; {given['patches']} "
        f"annotated patches of 10 x 10 x 10 voxels; {given['iterations']} iterations "
        f"per epoch; the model of the first dataset was trained for {given['first_epochs']} "
        "epochs of 50 iterations on all labels; Dice in % of one member (fold 0).",
        "",
        "| epochs | arm | " + " | ".join(f"seed {seed}" for seed in given["seeds"]) + " | mean |",
        "|---|---|" + "---|" * (len(given["seeds"]) + 1),
    ]
    for epochs in given["epochs"]:
        for arm in TRAINERS:
            values = [100 * of[arm, seed, epochs] for seed in given["seeds"]]
            lines.append(f"| {epochs} | {arm} | " + " | ".join(f"{v:.1f}" for v in [*values, statistics.mean(values)]) + " |")
        gains = [100 * (of[PRETRAINED, seed, epochs] - of[SCRATCH, seed, epochs]) for seed in given["seeds"]]
        lines.append(f"| {epochs} | difference | " + " | ".join(f"{v:+.1f}" for v in [*gains, statistics.mean(gains)]) + " |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compares a pretrained start with training from scratch, on synthetic CTs.")
    parser.add_argument("-seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="(default: %(default)s)")
    parser.add_argument("-epochs", type=int, nargs="+", default=[2, 8], metavar="N", help="(default: %(default)s)")
    parser.add_argument("-iterations", type=int, default=50, metavar="N", help="of an epoch (default: %(default)s)")
    parser.add_argument("-weights", type=Path, metavar="FILE", help="the first model, where it has been trained before")
    parser.add_argument("-first_epochs", type=int, default=10, metavar="N", help="of the pretraining (default: %(default)s)")
    parser.add_argument("-cases", type=int, default=16, metavar="N", help="of each dataset (default: %(default)s)")
    parser.add_argument("-patches", type=int, default=12, metavar="N", help="annotated ones (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)  # before the work, not after
    with tempfile.TemporaryDirectory() as folder:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(folder, name))
            Path(folder, name).mkdir()
        rows = measure(given)
    found = {
        **description(),
        "command": shlex.join(["python", "-m", "benchmarks.pretrained", *(sys.argv[1:] if args is None else args)]),
        "settings": {key: value for key, value in vars(given).items() if key not in ("json", "markdown", "weights")},
        "rows": rows,
    }
    publish(given, found, report(found), MARKS)


if __name__ == "__main__":
    main()
