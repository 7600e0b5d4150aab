"""Where in the images, and so roughly where in the body, the queried patches lie, and how much they repeat earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.experiment.experiment import Experiment
from nnactive_ext.experiment.loops import by_case
from nnactive_ext.experiment.spaces import space_of
from nnactive_ext.geometry.axes import Canonical
from nnactive_ext.geometry.patch import Patch, shared
from nnactive_ext.geometry.space import Space
from nnactive_ext.labelling.tasks import all_tasks, tasks_of

AXES = ("right_left", "front_back", "head_foot")
BINS = 10
"""Of a histogram, along the whole image."""


@dataclass(frozen=True)
class Place:
    """The centre of a patch as shares of its case's image: 0 at the patient's right, front or head end of the image, 1 at the
    left, back or foot end. Of an oblique image its own axes are taken, each as the nearest of the patient's."""

    cycle: int
    case: str
    stratum: str
    right_left: float
    front_back: float
    head_foot: float


@dataclass(frozen=True)
class Places:
    """``patches``: of all cycles, in the order in which they were chosen. ``histograms``: axis (of :data:`AXES`) -> cycle ->
    patches in each of :data:`BINS` equal bins. ``unknown``: cases whose image cannot be read, so that their patches are in
    neither."""

    patches: tuple[Place, ...]
    histograms: Mapping[str, Mapping[int, tuple[int, ...]]]
    unknown: tuple[str, ...]


def places(experiment: Experiment) -> Places:
    """Of every loop file there is, the last one's even if nobody has answered it yet."""
    tasks = all_tasks(experiment)
    turns: dict[str, Canonical] = {}
    unknown = []
    for case in sorted({task.patch.case for task in tasks}):
        try:
            turns[case] = Canonical.of(space_of(experiment, case))
        except NnActiveError:
            unknown.append(case)
    found = tuple(
        Place(task.cycle, task.patch.case, task.stratum, *_shares(turns[task.patch.case], task.patch))
        for task in tasks
        if task.patch.case in turns
    )
    return Places(found, {axis: _histogram(found, axis) for axis in AXES}, tuple(unknown))


def place_in(space: Space, patch: Patch) -> tuple[float, float, float]:
    """The shares of :class:`Place`, in the order of :data:`AXES`."""
    return _shares(Canonical.of(space), patch)


def _shares(turn: Canonical, patch: Patch) -> tuple[float, float, float]:
    box = turn.box(patch)
    head, front, right = (
        (start + size / 2) / turn.space.shape[axis] for start, size, axis in zip(box.start, box.size, turn.axes, strict=True)
    )
    return right, front, head


def _histogram(found: tuple[Place, ...], axis: str) -> dict[int, tuple[int, ...]]:
    counts = {}
    for cycle in sorted({place.cycle for place in found}):
        values = [getattr(place, axis) for place in found if place.cycle == cycle]
        counts[cycle] = tuple(np.histogram(values, BINS, (0, 1))[0].tolist())
    return counts


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
