"""The crops of a report's gallery: of each cycle's query some patches, with what the members that chose them predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.plan import ALL_LABELS
from nnactive_ext.experiment.spaces import image_and_space
from nnactive_ext.geometry.patch import Patch, Triple, triple
from nnactive_ext.labelling.tasks import Task, cropped, tasks_of
from nnactive_ext.report.choosers import Open
from nnactive_ext.report.crop import Crop
from nnactive_ext.report.overlaps import covered
from nnactive_ext.report.predictions import predictions_of
from nnactive_ext.report.telling import telling
from nnactive_ext.report.thin import thinned

MOST_VOXELS = 1 << 20
"""Of a crop, where its patch leaves any room: as much context on each side as the patch itself has, else less."""
KEPT_VOXELS = 100 << 20
"""Of all crops together, at about ten bytes each: no crop has more than its part of them, or four million."""
_LEAST_CONTEXT = 0.2
"""Of the patch's size, on each side, however many voxels that makes."""


def gallery_crops(
    experiment: Experiment,
    device: str | None,
    per_cycle: int = 12,
    progress: bool = True,
    channel: int = 0,
    opened: Open | None = None,
) -> dict[int, list[Crop]]:
    """Cycle -> its crops, for every loop file there is, the last one's even if nobody has answered it yet.

    ``device`` None: nothing is predicted, but what was kept of an earlier report is shown. An image that cannot be read is
    an NnActiveError. ``opened``: instead of nnU-Net's members. Large crops are thinned out once they are predicted (see
    :func:`most_voxels`). With all labels there are none, since nothing was queried.
    """
    if experiment.plan.purpose == ALL_LABELS:
        return {}
    asked = [tasks_of(experiment, cycle) for cycle in range(experiment.last_loop + 1)]
    most = most_voxels(sum(min(len(tasks), per_cycle) for tasks in asked))
    bar = tqdm(desc="Looking at queried patches", unit="patch", disable=not progress)
    found: dict[int, list[Crop]] = {}
    with bar:
        predictions = predictions_of(experiment, device, opened)
        earlier: list[Patch] = []
        for cycle, tasks in enumerate(asked):
            shown = telling(tasks, per_cycle)
            predict, crops = predictions(cycle), {}
            for crop, task in _looked_at(experiment, shown, earlier, channel):
                prediction, missing = predict(_place(crop))
                labels, entropy = prediction or (None, None)
                made = replace(crop, prediction=labels, uncertainty=entropy, missing=missing)
                crops[task.number] = thinned(made, most)
                bar.update()
            found[cycle] = [crops[task.number] for task in shown]
            earlier += [task.patch for task in tasks]
    return found


def most_voxels(crops: int) -> int:
    """That each of so many crops may keep.

    >>> most_voxels(12), most_voxels(50), most_voxels(500)
    (4194304, 2097152, 1048576)
    """
    return min(4 * MOST_VOXELS, max(MOST_VOXELS, KEPT_VOXELS // max(1, crops)))


def _looked_at(
    experiment: Experiment, tasks: Sequence[Task], earlier: Sequence[Patch], channel: int
) -> Iterator[tuple[Crop, Task]]:
    """The crops of some tasks of one cycle without what is predicted, by case, so that each image is read once."""
    case = ""
    for task in sorted(tasks, key=lambda task: task.patch):
        if task.patch.case != case:
            case = task.patch.case
            image, space = image_and_space(experiment, case)
            annotation = _annotation(experiment, case)
        around, box = cropped(task.patch, space.shape, _margin(task.patch.size))
        yield (
            Crop(
                cycle=task.cycle,
                patch=task.patch,
                box=box,
                stratum=task.stratum,
                score=task.score,
                overlap=covered(task.patch, earlier),
                image=image[channel][around.slices].astype(np.float32),
                annotation=None if annotation is None else annotation[around.slices].copy(),
                prediction=None,
                uncertainty=None,
                space=space.crop(around),
                missing="",
                ignore=experiment.dataset.labels.ignore,
            ),
            task,
        )


def _place(crop: Crop) -> Patch:
    """The whole crop in voxels of the image."""
    start = [a - b for a, b in zip(crop.patch.start, crop.box.start, strict=True)]
    return Patch(crop.patch.case, triple(start), crop.space.shape)


def _margin(size: Triple) -> Triple:
    """The context on each side, in voxels: in the same proportion along all axes, at most the patch's size."""
    voxels = size[0] * size[1] * size[2]
    share = min(1.0, max(_LEAST_CONTEXT, ((MOST_VOXELS / voxels) ** (1 / 3) - 1) / 2))
    return triple([round(n * share) for n in size])


def _annotation(experiment: Experiment, case: str) -> np.ndarray | None:
    """The partial labels, never the reference; None where the file is gone, NnActiveError where it cannot be read."""
    file = experiment.dataset.entries[case].label
    if not file.is_file():
        return None
    try:
        labels = experiment.dataset.reader_writer.read_seg(str(file))[0][0]
    except (RuntimeError, OSError) as error:
        raise NnActiveError(f"{file}: cannot be read ({error}). Restore it.") from None
    return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
