"""A small roll-out: a plain folder of two-channel images, an anatomy only a scripted expert knows, commands to plan it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scripted_expert
from fake_members import fake_tools

from conftest import TINY, write_tiny
from nnactive_ext.cli import annotate, plan
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.files import write_json
from nnactive_ext.labelling.annotators import SimulatedAnnotator
from nnactive_ext.labelling.tasks import tasks_of
from nnactive_ext.loop.cycles import run_cycles
from nnactive_ext.nnunet.dataset import Dataset

NUMBER = 601
OPTIONS = (
    "--labels organ lesion -channels T1 T2 -patch_size 5 5 3 -starting_budget 6 -query_size 4 -cycles 3 -folds 2 "
    "--preset cpu -np 1 --disable_progress_bar"
)


@dataclass
class Rollout:
    """``images``: the folder that was planned from; ``anatomy``: the reference label maps, which no command gets."""

    images: Path
    anatomy: Path

    @property
    def experiment(self) -> Experiment:
        return Experiment.find(NUMBER)

    def plan(self, options: str = OPTIONS) -> Experiment:
        plan.main(["-i", str(self.images), "-o", str(NUMBER), "-name", "Tiny", *options.split()])
        return self.experiment

    def annotate(self, line: str) -> None:
        """``nnactive_annotate`` with the words of ``line``."""
        command, *words = line.split()
        annotate.main([command, "-d", str(NUMBER), *words])

    def export(self, folder: Path, more: str = "--blank") -> list[scripted_expert.Seen]:
        """Export the open cycle's tasks; what the expert sees of them."""
        annotate.main(["export", "-d", str(NUMBER), "-o", str(folder), "--disable_progress_bar", *more.split()])
        return scripted_expert.look(folder, self.label)

    def label(self, case: str) -> Path:
        return self.anatomy / f"{case}.nii.gz"

    def run(self, say=lambda text: None) -> None:
        """``nnactive_run`` with members that cost nothing."""
        made = fake_tools(classes=len(self.experiment.dataset.labels.values))
        with self.experiment.lock():
            run_cycles(self.experiment, made, progress=False, say=say)


def from_dataset(dataset: Path, target: Path, channels: tuple[str, ...] = ("T1", "T2")) -> Rollout:
    """The images of a raw nnU-Net dataset as ``images/CASE_CHANNEL.nii.gz``, its label maps as ``anatomy/CASE.nii.gz``."""
    images, anatomy = target / "images", target / "anatomy"
    images.mkdir(parents=True)
    for number, channel in enumerate(channels):
        for file in sorted((dataset / "imagesTr").glob(f"*_{number:04d}.nii.gz")):
            shutil.copy(file, images / file.name.replace(f"_{number:04d}", f"_{channel}"))
    shutil.copytree(dataset / "labelsTr", anatomy)
    return Rollout(images, anatomy)


def of_hippocampus(dataset: Path, target: Path, cases: int) -> Rollout:
    """The first real images in a plain folder, named after their cases; their label maps elsewhere."""
    images, anatomy = target / "mris", target / "anatomy"
    images.mkdir()
    anatomy.mkdir()
    for label in sorted((dataset / "labelsTr").glob("*.nii.gz"))[:cases]:
        case = label.name.removesuffix(".nii.gz")
        shutil.copy(dataset / "imagesTr" / f"{case}_0000.nii.gz", images / label.name)
        shutil.copy(label, anatomy)
    return Rollout(images, anatomy)


def later_images(folder: Path) -> Rollout:
    """A roll-out's folder, below ``folder``, with the images of tiny_8 and tiny_9 only, which came later; label maps of all."""
    more = from_dataset(write_tiny(folder / "more" / TINY, cases=10), folder / "second")
    for number in range(8):
        for channel in ("T1", "T2"):
            (more.images / f"tiny_{number}_{channel}.nii.gz").unlink()
    return more


def simulated(rollout: Rollout, folder: Path) -> SimulatedAnnotator:
    """What copies the anatomy into boxes, as the simulated experiments do; ``folder`` is for its dataset.json."""
    folder = folder / "Dataset999_Reference"
    folder.mkdir(exist_ok=True)
    content = dict(rollout.experiment.dataset.json)
    for case, entry in content["dataset"].items():
        entry["label"] = str(rollout.label(case))
        entry["images"] = [str(file) for file in rollout.experiment.dataset.entries[case].images]
    write_json(folder / "dataset.json", content)
    return SimulatedAnnotator(Dataset(folder))


def assert_simulated(rollout: Rollout, folder: Path, left_out: Sequence[str] = ()) -> None:
    """The partial masks equal a simulated annotator's, voxel for voxel, but in the boxes of tasks ``left_out``."""
    experiment, annotator = rollout.experiment, simulated(rollout, folder)
    tasks = [task for cycle in range(experiment.state["cycle"] + 1) for task in tasks_of(experiment, cycle)]
    patches = by_case([task.patch for task in tasks])
    assert patches
    for case in experiment.plan.pool:
        file = experiment.dataset.cases[case].label
        written = experiment.dataset.reader_writer.read_seg(str(file))[0][0]
        expected, _ = annotator.annotate(case, patches.get(case, []))
        for task in tasks:
            if task.id in left_out and task.patch.case == case:
                expected[task.patch.slices] = written[task.patch.slices]
        np.testing.assert_array_equal(written, expected, err_msg=case)
