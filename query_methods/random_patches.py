"""Random patches, and random patches around foreground, as a person looking for a structure would place them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from nnactive_ext.geometry.patch import Patch, centred, triple
from nnactive_ext.query_methods.base import PoolCase, Query, Request, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy, draw_true
from nnactive_ext.query_methods.references import Reference, References


@dataclass(frozen=True)
class RandomPatches:
    """A drawn method: round(``foreground`` n) patches around foreground, the rest uniform (thesis 7.3).

    Of the foreground patches half (the larger half) are centred on a random voxel of a class, half on a random voxel of
    its border. See :func:`draw_foreground` and :func:`draw_uniform`. Halves are rounded to even.
    """

    name: str
    foreground: float = 0.0
    cite: str = field(default="", compare=False)

    @property
    def needs_reference(self) -> bool:
        return self.foreground > 0

    @property
    def words(self) -> str:
        uniform = "uniform over cases, then over the free positions of one"
        if not self.foreground:
            return f"{uniform.capitalize()}."
        return (
            f"{self.foreground:.0%} of the patches around foreground: uniform over cases, then over the classes in one, "
            "then half of them centred on a voxel of the class and half on a voxel of its border. The others: " + uniform + "."
        )

    def draw(self, pool: Mapping[str, PoolCase], request: Request) -> Query:
        patches, warnings = draw_mixed(Occupancy(pool), request, request.n, self.foreground, "random")
        return Query(patches, request.n - len(patches), warnings)


def draw_mixed(
    occupied: Occupancy, request: Request, n: int, foreground: float, purpose: str, references: References | None = None
) -> tuple[tuple[ScoredPatch, ...], tuple[str, ...]]:
    """Up to ``n`` patches, exactly round(``foreground`` n) of them around foreground where that is possible; warnings.

    What cannot be placed around foreground is drawn uniformly; what then finds no free window is left out.
    Every patch returned has been taken in ``occupied``. ``references``: those that were read already.
    """
    warnings = []
    wanted = round(foreground * n)
    patches = draw_foreground(occupied, request, wanted, purpose, references)
    if len(patches) < wanted:
        warnings.append(
            f"{wanted - len(patches)} of {wanted} foreground patches are drawn anywhere instead: around every "
            "foreground voxel of the pool something is annotated or chosen already, or there is no foreground."
        )
    patches += draw_uniform(occupied, n - len(patches), request.rng(f"{purpose}/uniform"))
    if len(patches) < n:
        warnings.append(
            f"{n - len(patches)} of {n} patches are missing: no case of the pool has room for another patch that "
            "overlaps nothing annotated or chosen."
        )
    return tuple(patches), tuple(warnings)


def draw_uniform(occupied: Occupancy, n: int, rng: np.random.Generator) -> list[ScoredPatch]:
    """Up to ``n`` patches: a case uniformly among those with a free window, then one of its free windows uniformly."""
    names = sorted(occupied.pool)
    drawn: list[ScoredPatch] = []
    while names and len(drawn) < n:
        name = names[rng.integers(len(names))]
        start = occupied.draw_start(name, rng)
        if start is None:  # drawing again among the others is uniform over the cases with a free window
            names.remove(name)
            continue
        drawn.append(_take(occupied, Patch(name, start, occupied.patch_size(name)), "random"))
    return drawn


def draw_foreground(
    occupied: Occupancy, request: Request, n: int, purpose: str, references: References | None = None
) -> list[ScoredPatch]:
    """Up to ``n`` patches around foreground, the first ceil(n / 2) on a voxel of a class, the others on its border.

    Each draws a case uniformly, then a class of ``request.foreground`` uniformly, then a voxel uniformly; the patch is
    centred on it and moved inside the image. Only voxels whose patch is free count, so cases and classes without any
    are passed over. A border patch for which no border is left anywhere becomes one on a voxel of a class.

    Cases are drawn in rounds, first for all patches, then again for those that found no voxel in theirs. A reference is read
    once, when a patch is first drawn in its case. NnActiveError where a case has no reference.
    """
    references = references or References(occupied.pool)
    kinds = ["foreground"] * (n - n // 2) + ["border"] * (n // 2)
    open_cases = {kind: sorted(occupied.pool) for kind in ("foreground", "border")}
    drawn: dict[int, ScoredPatch] = {}
    waiting = list(range(n))
    rounds = 0
    while waiting:
        rng = request.rng(f"{purpose}/cases/{rounds}")
        by_case: dict[str, list[int]] = {}
        for i in waiting:
            if not open_cases[kinds[i]]:
                kinds[i] = "foreground"
            if names := open_cases[kinds[i]]:
                by_case.setdefault(names[rng.integers(len(names))], []).append(i)

        waiting = []
        for name, indices in sorted(by_case.items()):
            reference = references[name]
            rng = request.rng(f"{purpose}/voxels/{rounds}", name)
            for i in indices:
                kind = kinds[i]
                patch = None
                if name in open_cases[kind]:
                    patch = draw_around(occupied, name, reference, request.foreground, kind == "border", rng)
                    if patch is None:
                        open_cases[kind].remove(name)
                if patch is None:
                    waiting.append(i)
                else:
                    drawn[i] = _take(occupied, patch, kind)
        waiting.sort()
        rounds += 1
    return [drawn[i] for i in sorted(drawn)]


def draw_around(
    occupied: Occupancy,
    name: str,
    reference: Reference,
    labels: Iterable[int],
    border: bool,
    rng: np.random.Generator,
) -> Patch | None:
    """A free patch of the case around a random voxel of a random one of ``labels``, or of its border.

    Uniform over the labels that have a voxel whose patch is free, then over these voxels; None if there is none.
    """
    if not occupied.has_room(name):
        return None
    for label in rng.permutation(sorted(labels)).tolist():  # the first that has a voxel is uniform among those that do
        if label not in reference.boxes:
            continue
        box = reference.boxes[label]  # structures are much smaller than images
        voxels = reference.labels(box) == label
        if border:
            voxels = border_of(voxels)
        voxels &= occupied.free_centres(name, box)
        centre = draw_true(voxels, rng)
        if centre is not None:
            centre = triple([i + s.start for i, s in zip(centre, box, strict=True)])
            return centred(name, centre, occupied.patch_size(name), occupied.pool[name].shape)
    return None


def border_of(voxels: np.ndarray) -> np.ndarray:
    """The voxels that one erosion (six neighbours) removes; those at the edge of the array are among them."""
    inside = voxels.copy()
    for axis in range(voxels.ndim):
        one, other = np.moveaxis(voxels, axis, 0), np.moveaxis(inside, axis, 0)
        other[1:] &= one[:-1]
        other[:-1] &= one[1:]
        other[[0, -1]] = False
    return voxels & ~inside


def _take(occupied: Occupancy, patch: Patch, stratum: str) -> ScoredPatch:
    occupied.take(patch)
    return ScoredPatch(patch, 0.0, 0.0, stratum)
