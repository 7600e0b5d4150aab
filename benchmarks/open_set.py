"""How many of the patches that queries ask for are relevant, with and without ``-screen 0.5``, in a pool with strangers.

    python -m benchmarks.open_set -o FOLDER -hippocampus FOLDER

Everything is planned, trained, queried and annotated as by the commands, on the CPU. Both arms go on from the same cycle 0. A
command that was stopped continues in its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import description
from benchmarks.report import check_markers, insert
from benchmarks.strange_pool import is_stranger, write_strange_pool
from nnactive_ext.files import read_json, write_json

MARKS = ("<!-- benchmarks.open_set: begin -->", "<!-- benchmarks.open_set: end -->")
ARMS = {"no screening": 0.0, "-screen 0.5": 0.5}
_POOL, _EXPERIMENT = 960, 961
"""Numbers of the datasets."""


def entered(folder: Path) -> None:
    """Let nnU-Net's three folders be those in ``folder``."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder / name)


def start(given: argparse.Namespace, seed: int, folder: Path) -> None:
    """Plan an experiment and train its cycle 0, or what is missing of it."""
    from nnactive_ext.cli.plan import main as plan
    from nnactive_ext.experiment.experiment import Experiment

    entered(folder)
    raw = folder / "nnUNet_raw"
    if not (folder / "planned").is_file():
        shutil.rmtree(folder)
        entered(folder)
        strangers = write_strange_pool(raw / f"Dataset{_POOL}_Pool", given.hippocampus, given.phantoms, seed, tests=1)
        (folder / "strangers.txt").write_text("\n".join(strangers) + "\n")
        (folder / "tests.txt").write_text("phantom_t00\n")
        words = f"-d {_POOL} -o {_EXPERIMENT} -patch_size 10 -starting_budget {given.start} -query_size {given.patches} "
        words += f"-seed {seed} -cycles {given.queries + 1} -folds 1 -tr nnActiveTrainer_{given.epochs}epochs_NoMirroring "
        words += f"--preset cpu -np 1 --disable_progress_bar --method {given.method}"
        files = ["-test", str(folder / "tests.txt"), "-irrelevant", str(folder / "strangers.txt")]
        plan([*words.split(), *files])
        (folder / "planned").touch()
    train(Experiment.find(_EXPERIMENT))


def train(experiment: Any) -> None:
    """Train the member of the current cycle, if it is not trained."""
    from nnactive_ext.members.ensemble import trained_folds
    from nnactive_ext.members.training import train_member

    for fold in experiment.folds():
        if fold not in trained_folds(experiment):
            train_member(experiment, fold, "cpu")


def arm(given: argparse.Namespace, seed: int, share: float, folder: Path, begun: Path) -> list[dict[str, Any]]:
    """Train, query and annotate until all queries are made; a row for each."""
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.loop.cycles import finish_annotation
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.querying.query import query_cycle

    if not (folder / "copied").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(begun, folder, symlinks=True)
        (folder / "copied").touch()
    entered(folder)
    while True:
        experiment = Experiment.find(_EXPERIMENT)
        finish_annotation(experiment, progress=False, say=lambda line: None)
        experiment = experiment.anew()
        if experiment.last_loop == given.queries:
            break
        train(experiment)
        query_cycle(
            experiment, lambda e, folds: NnUNetEnsemble(e, folds, "cpu"), experiment.folds(), screen=share, progress=False
        )
    return [_row(experiment, seed, share, cycle) for cycle in range(given.queries + 1)]


