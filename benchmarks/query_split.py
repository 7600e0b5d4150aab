"""Where the time of scoring a case goes: its network against everything else that a query does for it.

    python -m benchmarks.query_split -d 504 -f 0 1 2 3 4 -n_cases 10 -device cpu [--method coreset] [--json FILE]

ranks some cases of the pool as nnactive_query does, without choosing or annotating anything. Rankings stored for these
cases are made anew. A method that compares patches also describes them; "describe" is what that takes. With --prepare DATASET
the experiment is made first: nnU-Net's default plans, and members of random weights, which take as long to predict with as
trained ones. --folder says where the three nnU-Net folders are or shall be.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import shutil
import statistics
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

STEPS = ("load", "predict", "statistics", "score", "describe")
REST = ("load", "statistics", "score")


def prepare(dataset: str, number: int, folds: int, preset: list[str]) -> None:
    """Plan an experiment with nnU-Net's default network, or that of a preset, and give it members that were never trained."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    from nnactive_ext.cli import plan
    from nnactive_ext.experiment import marks
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.files import write_json
    from nnactive_ext.nnunet.environment import extend_environment

    plan.main(["-d", dataset, *f"-o {number} -name Split -folds {folds} --disable_progress_bar".split(), *preset])
    experiment = Experiment.find(number)
    extend_environment()
    for fold in experiment.folds():
        with redirect_stdout(io.StringIO()):
            trainer = get_trainer_from_args(
                str(number), experiment.plan.configuration, fold, experiment.plan.trainer, device=torch.device("cpu")
            )
            trainer.initialize()
        folder = Path(trainer.output_folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = marks.begin(folder, experiment.preprocessed.folder, continued=False)
        trainer.save_checkpoint(str(folder / "checkpoint_final.pth"))
        marks.finish(folder)
        if lock is not None:
            lock.release()
        write_json(folder.parent / "plans.json", trainer.plans_manager.plans)
        write_json(folder.parent / "dataset.json", trainer.dataset_json)


def enlarge(dataset: str, times: int) -> str:
    """Copy a dataset of NIfTI files to number 899, with each image repeated ``times`` along every axis; returns the number."""
    import nibabel

    from nnactive_ext.nnunet.dataset import find_dataset

    source = find_dataset(dataset).folder
    target = Path(os.environ["nnUNet_raw"]) / "Dataset899_Enlarged"
    for part in ("imagesTr", "labelsTr"):
        (target / part).mkdir(parents=True)
        for file in sorted((source / part).glob("*.nii.gz")):
            image = nibabel.load(file)
            voxels = np.tile(np.asarray(image.dataobj), [times] * 3)
            nibabel.save(nibabel.Nifti1Image(voxels, image.affine), target / part / file.name)
    shutil.copyfile(source / "dataset.json", target / "dataset.json")
    return "899"


def measure(
    number: int, folds: list[int], n_cases: int, device: str, accumulators: str = "single", method: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """For each case, in order: its name, shape and seconds in each step. The first warms things up."""
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.experiment.timing import read_times
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.nnunet.preprocessing import stored_shape
    from nnactive_ext.query_methods.options import method_and_options
    from nnactive_ext.querying.query import query_cycle

    experiment = Experiment.find(number)
    pool = list(experiment.plan.pool)
    part = (0, max(2, -(-len(pool) // n_cases)))
    cases = pool[:: part[1]]
    stored = experiment.results / f"cycle_{experiment.state['cycle']:03d}" / "candidates"
    for case in cases:
        (stored / f"{case}.json").unlink(missing_ok=True)
    before = read_times(experiment)

    def open_ensemble(experiment, folds):
        return NnUNetEnsemble(experiment, folds, device)

    query_cycle(experiment, open_ensemble, folds, *method_and_options(method), parts=part, accumulators=accumulators)
    rows = {case: {"case": case, "shape": stored_shape(case, experiment.preprocessed)} for case in cases}
    for line in read_times(experiment):  # of many files, one per process and in no order
        if line in before:
            before.remove(line)
            continue
        rows[line["case"]][line["step"]] = line["seconds"]
    return list(rows.values())


def report(rows: list[dict[str, Any]]) -> str:
    """A line for each case, and the median and the sum of all but the first, which warms things up."""
    from nnactive_ext.loop.tables import table

    def line(name: str, shape: str, seconds: dict[str, float]) -> list[str]:
        shares = [f"{100 * of(seconds):.1f} %" for of in (share, described)]
        return [name, shape, *(f"{1000 * seconds[step]:.1f}" for step in steps), *shares]

    steps = [step for step in STEPS if step in rows[0]]
    lines = [["case", "shape", *(f"{step} ms" for step in steps), "rest/predict", "describe/predict"]]
    lines += [line(row["case"], "x".join(map(str, row["shape"])), row) for row in rows]
    warm = rows[1:] or rows
    lines.append(line("median", "", {step: statistics.median(row[step] for row in warm) for step in steps}))
    lines[-1][-2:] = [f"{100 * statistics.median(map(of, warm)):.1f} %" for of in (share, described)]
    lines.append(line("total", "", {step: sum(row[step] for row in warm) for step in steps}))
    return table(lines, numbers=True) + "\nmedian and total: without the first case"


def share(seconds: dict[str, float]) -> float:
    """Everything but the networks, over the networks."""
    return sum(seconds[step] for step in REST) / seconds["predict"]


def described(seconds: dict[str, float]) -> float:
    """The descriptors of patches, over the networks' predictions; 0 for a method that compares none."""
    return seconds.get("describe", 0.0) / seconds["predict"]


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Splits the time of scoring pool cases into its steps.")
    parser.add_argument("-d", type=int, required=True, metavar="NUMBER", help="number of the experiment")
    parser.add_argument("-f", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="FOLD", help="(default: 0 1 2 3 4)")
    parser.add_argument("-n_cases", type=int, default=10, metavar="N", help="about so many cases (default: %(default)s)")
    parser.add_argument("-device", default="cpu", choices=("cuda", "cpu", "mps"), help="(default: %(default)s)")
    parser.add_argument("-accumulators", default="single", choices=("single", "half"), help="(default: %(default)s)")
    words = "query method and its options (default: the planned ones)"
    parser.add_argument("--method", nargs="+", default=(), metavar=("NAME", "KEY=VALUE"), help=words)
    parser.add_argument("--folder", type=Path, help="holds nnUNet_raw, nnUNet_preprocessed and nnUNet_results")
    parser.add_argument("--prepare", metavar="DATASET", help="make the experiment first, with members of random weights")
    parser.add_argument(
        "--enlarge", type=int, default=1, metavar="K", help="with --prepare: repeat images K times along each axis"
    )
    parser.add_argument("--preset", metavar="NAME", help="with --prepare: nnactive_plan --preset (default: none)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args(args)
    if options.folder:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(options.folder.resolve() / name)
            (options.folder / name).mkdir(parents=True, exist_ok=True)
    from nnactive_ext.nnunet.environment import prepare_device

    prepare_device(options.device)  # before anything else imports torch
    if options.prepare:
        if options.enlarge > 1:
            options.prepare = enlarge(options.prepare, options.enlarge)
        prepare(options.prepare, options.d, len(options.f), ["--preset", options.preset] if options.preset else [])
        print("The members have random weights: they take as long as trained ones, and say nothing.\n")
    from benchmarks.machine import description

    rows = measure(options.d, options.f, options.n_cases, options.device, options.accumulators, options.method)
    where = {**description(), "command": shlex.join(["python", "-m", "benchmarks.query_split", *(args or sys.argv[1:])])}
    print(f"{len(options.f)} members on {options.device}, {where['machine']['cores']} cores of {where['machine']['cpu']}\n")
    print(report(rows))
    if options.json:
        options.json.write_text(json.dumps({**where, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
