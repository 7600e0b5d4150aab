"""Members that cost nothing: marks as a real training leaves them, and logits that depend on image and cycle only."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage

from nnactive_ext.experiment import marks
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.member_kinds import SNAPSHOTS
from nnactive_ext.members.ensemble import fold_folder
from nnactive_ext.members.tools import Tools
from nnactive_ext.nnunet.trainers import snapshot_file


def fake_train(experiment: Experiment, fold: int, seconds: float = 0.0) -> None:
    folder = fold_folder(experiment, fold)
    folder.mkdir(parents=True, exist_ok=True)
    marks.begin(folder, experiment.preprocessed.folder, continued=False)
    time.sleep(seconds)
    kind = experiment.plan.member_kind
    for number in range(1, kind.number if kind.name == SNAPSHOTS else 1):
        snapshot_file(folder, number).write_bytes(b"a snapshot")
    (folder / "checkpoint_final.pth").write_bytes(b"a member")
    marks.finish(folder)


class FakeEnsemble:
    def __init__(self, experiment: Experiment, classes: int = 4):
        self.experiment, self.classes = experiment, classes

    def logits(self, image: np.ndarray, case: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        smooth = ndimage.gaussian_filter(image[0], 2 + self.experiment.state["cycle"])
        centres = np.quantile(smooth, np.linspace(0.1, 0.9, self.classes))
        yield "fold 0", torch.from_numpy(-4 * np.abs(smooth - centres[:, None, None, None]))

    def describe(self, image, boxes, description):
        """Means and deviations of the image in each box."""
        sections = (3, 2, 4, 2)[: description.layers] if description.features == "layers" else (6,)
        vectors = np.zeros((len(boxes), sum(sections)), np.float32)
        for row, box in enumerate(boxes):
            here = image[(slice(None), *box.slices)]
            vectors[row] = np.resize([here.mean(), here.std(), here.max()], vectors.shape[1])
        return vectors, sections

    def segment(self, case, inference=None) -> np.ndarray:
        image, _ = self.experiment.source.reader_writer.read_images([str(f) for f in case.images])
        return (image[0] > np.quantile(image[0], 0.8)).astype(np.uint8)


def fake_tools(seconds: float = 0.0, classes: int = 4) -> Tools:
    return Tools(
        train=lambda experiment, fold: fake_train(experiment, fold, seconds),
        open_ensemble=lambda experiment, folds: FakeEnsemble(experiment, classes),
    )


def copy_of(folders: SimpleNamespace, target: Path, monkeypatch) -> SimpleNamespace:
    """A copy of all three nnU-Net folders below ``target``, which the environment then points at."""
    copied = SimpleNamespace()
    for name in ("raw", "preprocessed", "results"):
        folder = target / f"nnUNet_{name}"
        shutil.copytree(getattr(folders, name), folder)
        monkeypatch.setenv(f"nnUNet_{name}", str(folder))
        setattr(copied, name, folder)
    return copied
