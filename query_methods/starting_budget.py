"""The starting budget: what is annotated before the first training, with a few patches of every class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, centred
from nnactive_ext.query_methods.base import PoolCase, Query, Request, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.random_patches import draw_around, draw_mixed
from nnactive_ext.query_methods.references import Reference, References
from nnactive_ext.query_methods.structure_share import BACKGROUND, LEAST_SHARE, deepest, holds

EACH = 2
"""Patches that count for each class, at least."""
PUBLISHED_SHARE = 0.0
"""With it a class counts with one voxel, as in the published protocol."""
_USUAL = 0.75
"""Quantile over the cases: a usual case is whole even where the field of view cuts the structure in half of the cases."""
DRAWS = 3
"""Random voxels of a class that are tried in a case before its deepest one."""


def starting_budget(
    pool: Mapping[str, PoolCase],
    request: Request,
    share: float = LEAST_SHARE,
    processes: int = 1,
    progress: bool = False,
) -> Query:
    """``request.n`` patches, at least two that count for each class and for the background, the others `random_fg_33`.

    The rarest class (by voxels in the pool) comes first: one patch for each, then the second (thesis 7.4.1, D.5).
    A patch drawn for one class counts for every class of which it holds enough (:func:`structure_share.holds`), annotated
    patches do not count. A patch is centred on a random voxel of the class in a random case that has it, and moved inside the
    image. If after a few draws none holds enough, it is centred on the deepest voxel of the class's largest component.
    Cases with a remnant of the class, less than ``share`` of what a usual case has, come last and do not count. Where no free
    patch of the pool holds enough, the first one that was drawn is taken.

    Args:
        pool: cases with references.
        request: how many patches, and the classes.
        share: of its structure or of the patch that a class needs to count (:data:`PUBLISHED_SHARE`: one voxel is enough, and
            the draws are those of the published protocol).
        processes: how many references are read at a time; with several, ``load_reference`` must be picklable.
        progress: show a progress bar.

    Returns:
        The patches. Where ``n`` or the room in the pool do not suffice, a warning names the classes that have fewer than two.

    Raises:
        NnActiveError: a class has no voxel in the whole pool, or a case has no reference.

    Every reference is read once and kept compressed, so that a patch costs as much as its structure has voxels, not as its
    image has.
    """
    names = {BACKGROUND: "background", **request.foreground}
    references = References(pool)
    references.read(processes, progress)
    voxels = _count(references, names)
    absent = [names[label] for label in request.foreground if not voxels[label]]
    if absent:
        raise NnActiveError(
            f"No case of the pool has a voxel of {', '.join(map(repr, absent))}. "
            "Check the reference labels and dataset.json; a class that nobody can annotate cannot be learned."
        )
    rarest_first = sorted((label for label in names if voxels[label]), key=lambda label: (sum(voxels[label].values()), label))
    remnants = {label: _remnants(pool, voxels[label], share) for label in rarest_first}

    occupied = Occupancy(pool)
    chosen: list[ScoredPatch] = []
    covered = dict.fromkeys(rarest_first, 0)
    too_little: set[int] = set()
    for goal in range(1, EACH + 1):
        for label in rarest_first:
            if covered[label] >= goal or len(chosen) >= request.n:
                continue
            rng = request.rng(f"start/class {label}/{goal}")
            # The first with room is uniform among those with room.
            cases = sorted(rng.permutation(list(voxels[label])).tolist(), key=lambda name: name in remnants[label])
            first = None
            for patch, reference in _around(occupied, references, cases, label, DRAWS if share else 1, rng):
                if enough := patch.case not in remnants[label] and holds(reference, patch, label, share):
                    break
                first = first or (patch, reference)
            else:
                enough = False
                if first is None:
                    continue
                patch, reference = first
            if not enough:
                too_little.add(label)
            occupied.take(patch)
            chosen.append(ScoredPatch(patch, 0.0, 0.0, names[label]))
            for other in np.unique(reference.labels(patch.slices)).tolist():
                if other in covered and patch.case not in remnants[other] and holds(reference, patch, other, share):
                    covered[other] += 1

    rest, warnings = draw_mixed(occupied, request, request.n - len(chosen), 0.33, "start/rest", references)
    short = {label: f"{names[label]} ({covered[label]})" for label in rarest_first if covered[label] < EACH}
    if short:
        reason = "the starting budget is too small" if len(chosen) == request.n else "the pool has no room for more"
        if too_little >= set(short):
            reason = f"no free patch of the pool holds {share:.0%} of its largest component or is filled by it to {share:.0%}"
        warnings = (f"Fewer than {EACH} patches were drawn for: {', '.join(short.values())}; {reason}.", *warnings)
    patches = (*chosen, *rest)
    return Query(patches, request.n - len(patches), warnings)


def _around(
    occupied: Occupancy, references: References, cases: list[str], label: int, draws: int, rng: np.random.Generator
) -> Iterator[tuple[Patch, Reference]]:
    """Free patches around a class with the reference of their case: in each case some around random voxels, then one around
    the deepest voxel."""
    for name in cases:
        reference = references[name]
        for _ in range(draws):
            patch = draw_around(occupied, name, reference, [label], False, rng)
            if patch is None:
                break
            yield patch, reference
        else:
            if label != BACKGROUND:
                size = occupied.patch_size(name)
                centre = deepest(reference, label, partial(occupied.free_centres, name), size)
                if centre is not None:
                    yield centred(name, centre, size, occupied.pool[name].shape), reference


def _count(references: References, labels: Mapping[int, str]) -> dict[int, dict[str, int]]:
    """Voxels of each label in the cases that have it."""
    found = {name: references[name].voxels for name in sorted(references.pool)}
    return {label: {name: voxels[label] for name, voxels in found.items() if label in voxels} for label in labels}


def _remnants(pool: Mapping[str, PoolCase], voxels: Mapping[str, int], share: float) -> set[str]:
    """The cases that have less than ``share`` of what a usual case has of a class, counted in query patches, because spacings
    differ; the field of view has cut the structure there."""
    patches = {name: count / np.prod(pool[name].patch_size) for name, count in voxels.items()}
    least = share * float(np.quantile(list(patches.values()), _USUAL))
    return {name for name, amount in patches.items() if amount < least}
