"""How far the tasks are: their counts and the voxels answered, per class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nnactive_ext.geometry.patch import shared
from nnactive_ext.labelling.labels import count_voxels
from nnactive_ext.labelling.tasks import MARKED, Task
from nnactive_ext.words import natural

KINDS = ("open", "partial", "done")


def asked_for(task: Task) -> str:
    """The class that a task was chosen for, by a point that was marked or by its stratum; else ``random`` or ``all``."""
    return task.stratum.removeprefix(MARKED) or "all"


def in_order(names: Iterable[str], labels: Mapping[str, Any]) -> list[str]:
    """Names of strata and classes as rows of a table: the strata that are no class, by name, then the classes by their values.

    ``labels``: name -> value, or the values of a region. They may be those of today, and ``names`` hold others.
    """
    values = {name: value if isinstance(value, int) else max(value) for name, value in labels.items()}
    return sorted(names, key=lambda n: (values.get(n.removeprefix(MARKED), -1), n.startswith(MARKED), natural(n)))


def tasks_per_class(tasks: Iterable[Task], status: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """What tasks were chosen for -> how many of them are open, partial and done; ``status``: by the task's id."""
    found: dict[str, dict[str, int]] = {}
    for task in tasks:
        counts = found.setdefault(asked_for(task), dict.fromkeys(KINDS, 0))
        counts[status[task.id]] += 1
    return found


def voxels_per_class(labels: Mapping[Task, np.ndarray | None], names: Mapping[int, str], ignore: int) -> dict[int, dict]:
    """Cycle -> class -> voxels that the answers which count label so; ``names``: label value -> class.

    ``labels``: all tasks in order, with what counts for their patches. A voxel of several patches counts once, for the last
    that says something about it.
    """
    cases: dict[str, list[tuple[Task, np.ndarray]]] = {}
    for task, answer in labels.items():
        if answer is not None:
            cases.setdefault(task.patch.case, []).append((task, answer))
    found = {task.cycle: dict.fromkeys(names.values(), 0) for task in labels}
    for answered in cases.values():
        for number, (task, answer) in enumerate(answered):
            said = answer.copy()
            for later, other in answered[number + 1 :]:
                mine, theirs = shared(task.patch, later.patch)
                said[mine] = np.where(other[theirs] == ignore, said[mine], ignore)
            for value, voxels in count_voxels(said, ignore).items():
                found[task.cycle][names[value]] += voxels
    return found
