"""Whether a member that continues from that of the last cycle replaces one trained from scratch, at the same labels.

    python -m benchmarks.continuing -work FOLDER

Everything is planned, annotated and evaluated as by the commands; the arms differ in the training only. ``FOLDER`` keeps what
is done, so the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import statistics
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks.machine import description
from benchmarks.pretrained import dice
from benchmarks.report import check_markers, publish

MARKS = ("<!-- benchmarks.continuing: begin -->", "<!-- benchmarks.continuing: end -->")
_DATASET, _EXPERIMENTS = 930, 931
"""Numbers of the datasets."""
_ANNOTATED, _ROWS = "annotated.npz", "rows.jsonl"


@dataclass(frozen=True)
class Arm:
    """A way to train the members of cycles 1, 2, ...; that of cycle 0 is always trained from scratch, at all iterations."""

    words: str
    continues: bool
    part: int
    """All iterations are divided by this."""


ARMS = {
    "scratch": Arm("from scratch", False, 1),
    "scratch/3": Arm("from scratch", False, 3),
    "continue": Arm("continued", True, 1),
    "continue/3": Arm("continued", True, 3),
}
PAIRS = (("continue/3", "scratch"), ("continue/3", "scratch/3"), ("continue", "scratch"))
"""Which differences answer the question; the first two decide."""


class Continuing:
    """Mixed into a trainer of nnU-Net's, before it: it starts from weights and replays what they were trained on.

    Folder and checkpoints are those of the trainer whose name the class bears.
    """

    epochs: int
    start: Path | None
    share: float

    def initialize(self: Any) -> None:
        import torch

        super().initialize()  # type: ignore[misc]
        if self.start is not None:
            self.network.load_state_dict(torch.load(self.start, weights_only=True))

    def get_dataloaders(self: Any) -> Any:
        training, validation = super().get_dataloaders()  # type: ignore[misc]
        if self.start is not None:
            with np.load(self.start.with_name(_ANNOTATED)) as before:
                loader = training.data_loader
                loader._data = Replay(loader._data, loader.indices, dict(before), self.share)
        return training, validation


class Replay:
    """A dataset of nnU-Net's whose cases are, with probability ``share``, those of the new cycle around its voxels only.

    So network patches around new annotations are mixed with ones around any annotation (experience replay: Das et al.,
    Continual active learning, TMLR 2023). It stands in for the dataset in the data loader, which asks it for cases only.
    """

    def __init__(self, dataset: Any, cases: Sequence[str], before: dict[str, np.ndarray], share: float):
        self.dataset, self.share = dataset, share
        self.locations: dict[str, dict[Any, np.ndarray]] = {}
        for case in cases:
            found = dataset.load_case(case)[-1]["class_locations"]
            new = {key: _outside(np.asarray(voxels), before.get(case)) for key, voxels in found.items() if len(voxels)}
            if any(len(voxels) for voxels in new.values()):
                self.locations[case] = new
        self.cases = sorted(self.locations)

    def load_case(self, case: str) -> tuple[Any, ...]:
        if not self.cases or np.random.random() >= self.share:  # noqa: NPY002
            return tuple(self.dataset.load_case(case))
        case = self.cases[np.random.randint(len(self.cases))]  # noqa: NPY002
        *arrays, properties = self.dataset.load_case(case)
        return *arrays, {**properties, "class_locations": self.locations[case]}


def _outside(voxels: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Those of ``voxels`` (n, 4), as (0, z, y, x), where ``mask`` (z, y, x) is false; all without a mask."""
    return voxels if mask is None else voxels[~mask[tuple(voxels[:, 1:].T)]]


def annotated(experiment: Any) -> dict[str, np.ndarray]:
    """Which voxels (z, y, x) of the preprocessed cases are annotated now."""
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    ignore, found = experiment.dataset.labels.ignore, {}
    dataset = nnUNetDatasetBlosc2(str(experiment.preprocessed.data_folder))
    for case in {patch.case for patch in experiment.annotated_patches(experiment.state["cycle"])}:
        found[case] = np.asarray(dataset.load_case(case)[1][:])[0] != ignore
    return found


