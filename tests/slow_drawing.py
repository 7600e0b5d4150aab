"""The starting budget drawn slowly: every draw reads the whole reference and looks at a map of the whole image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from nnactive_ext.engine import free_starts
from nnactive_ext.geometry.patch import Patch, Triple, centred, triple
from nnactive_ext.query_methods.base import PoolCase, Request

Drawn = tuple[Patch, str]
"""A patch and its stratum."""


@dataclass
class Slow:
    """The pool, what is taken in it, and what was asked for."""

    pool: Mapping[str, PoolCase]
    request: Request
    share: float
    drawn: list[Drawn] = field(default_factory=list)

    def starting_budget(self) -> list[Drawn]:
        """As :func:`nnactive_ext.query_methods.starting_budget.starting_budget`."""
        names = {0: "background", **self.request.foreground}
        voxels = {
            label: {name: n for name in sorted(self.pool) if (n := int((self.labels(name) == label).sum()))} for label in names
        }
        rarest_first = sorted(
            (label for label in names if voxels[label]), key=lambda label: (sum(voxels[label].values()), label)
        )
        remnants = {label: self.remnants(voxels[label]) for label in rarest_first}
        covered = dict.fromkeys(rarest_first, 0)
        for goal in (1, 2):
            for label in rarest_first:
                if covered[label] >= goal or len(self.drawn) >= self.request.n:
                    continue
                rng = self.request.rng(f"start/class {label}/{goal}")
                cases = sorted(rng.permutation(list(voxels[label])).tolist(), key=lambda name: name in remnants[label])
                first = None
                for patch in self.around(cases, label, rng):
                    if patch.case not in remnants[label] and self.holds(patch, label):
                        break
                    first = first or patch
                else:
                    if first is None:
                        continue
                    patch = first
                self.drawn.append((patch, names[label]))
                for other in np.unique(self.labels(patch.case)[patch.slices]).tolist():
                    if other in covered and patch.case not in remnants[other] and self.holds(patch, other):
                        covered[other] += 1
        return self.mixed(self.request.n - len(self.drawn), 0.33, "start/rest")

    def mixed(self, n: int, foreground: float, purpose: str) -> list[Drawn]:
        """All that is drawn, after ``n`` more of which a share is around foreground."""
        wanted, before = round(foreground * n), len(self.drawn)
        self.foreground(wanted, purpose)
        left, rng = n - (len(self.drawn) - before), self.request.rng(f"{purpose}/uniform")
        names = sorted(self.pool)
        while names and left:
            name = names[rng.integers(len(names))]
            start = pick(self.free(name), rng)
            if start is None:
                names.remove(name)
                continue
            self.drawn.append((Patch(name, start, self.pool[name].patch_size), "random"))
            left -= 1
        return self.drawn

    def foreground(self, n: int, purpose: str) -> None:
        kinds = ["foreground"] * (n - n // 2) + ["border"] * (n // 2)
        open_cases = {kind: sorted(self.pool) for kind in ("foreground", "border")}
        found: dict[int, Drawn] = {}
        waiting, rounds, before = list(range(n)), 0, list(self.drawn)
        while waiting:
            rng = self.request.rng(f"{purpose}/cases/{rounds}")
            by_case: dict[str, list[int]] = {}
            for i in waiting:
                if not open_cases[kinds[i]]:
                    kinds[i] = "foreground"
                if names := open_cases[kinds[i]]:
                    by_case.setdefault(names[rng.integers(len(names))], []).append(i)
            waiting = []
            for name, indices in sorted(by_case.items()):
                rng = self.request.rng(f"{purpose}/voxels/{rounds}", name)
                for i in indices:
                    patch = None
                    if name in open_cases[kinds[i]]:
                        patch = self.one_around(name, self.request.foreground, kinds[i] == "border", rng)
                        if patch is None:
                            open_cases[kinds[i]].remove(name)
                    if patch is None:
                        waiting.append(i)
                    else:
                        found[i] = (patch, kinds[i])
                        self.drawn = [*before, *found.values()]
            waiting.sort()
            rounds += 1
        self.drawn = [*before, *(found[i] for i in sorted(found))]

    def labels(self, name: str) -> np.ndarray:
        load = self.pool[name].load_reference
        assert load is not None
        return load()

    def free(self, name: str) -> np.ndarray:
        taken = [*self.pool[name].annotated, *(patch for patch, _ in self.drawn if patch.case == name)]
        return free_starts(self.pool[name].shape, triple(self.pool[name].patch_size), [(p.start, p.size) for p in taken])

    def centres(self, name: str) -> np.ndarray:
        margins = [(s // 2, s - 1 - s // 2) for s in self.pool[name].patch_size]
        return np.pad(self.free(name), margins, mode="edge")

    def one_around(self, name: str, labels: Iterable[int], border: bool, rng: np.random.Generator) -> Patch | None:
        centres = self.centres(name)
        if not centres.any():
            return None
        for label in rng.permutation(sorted(labels)):
            voxels = self.labels(name) == label
            if border:
                voxels = voxels & ~ndimage.binary_erosion(voxels)
            centre = pick(voxels & centres, rng)
            if centre is not None:
                return centred(name, centre, self.pool[name].patch_size, self.pool[name].shape)
        return None

    def around(self, cases: list[str], label: int, rng: np.random.Generator) -> Iterator[Patch]:
        for name in cases:
            for _ in range(3 if self.share else 1):
                patch = self.one_around(name, [label], False, rng)
                if patch is None:
                    break
                yield patch
            else:
                size = self.pool[name].patch_size
                if label and (centre := self.deepest(name, label, size)):
                    yield centred(name, centre, size, self.pool[name].shape)

    def deepest(self, name: str, label: int, size: Triple) -> Triple | None:
        component = largest(self.labels(name) == label)
        padded = ndimage.distance_transform_edt(np.pad(component, 1), sampling=[1 / n for n in size])
        depth = np.where(self.centres(name), padded[1:-1, 1:-1, 1:-1], 0)
        return triple(np.unravel_index(int(np.argmax(depth)), depth.shape)) if depth.any() else None

    def holds(self, patch: Patch, label: int) -> bool:
        labels = self.labels(patch.case)
        inside = int((labels[patch.slices] == label).sum())
        if inside == 0 or inside >= self.share * patch.voxels:
            return inside > 0
        return label != 0 and inside >= self.share * int(largest(labels == label).sum())

    def remnants(self, voxels: Mapping[str, int]) -> set[str]:
        patches = {name: count / np.prod(self.pool[name].patch_size) for name, count in voxels.items()}
        least = self.share * float(np.quantile(list(patches.values()), 0.75))
        return {name for name, amount in patches.items() if amount < least}


def largest(mask: np.ndarray) -> np.ndarray:
    components, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return components == np.argmax(np.bincount(components.ravel())[1:]) + 1


def pick(mask: np.ndarray, rng: np.random.Generator) -> Triple | None:
    places = np.argwhere(mask)
    return triple(places[rng.integers(len(places))]) if len(places) else None
