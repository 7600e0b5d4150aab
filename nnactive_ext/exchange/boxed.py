"""What a returned file says about the patches of tasks, and what of it lies elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.patch import Patch, shared, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import LabelFile
from nnactive_ext.labelling.tasks import Task


@dataclass(frozen=True)
class Boxed:
    """What a file says about one patch: ``labels`` (z, y, x), voxels of it that the file does not reach (they are
    ``ignore`` now), and labelled voxels outside of all patches that the file might answer (they are not taken)."""

    labels: np.ndarray
    missing: int
    outside: int

    def labelled(self, ignore: int) -> bool:
        """Whether any voxel of it is of a class."""
        return bool(((self.labels != 0) & (self.labels != ignore)).any())


def cut(file: Path, returned: LabelFile, space: Space, tasks: Sequence[Task], ignore: int) -> dict[str, Boxed]:
    """The patch of each of ``tasks`` (all of one case, whose array has ``space``) that the file reaches, by task id.

    A file whose voxels are not those of the image is an error: labels are never resampled.
    """
    try:
        placed = align(space, returned.space)
    except ValueError as error:
        raise NnActiveError(
            f"{file}: {error}. Its voxels are not those of the image. Save the label map on the grid of the exported one "
            "(in Slicer: Segmentations > Export > reference volume; elsewhere: resample with nearest neighbour)."
        ) from None
    array = placed.turned(returned.labels)
    held = Patch("", placed.start, triple(array.shape))
    found, outside = {}, array.copy()
    for task in tasks:
        target, source = shared(task.patch, held)
        if not array[source].size and returned.whole:
            continue
        # A .seg.nrrd is cut to what its segments cover; beyond, it says background.
        labels = np.full(task.patch.size, ignore if returned.whole else 0, array.dtype)
        labels[target] = array[source]
        outside[source] = 0
        missing = labels.size - array[source].size if returned.whole else 0
        found[task.id] = Boxed(labels, missing, 0)
    stray = int(np.count_nonzero((outside != 0) & (outside != ignore)))
    return {name: Boxed(boxed.labels, boxed.missing, stray) for name, boxed in found.items()}


def describe(boxed: Boxed, ignore: int, foreground: Mapping[int, str]) -> str:
    """For people: the classes found, what is left open, what was not taken."""
    size = boxed.labels.size
    parts = [
        f"{name} {100 * np.count_nonzero(boxed.labels == value) / size:.3g} %"
        for value, name in foreground.items()
        if (boxed.labels == value).any()
    ]
    text = "done" if not (boxed.labels == ignore).any() else "partly done"
    text += ": " + (", ".join(parts) or "background only")
    unsure = int(np.count_nonzero(boxed.labels == ignore))
    if unsure:
        text += f"; {100 * unsure / size:.3g} % left as ignore"
    if boxed.missing:
        text += f"; {boxed.missing} voxels of the patch are not in the file"
    if boxed.outside:
        text += f"; {boxed.outside} labelled voxels outside the patch were skipped"
    return text