def train(experiment: Any, arm: Arm, start: Path | None, given: Any) -> float:
    """Train the member of fold 0 in this process; returns the CPU seconds. ``start``: the last member's weights."""
    import torch
    from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

    from nnactive_ext.files import read_json
    from nnactive_ext.members.ensemble import fold_folder
    from nnactive_ext.nnunet.trainers import trainer_class

    plan, folder, cycle = experiment.plan, experiment.preprocessed.folder, experiment.state["cycle"]
    assert get_allowed_n_proc_DA() == 0, "the data loader is changed, and its CPU seconds are counted, in this process"
    shutil.rmtree(fold_folder(experiment, 0), ignore_errors=True)
    how = {"epochs": given.epochs // arm.part, "start": start, "share": given.share}
    made = type(plan.trainer, (Continuing, trainer_class(plan.trainer)), how)
    trainer = made(
        experiment.preprocessed.plans, plan.configuration, 0, read_json(folder / "dataset.json"), torch.device("cpu")
    )
    draws = [plan.seed, cycle]  # the same for all arms
    random.seed(str(draws))
    np.random.seed(draws)  # noqa: NPY002
    torch.manual_seed(1000 * plan.seed + cycle)
    begin = process_time()
    trainer.run_training()
    return process_time() - begin


def keep(experiment: Any, folder: Path) -> None:
    """The member's weights, and which voxels it was trained on, for those that continue from it."""
    import torch

    from nnactive_ext.members.ensemble import fold_folder
    from nnactive_ext.nnunet.checkpoints import read_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / _ANNOTATED, **annotated(experiment))  # type: ignore[arg-type]
    checkpoint = fold_folder(experiment, 0) / "checkpoint_final.pth"
    weights = read_checkpoint(checkpoint)["network_weights"]
    torch.save(weights, folder / "weights.pth")


def planned(given: Any, seed: int, anew: bool = False) -> Any:
    """The experiment of a seed, whose labels a foreground-aware random method chooses; ``anew``: from cycle 0 again."""
    from nnactive_ext.cli.plan import main
    from nnactive_ext.experiment.experiment import Experiment

    number = _EXPERIMENTS + seed
    folders = [folder for folder in given.work.glob(f"nnUNet_*/Dataset{number}_*") if folder.is_dir()]
    if anew or not folders:
        for folder in folders:
            shutil.rmtree(folder)
        words = (
            f"-d {_DATASET} -o {number} -name Seed{seed} -seed {seed} --preset cpu -folds 1 --method random_fg_66 "
            f"-cycles {given.cycles} -patch_size {given.patch_size} -query_size {given.patches} "
            f"-starting_budget {given.patches} -np 1 --disable_progress_bar"
        )
        main(words.split())
    return Experiment.find(str(number))


def check_labels(experiment: Any, kept: Path) -> None:
    """Make sure that the patches of all cycles are those of the other arms, which ``kept`` lists."""
    from nnactive_ext.experiment.loops import loop_file
    from nnactive_ext.files import read_json, write_json

    kept.mkdir(parents=True, exist_ok=True)
    for cycle in range(experiment.state["cycle"] + 1):
        file = loop_file(experiment.raw, cycle)
        copy, patches = kept / file.name, read_json(file)["patches"]
        if not copy.is_file():
            write_json(copy, patches)
        if read_json(copy) != patches:
            raise RuntimeError(f"{file}: other patches than in {copy}. Choose an empty folder for -work.")


def annotate_next(experiment: Any) -> None:
    from nnactive_ext.loop.cycles import query_and_annotate
    from nnactive_ext.querying.query import query_cycle

    def never(*_: Any) -> Any:
        raise AssertionError("a random method asks no member")

    query_and_annotate(experiment, lambda: query_cycle(experiment, never, [0], progress=False), progress=False)


