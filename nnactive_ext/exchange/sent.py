"""Which crops of an image a task was exported as: a file of such a size that comes back must lie where it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.exporting import Noting, Record
from nnactive_ext.exchange.viewers import facts
from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.labelling.tasks import Task, cropped
from nnactive_ext.schemas import Shape, Start

CROPS = Record("exported_crops.json", dict[str, list[tuple[Start, Shape]]])
"""By task ``[start, size]`` (z, y, x) of each crop that it was exported as, in voxels of its image. Older experiments have
none."""


def note_crop(noting: Noting, task: Task, crop: Patch) -> None:
    """Write down that ``task`` is about to be exported as ``crop``."""
    noting.note(CROPS, task.id, (crop.start, crop.size))


def sent_crops(
    record: Mapping[str, Sequence[Any]], task: Task, folders: Iterable[Path], shape: Sequence[int]
) -> tuple[Patch, ...]:
    """The crops that ``task`` was exported as.

    Args:
        record: what :data:`CROPS` says.
        task: the task.
        folders: where a ``task.json`` of an export that was not recorded may lie.
        shape: of the image (z, y, x).

    Returns:
        Crops in voxels of the image; where nothing tells, the one that an export without ``-margin`` makes.
    """
    known = [Patch(task.patch.case, triple(start), triple(size)) for start, size in record.get(task.id, ())]
    known += [crop for folder in folders if (crop := _told(folder, task)) is not None]
    return tuple(dict.fromkeys(known)) or (cropped(task.patch, shape, task.patch.size)[0],)


def _told(folder: Path, task: Task) -> Patch | None:
    """By ``task.json`` in ``folder``; None if it is not there, not readable or of another task."""
    try:
        content, space, box = facts.read(folder)
    except NnActiveError:
        return None
    if content.get("id") not in task.names or box.size != task.patch.size:
        return None
    return Patch(task.patch.case, triple(np.subtract(task.patch.start, box.start)), space.shape)
