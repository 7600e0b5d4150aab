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
from nnactive_ext.nnunet.dataset import read_labels
from nnactive_ext.report.crop import Crop, thinned
from nnactive_ext.report.places import covered
from nnactive_ext.report.predictions import Open, predictions_of

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
            shown = representative(tasks, per_cycle)
            predict, crops = predictions(cycle), {}
            for crop, task in _looked_at(experiment, shown, earlier, channel):
                prediction, missing = predict(_place(crop))
                labels, entropy, apart = prediction or (None, None, None)
                made = replace(crop, prediction=labels, uncertainty=entropy, missing=missing, apart=apart)
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


def representative(tasks: Sequence[Task], most: int) -> list[Task]:
    """At most ``most`` of ``tasks``, in their order: as many of each stratum as of any other, and of a stratum the best,
    the last and some evenly between, by score (where there is none, by the order in which they were chosen).

    >>> from nnactive_ext.geometry.patch import Patch
    >>> tasks = [Task(str(i), 1, i, Patch("a", (i, 0, 0), (1, 1, 1)), "liver", i / 10) for i in range(9)]
    >>> [task.number for task in representative([*tasks, Task("t", 1, 9, Patch("b", (0, 0, 0), (1, 1, 1)), "tumour")], 4)]
    [0, 4, 8, 9]
    """
    strata: dict[str, list[Task]] = {}
    for task in tasks:
        strata.setdefault(task.stratum, []).append(task)
    shares = _shares([len(members) for members in strata.values()], most)
    shown = {id(task) for members, n in zip(strata.values(), shares, strict=True) for task in _spread(members, n)}
    return [task for task in tasks if id(task) in shown]


def _shares(sizes: Sequence[int], most: int) -> list[int]:
    """How many of each stratum: one more of each in turn, as long as it has any left."""
    shares, left = [0] * len(sizes), min(most, sum(sizes))
    while left > 0:
        for i, size in enumerate(sizes):
            if shares[i] < size and left > 0:
                shares[i] += 1
                left -= 1
    return shares


def _spread(tasks: Sequence[Task], n: int) -> list[Task]:
    ranked = sorted(tasks, key=lambda task: -task.score if task.score is not None else 0.0)  # stable: ties as chosen
    if n < 2:
        return ranked[:n]
    return [ranked[round(i * (len(ranked) - 1) / (n - 1))] for i in range(n)]


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
        labels = read_labels(experiment.dataset.reader_writer, file)[0][0]
    except (RuntimeError, OSError) as error:
        raise NnActiveError(f"{file}: cannot be read ({error}). Restore it.") from None
    return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
