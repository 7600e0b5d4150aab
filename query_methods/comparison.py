"""The methods that compare patches: candidates of each case, their descriptors, and a choice among those of all cases."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import threadpool_limits

from nnactive_ext.engine import box_means, select
from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, Triple, clipped_size, triple
from nnactive_ext.query_methods.base import (
    Content,
    Described,
    Description,
    PoolCase,
    Query,
    Ranking,
    Request,
    ScoredCase,
    ScoredPatch,
    Statistics,
)
from nnactive_ext.query_methods.choices import Choice, Compared
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.scores import Score, check, energy, predictive_entropy
from nnactive_ext.query_methods.selection import REST, completed, fill
from nnactive_ext.query_methods.words import words
from nnactive_ext.selection import SelectionWarning, normalised

FOREGROUND = "foreground"
NORMALISE = ("none", "unit", "standard")
FEWEST, MOST = 10, 200
"""Candidates of a case, unless the method says how many: four times the query over all cases, within these limits."""
UNIFORM = "random"
"""The stratum of candidates that are drawn uniformly."""

Vectors = Callable[[str, Sequence[Patch]], tuple[np.ndarray, np.ndarray]]
"""Case and boxes of its image -> their descriptors, float32 (boxes, D), and whether there is one, bool (boxes,)."""


@dataclass(frozen=True)
class Comparison:
    """A described method: ``choice`` chooses by the descriptors of the candidates of all cases, and of annotated patches.

    ``candidates``: of each case (None: see :data:`FEWEST`). The share ``uniform`` of them is drawn uniformly. The others come
    best first ``by`` the patch mean of a voxel score, or by ``foreground``: drawn with probability proportional to the patch
    mean of 1 - p_background (for regions, of the largest p_r), as geometry alone would look for what is unlike everything: air
    and tables. ``features``: see :class:`Description`. ``normalise``: none, unit or standard
    (:func:`nnactive_ext.selection.normalised`). ``labelled``: whether annotated patches count. ``overlap``: the share of a
    patch's voxels that annotated and other chosen patches may cover.

    ``cite`` says where the method comes from. Values that do not go together raise ValueError.
    """

    name: str
    choice: Choice
    by: Score | str
    features: str = "encoder"
    normalise: str = "none"
    labelled: bool = True
    candidates: int | None = None
    uniform: float = 0.2
    overlap: float = 0.0
    cite: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not (0 <= self.uniform <= 1 and 0 <= self.overlap < 1 and (self.candidates is None or self.candidates >= 1)):
            raise ValueError(
                "expected uniform from 0 to 1, overlap of at least 0 and below 1 and at least 1 candidate, not "
                f"{self.uniform}, {self.overlap} and {self.candidates}"
            )
        if self.normalise not in NORMALISE:
            raise ValueError(f"expected normalise to be one of {', '.join(NORMALISE)}, not {self.normalise!r}")
        if isinstance(self.by, str) and self.by != FOREGROUND:
            raise ValueError(f"expected by to be {FOREGROUND} or a voxel score, not {self.by!r}")
        if self.choice.labelled not in (None, self.labelled):
            does = "compares with annotated patches" if self.choice.labelled else "does not compare with annotated patches"
            raise ValueError(f"{self.name} {does}; leave labelled out")
        if self.choice.features not in ("", self.features) or (self.features == "layers" and not self.choice.features):
            needs = "activations and gradients of several layers" if self.choice.features else "one vector of a patch"
            raise ValueError(f"{self.name} compares {needs}; features={self.features} cannot be set")
        if self.choice.features and self.normalise != "none":
            raise ValueError(f"{self.name} brings vectors to one scale by its steepness; normalise cannot be set")
        assert self.describe  # which says what features there are

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def describe(self) -> Description:
        return Description(self.features, getattr(self.choice, "layers", Description.layers))

    @property
    def needs_members(self) -> bool:
        """Whether it cannot choose before anything is trained."""
        return not self.describe.folder

    @property
    def words(self) -> str:
        by = "the foreground predicted in them" if self.by == FOREGROUND else words(self.by)
        features = {"gradient": "gradient of the last layer", "layers": "activations x gradients of several layers"}
        sentences = [f"Patch vector: {features.get(self.features, self.features)}."]
        if self.normalise != "none":
            sentences.append({"unit": "Scaled to length 1.", "standard": "Each dimension divided by its sd."}[self.normalise])
        sentences += [f"Choice: {words(self.choice)}.", f"Candidates: {self.uniform:.0%} uniform, the others by {by}."]
        return " ".join(sentences)

    def rank(self, case: ScoredCase, request: Request) -> Ranking:
        """The candidates of one case: disjoint, free of annotated patches, and open; those by score come first.

        Draws are of each case and cycle of its own. NaN in the statistics is an NnActiveError.
        """
        check(case)
        size = clipped_size(case.patch_size, case.shape)
        number = self._number(request)
        blocked = [(patch.start, patch.size) for patch in case.annotated]
        scores = box_means(self._voxel_map(case.statistics), size)
        by_score, beta = number - round(self.uniform * number), None
        if self.by == FOREGROUND:
            beta = 1.0
            if not case.statistics.predicted & frozenset(request.classes):
                by_score = 0
        rng = request.rng("candidates/score", case.name)
        first = select(scores, size, by_score, blocked=blocked, allowed=case.open, beta=beta, rng=rng, overlap=self.overlap)
        found = [ScoredPatch(Patch(case.name, start, size), score, key, REST) for start, score, key in first]
        blocked += [(start, size) for start, _, _ in first]
        rng = request.rng("candidates/uniform", case.name)
        for start, _, key in _uniform(scores.shape, size, number - by_score, blocked, case.open, rng, self.overlap):
            found.append(ScoredPatch(Patch(case.name, start, size), float(scores[start]), key, UNIFORM))
        return Ranking(
            tuple(found), case.statistics.predicted & frozenset(request.classes), self._described(case, found, request)
        )

    def merge(self, rankings: Mapping[str, Ranking], pool: Mapping[str, PoolCase], request: Request) -> Query:
        """The choice among the candidates of all cases, in their order; gaps as in :func:`selection.completed`.

        A candidate that overlaps, on the image's voxels, what is annotated or chosen before is passed over. The result depends
        on the order of neither mapping. Descriptors with NaN are an NnActiveError that names the case.
        """
        if strangers := sorted(set(rankings) - set(pool)):
            raise ValueError(f"rankings of cases that are not in the pool: {', '.join(strangers)}")
        candidates, compared = self._compared(rankings, Occupancy(pool, self.overlap), request)
        occupied = Occupancy(pool, self.overlap)
        chosen: list[ScoredPatch] = []
        told: list[str] = []
        n = min(request.n, len(candidates))
        while n:
            occupied, (chosen, told) = Occupancy(pool, self.overlap), self._choose(candidates, compared, n, request)
            chosen = fill(chosen, request.n, occupied)
            if len(chosen) == request.n or n == len(candidates):
                break
            n = min(len(candidates), n + 2 * (request.n - len(chosen)))  # of those chosen, some overlapped
        dropped = sum(ranking.described.dropped for ranking in rankings.values() if ranking.described)
        if dropped:
            told.append(
                f"{dropped} candidates are left out: no descriptor in {self.describe.folder} is of a patch that touches them."
            )
        return completed(chosen, occupied, request, told)

    def start(self, pool: Mapping[str, PoolCase], request: Request, vectors: Vectors) -> Query:
        """The first patches of all, before any member is trained: all candidates are drawn uniformly, and none has a class.

        Args:
            pool: the cases.
            request: how many patches.
            vectors: the descriptors of boxes on the image's voxels.
        """
        occupied, number, rankings = Occupancy(pool, self.overlap), self._number(request), {}
        for name in pool:
            size, free = occupied.patch_size(name), occupied.free_starts(name)
            rng = request.rng("candidates/uniform", name)
            picks = _uniform(free.shape, size, number, (), free, rng, self.overlap)
            drawn = [ScoredPatch(Patch(name, start, size), 0.0, key, UNIFORM) for start, _, key in picks]
            n, m = len(drawn), len(pool[name].annotated)
            none = np.zeros(n + m, np.float32)
            unknown = none[:n].astype(int), none[n:].astype(int)
            described = Described(unknown, unknown[1] - 1, none[:n], (none[:n], none[n:]))
            boxes = [*(candidate.patch for candidate in drawn), *pool[name].annotated]
            rankings[name] = with_vectors(Ranking(tuple(drawn), frozenset(), described), *vectors(name, boxes))
        return self.merge(rankings, pool, request)

    def _number(self, request: Request) -> int:
        return self.candidates or min(MOST, max(FEWEST, math.ceil(4 * request.n / max(1, request.cases))))

    def _voxel_map(self, statistics: Statistics) -> np.ndarray:
        if not isinstance(self.by, str):
            return self.by(statistics)
        if statistics.regions:
            return np.clip(statistics.mean.max(axis=0), 0, 1, dtype=np.float32)
        return np.clip(1 - statistics.mean[0], 0, 1, dtype=np.float32)

    def _described(self, case: ScoredCase, found: Sequence[ScoredPatch], request: Request) -> Described:
        least = getattr(self.choice, "theta", 0.01)
        own, annotated = [candidate.patch for candidate in found], list(case.annotated)
        statistics, classes = case.statistics, sorted(request.classes)
        predicted = [_label(statistics, patch, classes, least) for patch in (*own, *annotated)]
        entropies = _means(predictive_entropy(statistics), own)
        energies = np.zeros(len(predicted), np.float32)
        if statistics.energy is not None:
            energies = _means(energy(statistics), [*own, *annotated])
        n, labelled = len(own), [content.label(least) for content in case.labelled] or [-1] * len(annotated)
        both = np.array(predicted, int)
        return Described((both[:n], both[n:]), np.array(labelled, int), entropies, (energies[:n], energies[n:]))

    def _compared(
        self, rankings: Mapping[str, Ranking], occupied: Occupancy, request: Request
    ) -> tuple[list[ScoredPatch], Compared]:
        """The candidates of all cases, sorted, without those that overlap what is annotated; and what is known of them."""
        candidates: list[ScoredPatch] = []
        parts: list[tuple[np.ndarray, ...]] = []
        sections: dict[tuple[int, ...], str] = {}
        for name in sorted(rankings):
            ranking, described = rankings[name].candidates, rankings[name].described
            if described is None or described.vectors is None:
                raise ValueError(f"the patches of {name} are not described")
            check_vectors(name, described)
            if not any(map(len, described.vectors)):
                continue
            sections.setdefault(described.sections, name)
            rows = sorted(range(len(ranking)), key=lambda row: ranking[row].patch)
            rows = [row for row in rows if not occupied.overlaps(ranking[row].patch)]
            candidates += [ranking[row] for row in rows]
            known = slice(None) if self.labelled else slice(0)
            of_candidates = described.vectors[0], described.predicted[0], described.entropy, described.energy[0]
            of_annotated = described.vectors[1], described.predicted[1], described.labelled, described.energy[1]
            parts.append((*(values[rows] for values in of_candidates), *(values[known] for values in of_annotated)))
        if len(sections) > 1:
            (one, first), (other, second), *_ = sections.items()
            raise NnActiveError(
                f"The descriptors of {first} have {sum(one)} dimensions and those of {second} have {sum(other)}. Delete "
                "the candidates of the cycle, or correct the files in FOLDER of features=file:FOLDER."
            )
        if not parts:
            empty, none = np.zeros((0, 1), np.float32), np.zeros(0, int)
            parts = [(empty, none, none, none, empty, none, none, none)]
        joined = [np.concatenate(values) for values in zip(*parts, strict=True)]
        vectors = joined[0], joined[4]
        if len(candidates):
            vectors = normalised(*vectors, self.normalise)  # type: ignore[arg-type]
        widths = next(iter(sections), (joined[0].shape[1],))
        compared = Compared(
            n=request.n,
            candidates=vectors[0],
            annotated=vectors[1],
            sections=widths,
            candidate_class=joined[1],
            annotated_class=joined[6],
            annotated_predicted=joined[5],
            classes=len(request.classes),
            entropy=joined[2],
            energy=joined[3],
            annotated_energy=joined[7],
        )
        return candidates, compared

    def _choose(
        self, candidates: Sequence[ScoredPatch], compared: Compared, n: int, request: Request
    ) -> tuple[list[ScoredPatch], list[str]]:
        # Sums of several threads differ in their last bits with the number of threads.
        with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SelectionWarning)
            order, keys = self.choice(compared, n, request.rng("compare"))
        told = list(dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, SelectionWarning)))
        # -inf says that there is no number by which the choice was made.
        chosen = [replace(candidates[i], key=-np.inf if keys is None else float(keys[i]), stratum=REST) for i in order.tolist()]
        return chosen, told


def with_vectors(ranking: Ranking, vectors: np.ndarray, there: np.ndarray, sections: tuple[int, ...] = ()) -> Ranking:
    """``ranking`` with descriptors of its candidates and, after them, of the annotated patches of its case.

    Args:
        ranking: described without vectors.
        vectors: float32 (N + M, D).
        there: bool (N + M,), False for patches without a descriptor, which are left out.
        sections: how many of the D belong to each layer; none: all to one.
    """
    described, n = ranking.described, len(ranking.candidates)
    assert described is not None, "a method that describes patches ranks them so"
    own, other = there[:n], there[n:]
    cut = replace(
        described,
        predicted=(described.predicted[0][own], described.predicted[1][other]),
        labelled=described.labelled[other],
        entropy=described.entropy[own],
        energy=(described.energy[0][own], described.energy[1][other]),
        vectors=(vectors[:n][own], vectors[n:][other]),
        sections=sections or (vectors.shape[1],),
        dropped=int(np.count_nonzero(~own)),
    )
    kept = [candidate for candidate, good in zip(ranking.candidates, own.tolist(), strict=True) if good]
    return Ranking(tuple(kept), ranking.predicted, cut)


def check_vectors(case: str, described: Described | None) -> None:
    """NnActiveError with the case's name if a descriptor is NaN or infinite."""
    assert described is not None
    assert described.vectors is not None
    if not all(np.isfinite(vectors).all() for vectors in described.vectors):
        raise NnActiveError(
            f"{case}: a descriptor holds NaN or infinite values. Look for a diverged training (NaN loss) or for NaN in "
            "the image."
        )


