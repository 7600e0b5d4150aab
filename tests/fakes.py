"""A pool of random blobs with what an ensemble would say about it; no files, no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from nnactive_ext.experiment.loops import entry, loop_file, write_loop
from nnactive_ext.geometry.patch import Patch, Triple, clipped_size, triple
from nnactive_ext.query_methods import methods
from nnactive_ext.query_methods.base import (
    Content,
    Description,
    PoolCase,
    Query,
    RankedMethod,
    Ranking,
    Request,
    ScoredCase,
    Statistics,
)
from nnactive_ext.query_methods.described import with_vectors
from nnactive_ext.query_methods.precomputed import Precomputed
from nnactive_ext.querying.air import in_body

CLASSES = {1: "liver", 2: "tumour"}


def statistics(shape, classes: int = 2, seed: int = 0, members: int = 3, regions: bool = False) -> Statistics:
    """Smooth random members, so that entropy is spatially correlated as in real maps."""
    rng = np.random.default_rng(seed)
    channels = classes if regions else classes + 1
    logits = rng.normal(size=(members, channels, *shape))
    logits = np.stack([gaussian_filter(m, (0, 1, 1, 1)) for m in logits]) * 8
    energies = -np.log1p(np.exp(logits)).sum(axis=1) if regions else -np.log(np.exp(logits).sum(axis=1))
    stats = from_members(_sigmoid(logits) if regions else _softmax(logits), regions)
    return replace(stats, energy=energies.mean(axis=0).astype(np.float32))


def from_members(p: np.ndarray, regions: bool = False) -> Statistics:
    """Statistics of (members, channels, z, y, x) probabilities, the plain way."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = -np.where(p > 0, p * np.log(p), 0)
        if regions:
            terms -= np.where(p < 1, (1 - p) * np.log1p(-p), 0)
    says = p > 0.5 if regions else p == p.max(axis=1, keepdims=True)
    predicted = frozenset(np.flatnonzero(says.any(axis=(0, 2, 3, 4))).tolist())
    return Statistics(
        p.mean(axis=0).astype(np.float32),
        terms.sum(axis=1).mean(axis=0).astype(np.float32),
        predicted,
        regions,
    )


def blobs(shape, labels: Iterable[int] = (1, 2), seed: int = 0, share: float = 0.12) -> np.ndarray:
    """A reference label map with a blob or several of each label."""
    rng = np.random.default_rng(seed)
    reference = np.zeros(shape, dtype=np.int16)
    for label in labels:
        smooth = gaussian_filter(rng.normal(size=shape), 1.5)
        reference[smooth >= np.quantile(smooth, 1 - share)] = label
    return reference


@dataclass
class World:
    """Cases by name: reference, statistics and annotated patches, and the query patch size."""

    size: Triple
    references: dict[str, np.ndarray]
    statistics: dict[str, Statistics]
    annotated: dict[str, list[Patch]] = field(default_factory=dict)
    loads: list[str] = field(default_factory=list)
    """Every reference that was read, in order."""

    def pool(self, order: Iterable[str] | None = None) -> dict[str, PoolCase]:
        return {name: self._pool_case(name) for name in order or self.references}

    def scored(self, name: str) -> ScoredCase:
        case = self._pool_case(name)
        labelled = [self._content(name, patch) for patch in case.annotated]
        return ScoredCase(name, self.statistics[name], case.patch_size, case.annotated, labelled=labelled)

    def _content(self, name: str, patch: Patch) -> Content:
        here = self.references[name][patch.slices]
        voxels = [int((here == label).sum()) for label in (1, 2)]
        return Content(voxels, sum(voxels), here.size)

    def _pool_case(self, name: str) -> PoolCase:
        reference = self.references[name]

        def load() -> np.ndarray:
            self.loads.append(name)
            return reference

        shape = triple(reference.shape)
        return PoolCase(name, shape, clipped_size(self.size, shape), tuple(self.annotated.get(name, ())), load)


