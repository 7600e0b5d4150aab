"""What a returned file says about the patches of tasks, and what of it lies elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.exchange.place import misplaced
from nnactive_ext.exchange.straying import doubt, has_frame
from nnactive_ext.geometry.axes import align
from nnactive_ext.geometry.patch import Patch, shared, triple
from nnactive_ext.geometry.space import Space
from nnactive_ext.images.label_files import LabelFile
from nnactive_ext.images.placeless import WITH_PLACE, has_no_place
from nnactive_ext.labelling.tasks import Task


@dataclass(frozen=True)
class Boxed:
    """What a file says about one patch: ``labels`` (z, y, x), voxels of it that the file does not reach (they are
    ``ignore`` now), and labelled voxels outside of all patches that the file might answer (they are not taken). ``doubt``: why
    what lies outside makes it doubtful that this is the patch's answer; empty if it does not."""

    labels: np.ndarray
    missing: int
    outside: int
    doubt: str = ""

    def labelled(self, ignore: int) -> bool:
        """Whether any voxel of it is of a class."""
        return bool(((self.labels != 0) & (self.labels != ignore)).any())


def cut(
    file: Path,
    returned: LabelFile,
    space: Space,
    tasks: Sequence[Task],
    ignore: int,
    sent: Sequence[tuple[str, Patch]] = (),
    by_case: bool = False,
) -> dict[str, Boxed]:
    """The patch of each of ``tasks`` (all of one case, whose array has ``space``) that the file reaches, by task id.

    ``sent``: what was sent for them, in words, and where it lies in the image; ``by_case``: it is a file of the image, which
    may be labelled all over. NnActiveError if the file has the size of one of
    these and lies elsewhere, or if its voxels are not those of the image: labels are never resampled.
    """
    if where := misplaced(returned.space, space, sent):
        raise NnActiveError(
            f"{file}: {where}: its geometry was lost or changed when it was saved. Save the label map on the grid of the "
            "exported one, with the same origin, spacing and direction (in Slicer: Segmentations > Export > reference volume; "
            "in a script: copy them from the exported file)."
        )
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
    doubts = "" if by_case else _doubts(file, array, held, space, tasks, ignore, [box for _, box in sent], not returned.whole)
    return {name: replace(boxed, outside=stray, doubt=doubts) for name, boxed in found.items()}


def _doubts(
    file: Path,
    array: np.ndarray,
    held: Patch,
    space: Space,
    tasks: Sequence[Task],
    ignore: int,
    sent: Sequence[Patch],
    cut: bool,
) -> str:
    """Of a file that answers one task: why what lies outside its patch makes it doubtful. Not of a file of the whole image
    without the frame that was sent: its place is right, and it may be labelled all over. ``cut``: as by 3D Slicer, so that
    background around its segments says nothing. NnActiveError if the order of the axes of a file without a place cannot be
    known."""
    if len(tasks) != 1:
        return ""
    is_whole = held.start == (0, 0, 0) and held.size == space.shape and held.size not in {box.size for box in sent[:-1]}
    if cut:
        array, held = _trimmed(array, held)
    patch = Patch("", triple(np.subtract(tasks[0].patch.start, held.start)), tasks[0].patch.size)
    framed = has_frame(array, patch, ignore)
    found = "" if is_whole and not framed else doubt(array, patch, ignore)
    if has_no_place(file) and len({*held.size} - {1}) < sum(n > 1 for n in held.size) and (found or not framed):
        lost = found or "the frame of ignore that was exported around the patch is not in it"
        raise NnActiveError(
            f"{file}: the format says nothing of its axes, two of which are equally long, and {lost}. {WITH_PLACE} (in napari: "
            "open the task's folder with our reader, and save the labels as .nii.gz)."
        )
    return found


def _trimmed(array: np.ndarray, held: Patch) -> tuple[np.ndarray, Patch]:
    """``array``, which lies at ``held``, without the planes of background around it. 3D Slicer 5.11 adds a plane on some sides
    if a segment is empty."""
    used = [np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not all(line.size for line in used):
        return array, held
    first = [int(line[0]) for line in used]
    box = Patch("", triple(first), triple([int(line[-1]) + 1 - a for line, a in zip(used, first, strict=True)]))
    return array[box.slices], Patch("", triple(np.add(held.start, box.start)), box.size)


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
