"""What nnactive_screen finds in a pool of phantoms with strangers among them, before cycle 0 and after it.

    python -m benchmarks.screening -hippocampus FOLDER

Everything is planned, trained and measured as by the commands, on the CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import description
from benchmarks.report import check_markers, publish
from benchmarks.strange_pool import is_stranger, write_strange_pool

MARKS = ("<!-- benchmarks.screening: begin -->", "<!-- benchmarks.screening: end -->")
BEFORE, AFTER = "before cycle 0", "after cycle 0"
POOL, AGAIN = "whole pool", "whole pool, screened again after what was flagged was called irrelevant"
ANNOTATED, JUDGED = "annotated", "annotated, strangers called irrelevant"
VOXELS = ("mahalanobis", "msp", "maxlogit", "entropy", "energy")
_POOL, _EXPERIMENTS = 900, 920
"""Numbers of the datasets."""


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each seed, stage, reference, score and case."""
    from nnactive_ext.cli.plan import main as plan
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.members.ensemble import trained_folds
    from nnactive_ext.members.training import train_member
    from nnactive_ext.nnunet.dataset import existing_names

    rows: list[dict[str, Any]] = []
    os.environ["nnactive_iterations_per_epoch"] = str(given.iterations)
    raw = Path(os.environ["nnUNet_raw"])
    for seed in given.seeds:
        if not existing_names(_EXPERIMENTS + seed):
            write_strange_pool(raw / f"Dataset{_POOL + seed}_Pool", given.hippocampus, given.phantoms, seed, tests=1)
            tests = raw / "tests.txt"
            tests.write_text("phantom_t00\n")
            words = (
                f"-d {_POOL + seed} -o {_EXPERIMENTS + seed} -patch_size 10 -starting_budget {given.patches} -query_size 10 "
            )
            words += f"-seed {seed} -cycles 2 -folds 2 -tr nnActiveTrainer_{given.epochs}epochs_NoMirroring --preset cpu -np 1"
            plan([*words.split(), "-test", str(tests), "--disable_progress_bar"])
        rows += _screened(Experiment.find(_EXPERIMENTS + seed), seed, BEFORE)
        print(json.dumps({"seed": seed, "rows": len(rows)}), flush=True)
    for seed in given.seeds[: given.trained]:
        experiment = Experiment.find(_EXPERIMENTS + seed)
        for fold in sorted(set(experiment.folds()) - set(trained_folds(experiment))):
            train_member(experiment, fold, "cpu")
        rows += _screened(experiment, seed, AFTER)
        print(json.dumps({"seed": seed, "rows": len(rows)}), flush=True)
    return rows


def _screened(experiment: Any, seed: int, stage: str) -> list[dict[str, Any]]:
    """One set of measurements, judged with three references."""
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.screening import Options, screen_pool
    from nnactive_ext.screening.names import DEFAULT, PLAIN
    from nnactive_ext.screening.scoring import judged

    scores = PLAIN if stage == BEFORE else (*DEFAULT, *VOXELS)
    options = Options(scores=scores, everything=True)
    found = screen_pool(experiment, lambda e, folds: NnUNetEnsemble(e, folds, "cpu"), options=options, progress=False)
    cases = [one.name for one in found.measured]
    annotated = np.array([case in experiment.state["annotated"] for case in cases])
    normal = np.array([not is_stranger(case) for case in cases])
    flagged = np.any([one.flagged for one in found.scores if one.name in DEFAULT], axis=0)
    # A person looks at the flags: phantoms among them are called relevant.
    left = ~(flagged & ~normal)
    references = {POOL: np.ones(len(cases), bool), AGAIN: left, ANNOTATED: annotated, JUDGED: annotated & normal}
    rows = []
    for reference, chosen in references.items():
        for one in judged(found.measured, chosen, scores, options)[0]:
            for place, case in enumerate(cases):
                row = {"seed": seed, "stage": stage, "reference": reference, "score": one.name, "case": case}
                row |= {"z": float(one.z[place]), "value": float(one.values[place]), "flagged": bool(one.flagged[place])}
                rows.append({**row, "in_reference": bool(chosen[place])})
    return rows


