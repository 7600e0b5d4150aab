"""The starting budget: what is annotated before the first training, with a few patches of every class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.query_methods.base import PoolCase, Query, Request, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.random_patches import draw_around, draw_mixed, load_reference

EACH = 2
"""Patches that contain each class, at least."""

BACKGROUND = 0


def starting_budget(pool: Mapping[str, PoolCase], request: Request) -> Query:
    """``request.n`` patches, at least two with a voxel of each class and of the background, the others `random_fg_33`.

    The rarest class (by voxels in the pool) comes first: one patch for each, then the second (thesis 7.4.1, D.5).
    A patch drawn for one class counts for every class in it, annotated patches do not count. A patch is centred on a
    random voxel of the class in a random case that has it, and moved inside the image.

    A class without a voxel in the whole pool, and a case without reference, raise NnActiveError. Where ``n`` or the
    room in the pool do not suffice, a warning names the classes that have fewer than two.
    Every reference is read once to count voxels, and then again for each patch drawn in it; one is held at a time.
    """
    names = {BACKGROUND: "background", **request.foreground}
    voxels, cases = _count(pool, names)
    absent = [names[label] for label in request.foreground if voxels[label] == 0]
    if absent:
        raise NnActiveError(
            f"No case of the pool has a voxel of {', '.join(map(repr, absent))}. "
            "Check the reference labels and dataset.json; a class that nobody can annotate cannot be learned."
        )
    rarest_first = sorted((label for label in names if voxels[label]), key=lambda label: (voxels[label], label))

    occupied = Occupancy(pool)
    chosen: list[ScoredPatch] = []
    covered = dict.fromkeys(rarest_first, 0)
    for goal in range(1, EACH + 1):
        for label in rarest_first:
            if covered[label] >= goal or len(chosen) >= request.n:
                continue
            rng = request.rng(f"start/class {label}/{goal}")
            for name in rng.permutation(cases[label]).tolist():  # the first with room is uniform among those with room
                reference = load_reference(pool[name])
                patch = draw_around(occupied, name, reference, [label], False, rng)
                if patch is None:
                    continue
                occupied.take(patch)
                chosen.append(ScoredPatch(patch, 0.0, 0.0, names[label]))
                for other in np.unique(reference[patch.slices]).tolist():
                    if other in covered:
                        covered[other] += 1
                break

    short = [f"{names[label]} ({covered[label]})" for label in rarest_first if covered[label] < EACH]
    rest, warnings = draw_mixed(occupied, request, request.n - len(chosen), 0.33, "start/rest")
    if short:
        reason = "the starting budget is too small" if len(chosen) == request.n else "the pool has no room for more"
        warnings = (f"Fewer than {EACH} patches were drawn for: {', '.join(short)}; {reason}.", *warnings)
    patches = (*chosen, *rest)
    return Query(patches, request.n - len(patches), warnings)


def _count(pool: Mapping[str, PoolCase], labels: Mapping[int, str]) -> tuple[dict[int, int], dict[int, list[str]]]:
    """Voxels of each label in the pool, and the cases that have it."""
    voxels = dict.fromkeys(labels, 0)
    cases: dict[int, list[str]] = {label: [] for label in labels}
    for name in sorted(pool):
        reference = load_reference(pool[name])
        for label in labels:
            count = int(np.count_nonzero(reference == label))
            voxels[label] += count
            if count:
                cases[label].append(name)
    return voxels, cases
