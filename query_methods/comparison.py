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
    ENERGY,
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
from nnactive_ext.query_methods.described import check_vectors, described, with_vectors
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.scores import Score, check, score_needs
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
    def needs(self) -> frozenset[str]:
        by = frozenset() if isinstance(self.by, str) else score_needs(self.by)
        return by | {ENERGY} if getattr(self.choice, "energy", True) else by

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
        theta = getattr(self.choice, "theta", 0.01)
        rng = request.rng("candidates/score", case.name)
        first = select(scores, size, by_score, blocked=blocked, allowed=case.open, beta=beta, rng=rng, overlap=self.overlap)
        found = [ScoredPatch(Patch(case.name, start, size), score, key, REST) for start, score, key in first]
        blocked += [(start, size) for start, _, _ in first]
        rng = request.rng("candidates/uniform", case.name)
        for start, _, key in _uniform(scores.shape, size, number - by_score, blocked, case.open, rng, self.overlap):
            found.append(ScoredPatch(Patch(case.name, start, size), float(scores[start]), key, UNIFORM))
        return Ranking(
            tuple(found),
            case.statistics.predicted & frozenset(request.classes),
            described(case, [one.patch for one in found], request, theta),
        )

    def merge(self, rankings: Mapping[str, Ranking], pool: Mapping[str, PoolCase], request: Request) -> Query:
        """The choice among the candidates of all cases, in their order; gaps as in :func:`selection.completed`.

        A candidate that overlaps, on the image's voxels, what is annotated or chosen before is passed over. The result depends
        on the order of neither mapping. Descriptors with NaN are an NnActiveError that names the case.
        """
        if strangers := sorted(set(rankings) - set(pool)):
            raise ValueError(f"rankings of cases that are not in the pool: {', '.join(strangers)}")
        candidates, compared, dropped = self._compared(rankings, Occupancy(pool, self.overlap), request)
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
            known = Described(unknown, unknown[1] - 1, none[:n], (none[:n], none[n:]))
            boxes = [*(candidate.patch for candidate in drawn), *pool[name].annotated]
            rankings[name] = with_vectors(Ranking(tuple(drawn), frozenset(), known), *vectors(name, boxes))
        return self.merge(rankings, pool, request)

    def _number(self, request: Request) -> int:
        return self.candidates or min(MOST, max(FEWEST, math.ceil(4 * request.n / max(1, request.cases))))

    def _voxel_map(self, statistics: Statistics) -> np.ndarray:
        if not isinstance(self.by, str):
            return self.by(statistics)
        if statistics.regions:
            return np.clip(statistics.mean.max(axis=0), 0, 1, dtype=np.float32)
        return np.clip(1 - statistics.mean[0], 0, 1, dtype=np.float32)

    def _compared(
        self, rankings: Mapping[str, Ranking], occupied: Occupancy, request: Request
    ) -> tuple[list[ScoredPatch], Compared, int]:
        """The candidates of all cases, sorted, without those that overlap what is annotated; what is known of them; and how
        many were left out for want of a descriptor."""
        candidates: list[ScoredPatch] = []
        dropped = 0
        parts: list[tuple[np.ndarray, ...]] = []
        sections: dict[tuple[int, ...], str] = {}
        for name in sorted(rankings):
            found = rankings[name]
            ranking, known = tuple(found.candidates), found.described
            if known is None or known.vectors is None:
                raise ValueError(f"the patches of {name} are not described")
            check_vectors(name, known)
            dropped += known.dropped
            if not any(map(len, known.vectors)):
                continue
            sections.setdefault(known.sections, name)
            rows = sorted(range(len(ranking)), key=lambda row: ranking[row].patch)
            rows = [row for row in rows if not occupied.overlaps(ranking[row].patch)]
            candidates += [ranking[row] for row in rows]
            counted = slice(None) if self.labelled else slice(0)
            of_candidates = known.vectors[0], known.predicted[0], known.entropy, known.energy[0]
            of_annotated = known.vectors[1], known.predicted[1], known.labelled, known.energy[1]
            parts.append((*(values[rows] for values in of_candidates), *(values[counted] for values in of_annotated)))
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
        return candidates, compared, dropped

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
