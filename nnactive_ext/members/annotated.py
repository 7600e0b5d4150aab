"""What has been annotated so far, and in the patches of the cycle: patches, voxels, and the foreground among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.result import Annotation
from nnactive_ext.labelling.labels import count_voxels
from nnactive_ext.labelling.minutes import median_minutes
from nnactive_ext.labelling.tasks import Task, tasks_of
from nnactive_ext.members.yields import Tally, of_answers, per_case


def annotation(experiment: Experiment, cycle: int) -> Annotation:
    """Patches and voxels annotated up to ``cycle`` (whose labels are in place), and the foreground among them.

    ``foreground_share`` is of all annotated voxels. Patches in cases that were dropped from the pool count nowhere.
    """
    labels, plan = experiment.source.labels, experiment.plan
    tasks, tally = tasks_of(experiment, cycle), Tally(experiment.dataset.labels)
    voxels: Counter[int] = Counter()
    for counts in experiment.state["annotated"].values():
        voxels.update({int(label): n for label, n in counts.items()})
    foreground = sum(voxels[label] for label in labels.foreground)
    patches_per_class, new_voxels = _new(experiment, tasks, tally)
    return Annotation(
        patches=len(experiment.annotated_patches(cycle)),
        new_patches=len(tasks),
        annotated_cases=len(experiment.state["annotated"]),
        annotated_voxels=voxels.total(),
        annotated_voxels_per_label=_named(voxels, _names(experiment)),
        foreground_share=_share(experiment, voxels),
        share_of_all_foreground=foreground / plan.pool_foreground_voxels if plan.pool_foreground_voxels else None,
        new_patches_per_class=patches_per_class,
        new_voxels_per_label=_named(new_voxels, _names(experiment)),
        new_foreground_share=_share(experiment, new_voxels),
        # In a roll-out a patch may show labels that were there before anybody answered it.
        new_yields=of_answers(experiment, tasks) if plan.human else tally.found(),
        minutes_per_patch=median_minutes(experiment) if plan.human else None,
    )


def _new(experiment: Experiment, tasks: Sequence[Task], tally: Tally) -> tuple[dict[str, int], Counter[int]]:
    """The patches that hold each class, and the voxels of each label that the partial labels hold inside the patches of
    ``tasks``: a voxel in several of them counts once, an unannotated one nowhere. All patches are added to ``tally``.

    In a roll-out that is what the expert's answers said until now; what they left ``ignore`` is not there.
    """
    labels, dataset = experiment.source.labels, experiment.dataset
    with_class = dict.fromkeys(labels.classes, 0)
    voxels: Counter[int] = Counter()
    for case, asked in per_case(tasks):
        partial = dataset.label_map(case)
        inside = np.full_like(partial, labels.ignore)
        for task in asked:
            said = partial[task.patch.slices]
            inside[task.patch.slices] = said
            tally.add(task, said)
            found = set(count_voxels(said, labels.ignore))
            for name, values in labels.classes.items():
                with_class[name] += not found.isdisjoint(values)
        voxels.update(count_voxels(inside, labels.ignore))
    return with_class, voxels


def _names(experiment: Experiment) -> dict[int, str]:
    return {0: "background", **experiment.source.labels.foreground}


def _named(voxels: Mapping[int, int], names: Mapping[int, str]) -> dict[str, int]:
    return {name: int(voxels.get(label, 0)) for label, name in names.items()}


def _share(experiment: Experiment, voxels: Counter[int]) -> float | None:
    foreground = sum(voxels[label] for label in experiment.source.labels.foreground)
    return foreground / voxels.total() if voxels.total() else None
