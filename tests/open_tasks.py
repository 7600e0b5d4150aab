"""A roll-out whose first tasks are out, made once and copied for the tests that answer them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import blosc2
import numpy as np
import scripted_expert as expert
from rollouts import Rollout, from_dataset

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.labelling.answers import CountingAnswers, labels_of
from nnactive_ext.labelling.ledger import Ledger
from nnactive_ext.labelling.tasks import find_task

IGNORE = 3
POINTS = """case,class,i,j,k
tiny_1,organ,7,13,12
tiny_2,lesion,6,13,14
tiny_3,organ,7,12,12
tiny_4,lesion,7,13,12
tiny_1,lesion,8,13,15
"""
"""The last one's box overlaps the first one's."""


@dataclass
class OpenTasks(Rollout):
    """A roll-out whose tasks of cycle 0 were exported, blank, to ``out``: two random ones, five around points."""

    out: Path

    @property
    def seen(self) -> list[expert.Seen]:
        return expert.look(self.out, self.label)

    def hand_in(self, *paths: Path, who: str = "anna", more: str = "") -> None:
        words = " ".join(map(str, paths or [self.out]))
        self.annotate(f"import {words} -who {who} --disable_progress_bar {more}")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.experiment.annotation)

    @property
    def book(self) -> CountingAnswers:
        return CountingAnswers.of(self.ledger)

    def events(self, what: str = "answer") -> list[dict[str, Any]]:
        return [event for event in self.ledger.events() if event["what"] == what]

    def patch(self, task: expert.Seen) -> Patch:
        return find_task(self.experiment, task.id).patch

    def counted(self, task: expert.Seen) -> np.ndarray | None:
        """What counts for the box of ``task``."""
        return labels_of(self.ledger, self.book, task.id, IGNORE)

    def labels(self, case: str) -> np.ndarray:
        """The partial label map (z, y, x) that is trained on."""
        dataset = self.experiment.dataset
        return dataset.reader_writer.read_seg(str(dataset.cases[case].label))[0][0]

    def preprocessed_labels(self, case: str) -> np.ndarray:
        file = self.experiment.preprocessed.data_folder / f"{case}_seg.b2nd"
        return blosc2.open(urlpath=str(file), mode="r")[:]


def make(folders: SimpleNamespace, dataset: Path) -> SimpleNamespace:
    """``folders`` with the roll-out in them, ``.rollout``, and the exported tasks in ``.out``."""
    root = folders.raw.parent
    rollout = from_dataset(dataset, root / "hospital")
    rollout.plan()
    points = root / "points.csv"
    points.write_text(POINTS)
    rollout.annotate(f"points {points} -who anna")
    rollout.export(root / "out")
    return SimpleNamespace(**vars(folders), rollout=rollout, out=root / "out")


def copied(template: SimpleNamespace, folders: SimpleNamespace, target: Path) -> OpenTasks:
    for name in ("raw", "preprocessed", "results"):
        shutil.copytree(getattr(template, name), getattr(folders, name), dirs_exist_ok=True)
    shutil.copytree(template.out, target / "out")
    return OpenTasks(template.rollout.images, template.rollout.anatomy, target / "out")
