"""How much each query asks again about voxels that were chosen before, and about which cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.geometry.patch import Patch, shared
from nnactive_ext.labelling.tasks import tasks_of


@dataclass(frozen=True)
class Overlap:
    """Of one loop file: ``patches`` in ``cases`` cases, ``new_cases`` of which no cycle before asked about; ``mean`` and
    ``highest`` share (0 to 1) of a patch's voxels that patches of earlier cycles cover (0 where there is no patch)."""

    cycle: int
    patches: int
    cases: int
    new_cases: int
    mean: float
    highest: float


def overlaps(experiment: Experiment) -> list[Overlap]:
    """Of every cycle with a loop file, in order; patches in dropped cases do not count."""
    found: list[Overlap] = []
    earlier: dict[str, list[Patch]] = {}
    for cycle in range(experiment.last_loop + 1):
        asked = by_case(task.patch for task in tasks_of(experiment, cycle))
        shares = [covered(patch, earlier.get(case, ())) for case, patches in asked.items() for patch in patches]
        found.append(
            Overlap(
                cycle=cycle,
                patches=len(shares),
                cases=len(asked),
                new_cases=len(asked.keys() - earlier.keys()),
                mean=float(np.mean(shares)) if shares else 0.0,
                highest=max(shares, default=0.0),
            )
        )
        earlier = {case: [*earlier.get(case, []), *asked.get(case, [])] for case in sorted({*earlier, *asked})}
    return found


def covered(patch: Patch, earlier: Iterable[Patch]) -> float:
    """The share of the voxels of ``patch`` that at least one of ``earlier`` has too.

    >>> covered(Patch("a", (0, 0, 0), (1, 1, 4)), [Patch("a", (0, 0, 2), (1, 1, 4)), Patch("b", (0, 0, 0), (9, 9, 9))])
    0.5
    """
    taken = np.zeros(patch.size, dtype=bool)
    for other in earlier:
        if patch.overlaps(other):
            taken[shared(patch, other)[0]] = True
    return float(taken.mean())
