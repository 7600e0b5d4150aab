"""How far the tasks are: their counts and the voxels answered, per class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nnactive_ext.geometry.near import Near
from nnactive_ext.geometry.patch import Patch, shared
from nnactive_ext.labelling.answers import Held
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


def voxels_per_class(held: Mapping[Task, Held | None], names: Mapping[int, str], ignore: int) -> dict[int, dict[str, int]]:
    """Cycle -> class -> voxels that the answers which count label so; ``names``: label value -> class.

    ``held``: all tasks in order, with what counts for their patches. A voxel of several patches counts once, for the last
    that says something about it.
    """
    found = {task.cycle: dict.fromkeys(names.values(), 0) for task in held}
    cases: dict[str, Near[Held]] = {}
    for task, answer in reversed(list(held.items())):
        if answer is None:
            continue
        later = cases.setdefault(task.patch.case, Near(task.patch.size))
        counts = _first(task, answer, later.overlapping(task.patch), ignore)
        later.add(task.patch, answer)
        for value, voxels in counts.items():
            if value != ignore:
                found[task.cycle][names[value]] += voxels
    return found


def _first(task: Task, answer: Held, later: Sequence[tuple[Patch, Held]], ignore: int) -> Mapping[int, int]:
    """Voxels of each label value, without those about which a ``later`` answer says something."""
    if not later:
        return answer.counts
    said = answer.read().copy()
    for patch, other in later:
        mine, theirs = shared(task.patch, patch)
        said[mine] = np.where(other.read()[theirs] == ignore, said[mine], ignore)
    return count_voxels(said, ignore)
