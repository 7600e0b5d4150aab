"""A task as an annotator gets it: a crop of the image around the patch, and what is labelled in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.geometry.space import Space
from nnactive_ext.labelling.tasks import Task
from nnactive_ext.pages.colours import IGNORE


@dataclass(frozen=True)
class View:
    """A task as an annotator gets it: a crop of the image around the patch.

    ``folder`` is the task's own; ``images`` are the crop's files, one per channel (``.nii.gz``, in ``folder``), ``label``
    is the label map to be edited (``folder / f"{task.id}.nii.gz"``). ``labels`` is its array (z, y, x): ``ignore``
    outside ``box``, a prediction or background inside. ``space`` is that of the crop, ``box`` the query patch in voxels of
    the crop. ``names``: label name -> value, in order of value, with background (0) and ignore (the highest).
    ``channels``: names of the channels. ``predicted``: whether the labels inside the patch are a model's. ``label_version``:
    how many times the classes had been changed. ``blank``: classes that start blank although members predict.
    ``private``: the files must not name the folders of this machine, nor the case, which has a pseudonym here.
    """

    task: Task
    folder: Path
    images: tuple[Path, ...]
    label: Path
    labels: np.ndarray
    space: Space
    box: Patch
    names: Mapping[str, int]
    channels: Sequence[str]
    predicted: bool
    label_version: int = 0
    blank: tuple[str, ...] = ()
    private: bool = False

    @property
    def disguised(self) -> View:
        """The same for people who must learn neither the name of the case nor the folders of this machine; of its files none is
        written yet."""
        task = self.task.disguised
        folder = self.folder.with_name(task.id)
        images, label = tuple(folder / file.name for file in self.images), folder / f"{task.id}.nii.gz"
        box = replace(self.box, case=task.patch.case)
        return replace(self, task=task, folder=folder, images=images, label=label, box=box, private=True)

    @property
    def partly_open(self) -> bool:
        """Whether voxels of the patch are ``ignore``, as those that an earlier answer left open."""
        return bool((self.labels[self.box.slices] == self.names[IGNORE]).any())


def shares(view: View) -> dict[str, float]:
    """The share of the patch that each name but background has in it, ``ignore`` too; the largest first, without zeros."""
    inside = view.labels[view.box.slices]
    counts = {name: np.count_nonzero(inside == value) for name, value in view.names.items() if value != 0}
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return {name: count / inside.size for name, count in ordered if count}