def report(found: dict[str, Any]) -> str:
    """Markdown, without the paths of this machine."""
    from nnactive_ext.words import count

    given, rows = found["settings"], found["rows"]
    parts = [
        f"`{found['command']}`, {found['date'][:10]}, commit {found['commit']}. {found['machine']['cores']} cores of "
        f"{found['machine']['cpu']}. {given['phantoms']} phantoms and 8 strangers in each pool, {given['patches']} patches of "
        f"10 x 10 x 10 voxels annotated before cycle 0. Seeds {', '.join(map(str, given['seeds']))}.",
    ]
    if given["trained"]:
        each = f"two members of {given['epochs']} epochs of {given['iterations']} iterations"
        parts[0] += f" After cycle 0: {each}, for the first {count(given['trained'], 'seed')}."
    stages = list(dict.fromkeys((row["stage"], row["reference"]) for row in rows))
    for stage, reference in stages:
        here = [row for row in rows if (row["stage"], row["reference"]) == (stage, reference)]
        seeds = len({row["seed"] for row in here})
        parts.append(f"### {stage.capitalize()}, compared with: {reference} ({seeds} {'pool' if seeds == 1 else 'pools'})")
        parts.append(_table(here))
    return "\n\n".join(parts)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """How many of the images of each kind every score flagged, over all seeds; AUROC of strangers against phantoms."""
    scores = list(dict.fromkeys(row["score"] for row in rows))
    kinds = list(dict.fromkeys(_kind(row["case"]) for row in sorted(rows, key=lambda row: is_stranger(row["case"]))))
    kinds = [*(kind for kind in kinds if kind != "phantom"), "phantom"]
    lines = [
        "| score | " + " | ".join(kinds[:-1]) + " | false flags among phantoms | AUROC |",
        "|---|" + "---|" * (len(kinds) + 1),
    ]
    default = {"geometry", "histogram", "knn", "disagreement"}
    shown = [(score, {score}) for score in scores]
    shown.append(("**any of " + ", ".join(s for s in scores if s in default) + "**", default))
    for name, chosen in shown:
        cells = []
        for kind in kinds:
            of_kind = {(row["seed"], row["case"]) for row in rows if _kind(row["case"]) == kind}
            hits = {(row["seed"], row["case"]) for row in rows if row["score"] in chosen and row["flagged"]} & of_kind
            cells.append(f"{len(hits)} of {len(of_kind)}")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {_auroc(rows, name) if len(chosen) == 1 else ''} |")
    return "\n".join(lines)


def _auroc(rows: Sequence[dict[str, Any]], score: str) -> str:
    """The mean over seeds, in %."""
    from nnactive_ext.metrics.failures import auroc

    found = []
    for seed in sorted({row["seed"] for row in rows}):
        of = [row for row in rows if row["seed"] == seed and row["score"] == score and not np.isnan(row["value"])]
        strange, normal = (np.array([r["value"] for r in of if is_stranger(r["case"]) == which]) for which in (True, False))
        found.append(auroc(strange.tolist(), normal.tolist()))
    return f"{100 * np.mean(found):.0f}"


def _kind(case: str) -> str:
    return re.sub(r"_\d+$", "", case).replace("_", " ")


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Screens pools of phantoms with strangers among them.")
    parser.add_argument("-hippocampus", type=Path, required=True, metavar="FOLDER", help="folder of Dataset004_Hippocampus")
    parser.add_argument("-seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="N", help="(default: %(default)s)")
    parser.add_argument("-trained", type=int, default=2, metavar="N", help="seeds with members (default: %(default)s)")
    parser.add_argument("-phantoms", type=int, default=12, metavar="N", help="in a pool (default: %(default)s)")
    parser.add_argument("-patches", type=int, default=20, metavar="N", help="annotated ones (default: %(default)s)")
    parser.add_argument("-epochs", type=int, default=10, metavar="N", help="of a training (default: %(default)s)")
    parser.add_argument("-iterations", type=int, default=10, metavar="N", help="of an epoch (default: %(default)s)")
    parser.add_argument("-work", type=Path, metavar="FOLDER", help="folder to keep, in which a stopped run continues")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)  # before the work, not after
    with nullcontext(given.work) if given.work else tempfile.TemporaryDirectory() as folder:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(folder, name))
            Path(folder, name).mkdir(parents=True, exist_ok=True)
        rows = measure(given)
    typed = sys.argv[1:] if args is None else args
    words = ["Dataset004_Hippocampus" if word == str(given.hippocampus) else word for word in typed]
    for flag in {"-work", "--json"} & set(words):  # places on this machine
        del words[words.index(flag) : words.index(flag) + 2]
    found = {
        **description(),
        "command": shlex.join(["python", "-m", "benchmarks.screening", *words]),
        "settings": {
            key: value for key, value in vars(given).items() if key not in ("json", "markdown", "hippocampus", "work")
        },
        "rows": rows,
    }
    publish(given, found, report(found), MARKS)


if __name__ == "__main__":
    main()