def measure(given: Any, rows: list[dict[str, Any]]) -> None:
    """Add what is missing to ``rows`` and to the file of rows."""
    done = {(row["seed"], row["cycle"], row["arm"]) for row in rows}
    for seed in given.seeds:
        experiment, kept = planned(given, seed), given.work / "kept" / f"seed_{seed}"
        check_labels(experiment, kept)
        for cycle in range(given.cycles):
            for name, arm in ARMS.items() if cycle else [("scratch", ARMS["scratch"])]:
                if (seed, cycle, name) in done:
                    continue
                if experiment.state["cycle"] > cycle:  # an arm was added since
                    experiment = planned(given, seed, anew=True)
                while experiment.state["cycle"] < cycle:
                    annotate_next(experiment)
                    experiment = experiment.anew()
                check_labels(experiment, kept)
                last = kept / f"cycle_{cycle - 1}" / (name if cycle > 1 else "scratch").replace("/", "_") / "weights.pth"
                with open(given.work / "log.txt", "a", encoding="utf-8") as log, redirect_stdout(log):
                    seconds = train(experiment, arm, last if arm.continues else None, given)
                    found = dice(experiment)
                if arm.continues or cycle == 0:
                    keep(experiment, kept / f"cycle_{cycle}" / name.replace("/", "_"))
                rows.append({"seed": seed, "cycle": cycle, "arm": name, "cpu_seconds": seconds, "dice": found})
                print(json.dumps(rows[-1]), flush=True)
                with open(given.work / _ROWS, "a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the limits of its 95 % confidence interval by Student's t; of a single value the limits are infinite.

    >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]  # 2 -+ 4.3027 * 1 / sqrt(3)
    [2.0, -0.484, 4.484]
    """
    from scipy.stats import t

    mean, n = statistics.mean(values), len(values)
    if n < 2:
        return mean, -float("inf"), float("inf")
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5
    return mean, mean - half, mean + half


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    given, rows = found["settings"], found["rows"]
    of = {(row["arm"], row["seed"], row["cycle"]): row for row in rows}
    seeds, last = given["seeds"], given["cycles"] - 1
    iterations = given["epochs"] * given["iterations"]
    lines = [
        f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}. One thread of {found['machine']['cpu']}. "
        f"{given['cases']} cases, a quarter of them for tests; {given['patches']} patches of {given['patch_size']} voxels "
        f"along each axis in each of {given['cycles']} cycles, chosen by `random_fg_66`; {iterations} iterations, or a third; "
        f"a share of {given['share']:g} of the network patches around the new patches; mean Dice in % of one member (fold 0).",
        "",
        "| training | iterations | cycle | CPU s | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | SD |",
        "|---|---|---|---|" + "---|" * (len(seeds) + 2),
    ]
    for name, arm in ARMS.items():
        for cycle in range(given["cycles"]):
            if cycle == 0 and name != "scratch":
                continue
            ours = [of[name, seed, cycle] for seed in seeds]
            values = [100 * row["dice"] for row in ours]
            spread = f"{statistics.stdev(values):.1f}" if len(values) > 1 else "–"
            seconds = statistics.mean(row["cpu_seconds"] for row in ours)
            cells = [arm.words, str(iterations // arm.part), str(cycle), f"{seconds:.0f}"]
            cells += [f"{v:.1f}" for v in [*values, statistics.mean(values)]]
            lines.append("| " + " | ".join([*cells, spread]) + " |")
    lines += ["", "Paired differences in points of Dice, with 95 % intervals over the seeds (Student's t):", ""]
    lines += ["| difference | cycles | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | interval |"]
    lines += ["|---|---|" + "---|" * (len(seeds) + 2)]
    for first, second in PAIRS:
        for words, cycles in (("the last", [last]), (f"mean of 1 to {last}", range(1, last + 1))):
            gains = [
                100 * statistics.mean(of[first, seed, c]["dice"] - of[second, seed, c]["dice"] for c in cycles)
                for seed in seeds
            ]
            mean, low, high = interval(gains)
            names = f"{_named(first, iterations)} - {_named(second, iterations)}"
            cells = [names, words, *(f"{gain:+.1f}" for gain in [*gains, mean]), f"{low:+.1f} to {high:+.1f}"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _named(name: str, iterations: int) -> str:
    return f"{ARMS[name].words}, {iterations // ARMS[name].part}"


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compares members that continue with members from scratch, on synthetic CTs.")
    parser.add_argument("-work", type=Path, required=True, metavar="FOLDER", help="keeps what is done; made if missing")
    parser.add_argument("-seeds", type=int, nargs="+", default=[1, 2, 3, 4], metavar="N", help="(default: %(default)s)")
    parser.add_argument("-cycles", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-epochs", type=int, default=12, metavar="N", help="divisible by 3 (default: %(default)s)")
    parser.add_argument("-iterations", type=int, default=25, metavar="N", help="of an epoch (default: %(default)s)")
    parser.add_argument("-cases", type=int, default=24, metavar="N", help="of the dataset (default: %(default)s)")
    parser.add_argument("-patches", type=int, default=16, metavar="N", help="of each query (default: %(default)s)")
    parser.add_argument("-patch_size", type=int, default=12, metavar="N", help="in voxels (default: %(default)s)")
    parser.add_argument("-share", type=float, default=0.5, metavar="P", help="of network patches around new patches")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.epochs % 3 or given.cycles < 2:
        parser.error("-epochs must be divisible by 3, and -cycles at least 2")
    if given.markdown:
        check_markers(given.markdown, MARKS)  # before the work, not after
    rows = run(given)
    left_out = ("json", "markdown", "work")
    found = {
        **description(),
        "command": shlex.join(["python", "-m", "benchmarks.continuing", *(sys.argv[1:] if args is None else args)]),
        "settings": {key: value for key, value in vars(given).items() if key not in left_out},
        "rows": rows,
    }
    found["command"] = found["command"].replace(str(given.work), "FOLDER")
    publish(given, found, report(found), MARKS)


def run(given: Any) -> list[dict[str, Any]]:
    """All rows: those that the folder has, and those that are measured now, with one thread."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        folder = given.work.resolve() / name
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    iterations = {"nnactive_iterations_per_epoch": given.iterations, "nnactive_val_iterations_per_epoch": 1}
    os.environ |= {key: str(value) for key, value in iterations.items()} | {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
    import torch

    from nnactive_ext import phantom

    torch.set_num_threads(1)
    if not (Path(os.environ["nnUNet_raw"]) / f"Dataset{_DATASET}_Phantom").exists():
        phantom.write_dataset(_DATASET, given.cases, seed=1)
    rows: list[dict[str, Any]] = []
    if (given.work / _ROWS).is_file():
        rows = [json.loads(line) for line in (given.work / _ROWS).read_text(encoding="utf-8").splitlines()]
    measure(given, rows)
    return rows


if __name__ == "__main__":
    main()