def world(cases: int = 4, shape=(12, 16, 14), size=(4, 5, 6), seed: int = 0) -> World:
    names = [f"case_{i}" for i in range(cases)]
    return World(
        triple(size),
        {name: blobs(shape, seed=seed + i) for i, name in enumerate(names)},
        {name: statistics(shape, seed=seed + i) for i, name in enumerate(names)},
    )


def run(method, world: World, request: Request, order: Iterable[str] | None = None) -> Query:
    """The query of any method, ranking the cases in the given order.

    What `precomputed` replays is recorded in its folder first: the same request, answered by `random`.
    """
    pool = world.pool(order)
    if isinstance(method, Precomputed):
        recorded = run(methods.get("random"), world, request, order)
        entries = [entry(choice.patch, ".nii.gz") for choice in recorded.patches]
        write_loop(loop_file(Path(method.source), request.cycle + 1), entries, {})
    if isinstance(method, RankedMethod):
        rankings = {name: ranked(method, world, name, request) for name in pool}
        if getattr(method, "needs_earned", False):  # of the first class half, of the last nothing is known
            request = replace(request, earned={min(request.classes): 0.5})
        return method.merge(rankings, pool, request)
    return method.draw(pool, request)


def ranked(method, world: World, name: str, request: Request, open: np.ndarray | None = None) -> Ranking:
    """The ranking of a case, with made-up descriptors where the method compares patches; ``open``: windows that are no air."""
    case = replace(world.scored(name), open=open)
    ranking = in_body(method.rank(case, request), open)
    description = getattr(method, "describe", None)
    if description is None:
        return ranking
    boxes = [*(candidate.patch for candidate in ranking.candidates), *case.annotated]
    return with_vectors(ranking, *described(case.statistics, boxes, description))


def described(statistics: Statistics, boxes: list[Patch], description: Description) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Descriptors that depend on nothing but the statistics inside a box: means and deviations of the probabilities."""
    sections = (3, 2, 4, 2)[: description.layers] if description.features == "layers" else (5,)
    vectors = np.zeros((len(boxes), sum(sections)), np.float32)
    for row, box in enumerate(boxes):
        p = statistics.mean[(slice(None), *box.slices)]
        vectors[row] = np.resize(np.concatenate([p.mean(axis=(1, 2, 3)), p.std(axis=(1, 2, 3))]), vectors.shape[1])
    return vectors, np.ones(len(boxes), bool), sections


def disjoint(patches: Iterable[Patch]) -> bool:
    patches = list(patches)
    return not any(patch.overlaps_any(patches[:i]) for i, patch in enumerate(patches))


def apart(patches: Iterable[Patch], overlap: float = 0.0) -> bool:
    """Whether each patch is covered by those before it, all of its case, by at most the allowed share of its voxels."""
    taken: dict[str, set[tuple[int, ...]]] = {}
    for patch in patches:
        voxels = {tuple(v) for v in (np.argwhere(np.ones(patch.size)) + patch.start).tolist()}
        before = taken.setdefault(patch.case, set())
        if len(voxels & before) > overlap * len(voxels) + 1e-9:
            return False
        before |= voxels
    return True


def patches_of(query: Query) -> list[Patch]:
    return [choice.patch for choice in query.patches]


def room(world: World, taken: Mapping[str, list[Patch]]) -> int:
    """Free windows in the pool, by trying each one."""
    free = 0
    for name, case in world.pool().items():
        for start in np.ndindex(*(n - s + 1 for n, s in zip(case.shape, case.patch_size, strict=True))):
            free += not Patch(name, triple(start), case.patch_size).overlaps_any(taken.get(name, []))
    return free


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def shown_methods(folder: Path) -> Path:
    """The file that docs/methods.md shows how to write, written to ``folder``."""
    page = (Path(__file__).parent.parent / "docs" / "methods.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n# my_methods\.py\n(.*?)```", page, re.DOTALL)
    file = folder / "my_methods.py"
    file.write_text(block, encoding="utf-8")
    return file
