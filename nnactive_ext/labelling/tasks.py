"""A task: one box of one cycle's query, which somebody is to annotate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.geometry.space import Space


@dataclass(frozen=True)
class Task:
    """``id`` (like ``c001_003_liver_12``: cycle, number within its loop file, case) is what files are matched by;
    ``patch`` is the box in the case's array; ``score``, ``stratum`` and ``method`` say why it was chosen."""

    id: str
    cycle: int
    number: int
    patch: Patch
    stratum: str = ""
    score: float | None = None
    method: str = ""


@dataclass(frozen=True)
class View:
    """A task as an annotator gets it: a crop of the image around the box.

    ``folder`` is the task's own; ``images`` are the crop's files, one per channel (``.nii.gz``, in ``folder``), ``label``
    is the label map to be edited (``folder / f"{task.id}.nii.gz"``). ``labels`` is its array (z, y, x): ``ignore``
    outside ``box``, a prediction or background inside. ``space`` is that of the crop, ``box`` the query box in voxels of
    the crop. ``names``: label name -> value, in order of value, with background (0) and ignore (the highest).
    ``channels``: names of the channels. ``predicted``: whether the labels inside the box are a model's.
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


def cropped(patch: Patch, shape: Sequence[int], margin: Sequence[int]) -> tuple[Patch, Patch]:
    """``patch`` widened by ``margin`` voxels (z, y, x) on each side, as far as the image of ``shape`` reaches, and
    ``patch`` within that crop."""
    start = [max(0, a - m) for a, m in zip(patch.start, margin, strict=True)]
    stop = [min(n, b + m) for b, m, n in zip(patch.stop, margin, shape, strict=True)]
    crop = Patch(patch.case, triple(start), triple([b - a for a, b in zip(start, stop, strict=True)]))
    return crop, Patch(patch.case, triple([a - b for a, b in zip(patch.start, start, strict=True)]), patch.size)