def _row(experiment: Any, seed: int, share: float, cycle: int) -> dict[str, Any]:
    """What a loop file says; cycle 0 is the starting budget."""
    content = read_json(experiment.raw / f"loop_{cycle:03d}.json")
    cases = [patch["file"].removesuffix(".nii.gz") for patch in content["patches"]]
    facts = content.get("relevance", {})
    left_out = facts.get("left_out", [])
    return {
        "seed": seed,
        "screen": share,
        "cycle": cycle,
        "asked": len(cases),
        "strangers": [case for case in cases if is_stranger(case)],
        "by": facts.get("by", ""),
        "left_out": len(left_out),
        "left_out_strangers": sum(map(is_stranger, left_out)),
    }


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of all arms, each kept in a file when it is done."""
    os.environ["nnactive_iterations_per_epoch"] = str(given.iterations)
    os.environ["nnactive_val_iterations_per_epoch"] = "1"
    rows, root = [], given.o.absolute()
    for seed in given.seeds:
        done = root / f"seed_{seed}.json"
        if not done.is_file():
            if given.finished:
                continue
            folder = root / f"seed_{seed}"
            start(given, seed, folder / "start")
            found = [arm(given, seed, share, folder / f"screen_{share}", folder / "start") for share in ARMS.values()]
            write_json(done, [row for one in found for row in one])
            print(json.dumps({"seed": seed, "precision": [_precision(one) for one in found]}), flush=True)
        rows += read_json(done)
    return rows


def _precision(rows: Sequence[dict[str, Any]]) -> list[float]:
    return [round(1 - len(row["strangers"]) / row["asked"], 3) for row in rows]


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    given, rows = found["settings"], found["rows"]
    seeds = sorted({row["seed"] for row in rows})
    text = (
        f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}. {found['machine']['cores']} cores of "
        f"{found['machine']['cpu']}. {given['phantoms']} phantoms and 8 strangers in each pool; {given['start']} patches "
        f"before cycle 0 and {given['patches']} in each query, of 10 x 10 x 10 voxels; method {given['method']}; one member of "
        f"{given['epochs']} epochs of {given['iterations']} iterations. {len(seeds)} seeds. Mean over seeds, in brackets the "
        "smallest and the largest."
    )
    cycles = sorted({row["cycle"] for row in rows})
    head = "| | " + " | ".join("start" if cycle == 0 else f"query {cycle}" for cycle in cycles) + " | all queries |"
    lines = [head, "|---|" + "---|" * (len(cycles) + 1)]
    for name, share in ARMS.items():
        of_arm = [row for row in rows if row["screen"] == share]
        cells = [_cell([row for row in of_arm if row["cycle"] == cycle]) for cycle in cycles]
        lines.append(f"| precision, {name} | " + " | ".join([*cells, _over_queries(of_arm, seeds)]) + " |")
    screened = [row for row in rows if row["screen"]]
    for title, key in (("cases left out", "left_out"), ("strangers among them", "left_out_strangers")):
        cells = [f"{np.mean([row[key] for row in screened if row['cycle'] == cycle]):.1f}" for cycle in cycles]
        lines.append(f"| {title}, -screen 0.5 | " + " | ".join([*cells, ""]) + " |")
    by = [
        ", ".join(f"{kind} {sum(row['by'] == kind for row in screened if row['cycle'] == cycle)}" for kind in kinds)
        for cycle in cycles
        if (kinds := sorted({row["by"] for row in screened if row["cycle"] == cycle and row["by"]})) or True
    ]
    lines.append("| seeds in which relevance came from | " + " | ".join([*by, ""]) + " |")
    better = sum(
        _all_precision([r for r in rows if r["seed"] == seed and r["screen"]])
        > _all_precision([r for r in rows if r["seed"] == seed and not r["screen"]])
        for seed in seeds
    )
    verdict = f"Over all queries, precision is higher with -screen 0.5 in {better} of {len(seeds)} seeds."
    return "\n".join([text, "", *lines, "", verdict])


def _cell(rows: Sequence[dict[str, Any]]) -> str:
    return _spread(_precision(rows))


def _over_queries(rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> str:
    return _spread([_all_precision([row for row in rows if row["seed"] == seed]) for seed in seeds])


def _all_precision(rows: Sequence[dict[str, Any]]) -> float:
    """Over the queries; the starting budget is none."""
    queries = [row for row in rows if row["cycle"]]
    return 1 - sum(len(row["strangers"]) for row in queries) / sum(row["asked"] for row in queries)


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measures the precision of queries in a pool with strangers.")
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="where the experiments are made, and continued")
    parser.add_argument("-hippocampus", type=Path, required=True, metavar="FOLDER", help="folder of Dataset004_Hippocampus")
    parser.add_argument("-seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="N", help="(default: %(default)s)")
    parser.add_argument("-method", default="clasp_pe", help="(default: %(default)s)")
    for name, default in {"phantoms": 12, "start": 8, "patches": 6, "queries": 3, "epochs": 5, "iterations": 20}.items():
        parser.add_argument(f"-{name}", type=int, default=default, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--finished", action="store_true", help="run nothing; report the seeds that are done")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)
    shown = {"-o": "FOLDER", "-hippocampus": "Dataset004_Hippocampus"}
    words = list(sys.argv[1:] if args is None else args)
    words = [shown.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    command = shlex.join(["python", "-m", "benchmarks.open_set", *(word for word in words if word != "--finished")])
    settings = {key: value for key, value in vars(given).items() if isinstance(value, int | str)}
    rows = measure(given)
    text = report({**description(), "command": command, "settings": settings, "rows": rows})
    print(text)
    if given.markdown:
        insert(given.markdown, text, MARKS)


if __name__ == "__main__":
    main()