def _uniform(
    shape: Sequence[int],
    size: Triple,
    number: int,
    blocked: Sequence[tuple[Triple, Triple]],
    allowed: np.ndarray | None,
    rng: np.random.Generator,
    overlap: float,
) -> list[tuple[Triple, float, float]]:
    """One after another, each uniformly among the windows still free: start, 1 and key."""
    same = np.ones(triple(shape), np.float32)
    picks = select(
        same, size, number, blocked=blocked, allowed=allowed, beta=1.0, rng=rng, overlap=overlap, overwrite_scores=True
    )
    return [(pick.start, pick.score, pick.key) for pick in picks]


def _label(statistics: Statistics, patch: Patch, classes: Sequence[int], least: float) -> int:
    """The class of a patch by the members' mean: each voxel has its likeliest one, or all regions above 1/2."""
    p = statistics.mean[(slice(None), *patch.slices)]
    if statistics.regions:
        inside = p[list(classes)] > 0.5
        return Content(inside.sum(axis=(1, 2, 3)).tolist(), int(inside.any(axis=0).sum()), patch.voxels).label(least)
    voxels = np.bincount(p.argmax(axis=0).ravel(), minlength=max(classes, default=0) + 1)[list(classes)]
    return Content(voxels.tolist(), int(voxels.sum()), patch.voxels).label(least)


def _means(voxel_map: np.ndarray, patches: Sequence[Patch]) -> np.ndarray:
    return np.array([voxel_map[patch.slices].mean(dtype=np.float64) for patch in patches], np.float32)
