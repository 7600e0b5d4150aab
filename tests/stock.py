"""Stock nnU-Net without this package, as somebody else has it who is sent a model: installs the zip and predicts test cases."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from folders import folders_below

from nnactive_ext.experiment.experiment import Experiment


class Stock:
    """nnU-Net in an environment and with folders of its own below ``folder``; where there can be none, a test is skipped."""

    def __init__(self, folder: Path):
        self.folder, self.python = folder, _python(folder / "venv")
        self.environment = _without_ours(folder / "theirs")
        line = [self.python, "-I", "-c", "import nnactive_ext"]
        there = subprocess.run(line, env=self.environment, capture_output=True, text=True)
        if there.returncode == 0:
            pytest.skip("the package is installed, not linked: an environment without it needs another nnU-Net")
        assert "No module named 'nnactive_ext'" in there.stderr

    def typed(self, script: str, words: str) -> None:
        line = [self.python, "-I", str(Path(sys.executable).parent / script), *words.split()]
        done = subprocess.run(line, env=self.environment, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"

    def predictions(self, model: Path, experiment: Experiment, folds: Sequence[int]) -> dict[str, np.ndarray]:
        """The label maps (z, y, x) of the test cases, by name, as the installed ``model`` predicts them."""
        images, predicted = self.folder / "images", self.folder / "predicted"
        images.mkdir()
        for case in experiment.test_cases():
            for channel, file in enumerate(case.images):
                (images / f"{case.name}_{channel:04d}.nii.gz").symlink_to(file)
        self.typed("nnUNetv2_install_pretrained_model_from_zip", str(model))
        words = f"-i {images} -o {predicted} -d {experiment.name} -c {experiment.plan.configuration} -tr nnUNetTrainer"
        self.typed("nnUNetv2_predict", f"{words} -f {' '.join(map(str, folds))} -device cpu -npp 1 -nps 1")
        files = {case.name: str(predicted / f"{case.name}.nii.gz") for case in experiment.test_cases()}
        return {name: sitk.GetArrayFromImage(sitk.ReadImage(file)) for name, file in files.items()}


def _python(folder: Path) -> Path:
    """Of an environment that has nnU-Net and not this package: without the .pth file of the editable install."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    place = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    (Path(place.stdout.strip()) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def _without_ours(folder: Path) -> dict[str, str]:
    """The environment variables of somebody else: nnU-Net's folders, empty, below ``folder``."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("nnUNet_", "nnactive_", "PYTHON"))}
    for name, made in vars(folders_below(folder)).items():
        made.mkdir(parents=True)
        clean[f"nnUNet_{name}"] = str(made)
    return clean
