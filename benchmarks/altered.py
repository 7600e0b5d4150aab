"""How well each score of ``nnactive_screen`` tells altered images from the same images as they are, on Hippocampus MRIs.

    python -m benchmarks.altered -hippocampus FOLDER

Everything is planned, trained and measured as by the commands, on the CPU. A command that was stopped continues with ``-work``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from benchmarks.digits import table
from benchmarks.machine import description
from benchmarks.report import check_markers, insert
from nnactive_ext.files import read_json, write_json
from nnactive_ext.metrics import auroc
from nnactive_ext.screening.names import DISAGREEMENT, ENERGY, ENTROPY, HISTOGRAM, KNN, MAHALANOBIS, MAX_LOGIT, MSP

MARKS = ("<!-- benchmarks.altered: begin -->", "<!-- benchmarks.altered: end -->")
SCORES = (DISAGREEMENT, KNN, MAHALANOBIS, HISTOGRAM, ENERGY, MAX_LOGIT, ENTROPY, MSP)
_POOL, _EXPERIMENT = 970, 971
"""Numbers of the datasets."""


def _ghost(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 0.7 * x + 0.3 * np.roll(x, x.shape[1] // 3, axis=1)


def _half(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(np.arange(x.shape[2]) < x.shape[2] // 2, x, 0)


def _implant(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    changed, side = x.copy(), 8
    z, y, f = (int(rng.integers(0, n - side)) for n in x.shape)
    changed[z : z + side, y : y + side, f : f + side] = 3 * x.max()
    return changed


def _zoomed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Its inner half along each axis, as large as the whole."""
    inner = x[tuple(slice(n // 4, n - n // 4) for n in x.shape)]
    return np.asarray(zoom(inner, [n / m for n, m in zip(x.shape, inner.shape, strict=True)], order=1))


ALTERATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "gain": lambda x, rng: 0.3 * x,
    "inverted": lambda x, rng: x.max() - x + x.min(),
    "noise only": lambda x, rng: rng.normal(x.mean(), x.std(), x.shape),
    "empty": lambda x, rng: rng.normal(0, 0.01 * x.std(), x.shape),
    "upside down": lambda x, rng: x[::-1],
    "axes exchanged": lambda x, rng: x.transpose(1, 2, 0),
    "blurred": lambda x, rng: gaussian_filter(x, 2),
    "noisy": lambda x, rng: x + rng.normal(0, 0.7 * x.std(), x.shape),
    "ghost": _ghost,
    "half missing": _half,
    "implant": _implant,
    "zoomed": _zoomed,
}
"""Name -> the altered image (z, y, x)."""
AS_THEY_ARE = "unchanged"


def _read(file: Path) -> tuple[np.ndarray, Any]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(file), sitk.sitkFloat32)
    return np.asarray(sitk.GetArrayFromImage(image), np.float64), image


def prepare(given: argparse.Namespace, folder: Path) -> Any:
    """Plan an experiment on fully annotated cases, train what is missing of two members, and write the altered test cases."""
    import SimpleITK as sitk

    from nnactive_ext.cli.plan import main as plan
    from nnactive_ext.experiment.experiment import Experiment
    from nnactive_ext.members.ensemble import trained_folds
    from nnactive_ext.members.training import train_member
    from nnactive_ext.nnunet.dataset import existing_names

    raw = folder / "nnUNet_raw" / f"Dataset{_POOL}_Hippocampus"
    names = sorted(file.name.removesuffix(".nii.gz") for file in (given.hippocampus / "labelsTr").glob("*.nii.gz"))
    drawn = np.random.default_rng(given.seed).choice(names, given.pool + given.tests, replace=False).tolist()
    tests = drawn[given.pool :]
    if not existing_names(_EXPERIMENT):
        shutil.rmtree(raw, ignore_errors=True)
        for name in drawn:
            for part, file in (("imagesTr", f"{name}_0000.nii.gz"), ("labelsTr", f"{name}.nii.gz")):
                (raw / part).mkdir(parents=True, exist_ok=True)
                shutil.copy(given.hippocampus / part / file, raw / part / file)
        content = read_json(given.hippocampus / "dataset.json")
        write_json(raw / "dataset.json", {**content, "numTraining": len(drawn)})
        (folder / "tests.txt").write_text("\n".join(tests) + "\n")
        words = f"-d {_POOL} -o {_EXPERIMENT} -patch_size 12 --all_labels -folds 2 -seed {given.seed} --preset cpu -np 1 "
        words += f"-tr nnActiveTrainer_{given.epochs}epochs --disable_progress_bar"
        plan([*words.split(), "-test", str(folder / "tests.txt")])
    for name, alter in {AS_THEY_ARE: lambda x, rng: x, **ALTERATIONS}.items():
        target = folder / "new" / name.replace(" ", "_")
        target.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(tests):
            array, image = _read(raw / "imagesTr" / f"{case}_0000.nii.gz")
            altered = np.asarray(alter(array, np.random.default_rng([given.seed, number])), np.float32)
            made = sitk.GetImageFromArray(altered)
            made.SetSpacing(image.GetSpacing())
            sitk.WriteImage(made, str(target / f"{case}_0000.nii.gz"))
    experiment = Experiment.find(_EXPERIMENT)
    for fold in sorted(set(experiment.folds()) - set(trained_folds(experiment))):
        train_member(experiment, fold, "cpu")
    return experiment


def measure(experiment: Any, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Score -> alteration -> the scores of the test cases, in their order."""
    from nnactive_ext.members.ensemble import NnUNetEnsemble
    from nnactive_ext.screening import Options, screen_new

    found: dict[str, dict[str, list[float]]] = {name: {} for name in SCORES}
    for alteration in (AS_THEY_ARE, *ALTERATIONS):
        images = folder / "new" / alteration.replace(" ", "_")
        opened = lambda e, folds: NnUNetEnsemble(e, folds, "cpu")  # noqa: E731
        kept, options = folder / "kept" / images.name, Options(scores=SCORES)
        screening = screen_new(experiment, images, kept, opened, options=options, progress=False)
        for one in screening.scores:
            found[one.name][alteration] = one.values[screening.shown].tolist()
        print(alteration, file=sys.stderr, flush=True)
    return found


def report(command: str, given: argparse.Namespace, found: dict[str, dict[str, list[float]]]) -> str:
    """Markdown, without the paths of this machine."""
    about = description()
    rows = []
    for name, of in found.items():
        numbers = [100 * auroc(of[alteration], of[AS_THEY_ARE]) for alteration in ALTERATIONS]
        rows.append((float(np.mean(numbers)), [name, *(f"{n:.0f}" for n in (*numbers, np.mean(numbers), min(numbers)))]))
    rows.sort(key=lambda row: -row[0])
    return "\n\n".join(
        [
            f"`{command}`, {about['date'][:10]}, commit {about['commit'] or 'unknown'}. {about['machine']['cores']} cores of "
            f"{about['machine']['cpu']}. {given.pool} annotated cases are the reference; {given.tests} test cases as they are "
            f"and altered. Two members of {given.epochs} epochs of {given.iterations} iterations, with the networks of "
            "`--preset cpu`.",
            "AUROC in %, altered images against the same images as they are:",
            table(["score", *ALTERATIONS, "mean", "worst"], [cells for _, cells in rows]),
        ]
    )


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Screens altered Hippocampus MRIs by every score.")
    parser.add_argument("-hippocampus", type=Path, required=True, metavar="FOLDER", help="folder of Dataset004_Hippocampus")
    for name, default in {"pool": 12, "tests": 6, "epochs": 30, "iterations": 5, "seed": 0}.items():
        parser.add_argument(f"-{name}", type=int, default=default, metavar="N", help="(default: %(default)s)")
    parser.add_argument("-work", type=Path, metavar="FOLDER", help="folder to keep, in which a stopped run continues")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="replace the text between this benchmark's two markers")
    given = parser.parse_args(args)
    if given.markdown:
        check_markers(given.markdown, MARKS)
    os.environ["nnactive_iterations_per_epoch"] = str(given.iterations)
    os.environ["nnactive_val_iterations_per_epoch"] = "1"
    with nullcontext(given.work) if given.work else tempfile.TemporaryDirectory() as work:
        folder = Path(work).absolute()
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(folder / name)
            (folder / name).mkdir(parents=True, exist_ok=True)
        found = measure(prepare(given, folder), folder)
    words = list(sys.argv[1:] if args is None else args)
    if "-work" in words:  # a place on this machine
        del words[words.index("-work") : words.index("-work") + 2]
    words = ["Dataset004_Hippocampus" if word == str(given.hippocampus) else word for word in words]
    text = report(shlex.join(["python", "-m", "benchmarks.altered", *words]), given, found)
    print(text)
    if given.markdown:
        insert(given.markdown, text + "\n", MARKS)


if __name__ == "__main__":
    main()
