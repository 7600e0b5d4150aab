"""The methods that ask the ensemble: a voxel score, an aggregation, a perturbation and a stratification, put together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nnactive_ext.engine import at_once, largest_product, most_of_a_race, select
from nnactive_ext.engine.windows import Box
from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch, Triple, clipped_size
from nnactive_ext.query_methods import selection
from nnactive_ext.query_methods.aggregation import Aggregation, Largest, above_threshold, aggregation_needs, mean, total
from nnactive_ext.query_methods.base import PoolCase, Query, Ranking, Request, ScoredCase, ScoredPatch
from nnactive_ext.query_methods.perturbation import PERTURBATIONS, Beta, beta_at, check_beta
from nnactive_ext.query_methods.scores import SIGNED, Score, check, score_needs
from nnactive_ext.query_methods.words import words

NEIGHBOURHOOD = 27
"""All boxes that overlap a box lie in this many times its volume."""
BLOCKINGS = ("merge", "image")
UNPREDICTED = ("rest", "own")
"""Who gets the share of a class that no member predicts anywhere: the unstratified part, or its own map all the same."""
SHARES = ("equal", "earned")
"""What the classes get of the stratified part: equal shares, or what each has earned of its equal share."""
_ROUNDING = 1e-5
"""Means over patches are right to less than this share of themselves."""


class _Ranked(NamedTuple):
    """What :meth:`Uncertainty.rank` finds in one stratum; ``left_out`` as in :attr:`Ranking.left_out`."""

    stratum: str
    candidates: list[ScoredPatch]
    left_out: float | None


@dataclass(frozen=True)
class Uncertainty:
    """A ranked method: each patch is worth the ``aggregation`` over it of the voxel ``score`` (thesis 7.3).

    ``beta``: strength of the noise (None: no noise), which ``perturbation`` puts on patch scores (``power``) or, when
    all cases are merged, on their ranks (``softrank``). ``alpha``: share of the query that is spread over the classes,
    each by its own map u_c = p_c u (0: no stratification). ``overlap``: the share of a patch's voxels that the union of
    the annotated and the other chosen patches may cover. ``stride``: of the window starts along each axis only every so
    many-th counts, and the last. ``patches_per_case``: at most this many candidates per case and stratum (None: as many
    as could be used).

    ``blocking``: where strata overlap each other, ``merge`` settles it when all cases are known
    (:func:`selection.merge`). ``image`` is the published behaviour, offered so that published runs can be repeated: in
    each image the classes predicted in it, in random order, take their candidates one after the other, as many as such
    a class can get of the whole query, and block them for the classes after and for the unstratified part, before
    anything is chosen. On small images that hands each image to one random class.

    ``unpredicted``: where the share of a class goes that no member predicts anywhere: ``rest``, to the unstratified part;
    ``own``, to the class's own map, as in Algorithm 3 of the thesis, which knows no exception.

    ``shares``: of the stratified part, every class gets an ``equal`` one, or what it has ``earned`` of it
    (:attr:`Request.earned`); the unstratified part gets what the classes have not earned. Candidates do not depend on it.

    ``cite`` says where the method comes from. Values that do not go together raise ValueError.
    """

    name: str
    score: Score
    beta: Beta = None
    alpha: float = 0.0
    perturbation: str = PERTURBATIONS[0]
    aggregation: Aggregation = mean
    overlap: float = 0.0
    stride: Triple = (1, 1, 1)
    blocking: str = BLOCKINGS[0]
    patches_per_case: int | None = None
    unpredicted: str = UNPREDICTED[0]
    shares: str = SHARES[0]
    cite: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.perturbation not in PERTURBATIONS or self.blocking not in BLOCKINGS:
            raise ValueError(
                f"expected a perturbation of {', '.join(PERTURBATIONS)} and a blocking of {', '.join(BLOCKINGS)}, not "
                f"{self.perturbation!r} and {self.blocking!r}"
            )
        if self.unpredicted not in UNPREDICTED:
            raise ValueError(f"expected unpredicted to be one of {', '.join(UNPREDICTED)}, not {self.unpredicted!r}")
        if self.shares not in SHARES:
            raise ValueError(f"expected shares to be one of {', '.join(SHARES)}, not {self.shares!r}")
        if self.needs_earned and (self.alpha == 0 or self.blocking == "image"):
            raise ValueError(
                "shares=earned divides the stratified part when cases are merged: it needs alpha above 0 and blocking=merge"
            )
        if not (0 <= self.alpha <= 1 and 0 <= self.overlap < 1 and min(self.stride) >= 1):
            raise ValueError(
                "expected alpha from 0 to 1, overlap of at least 0 and below 1 and stride of at least 1, not "
                f"{self.alpha}, {self.overlap} and {self.stride}"
            )
        if isinstance(self.beta, int | float):
            check_beta(self.beta)
        if self.perturbation == "softrank" and self.beta is None:
            raise ValueError("softrank is noise and needs its strength: set beta, e.g. beta=1, or perturbation=power")
        if self.score in SIGNED and (why := self._needs_no_sign()):
            raise ValueError(f"the score {self._score_name()} may be negative, and {why}")

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def needs_earned(self) -> bool:
        """Whether :attr:`Request.earned` must be there when cases are merged."""
        return self.shares == "earned"

    @property
    def needs(self) -> frozenset[str]:
        return score_needs(self.score) | aggregation_needs(self.aggregation)

    @property
    def words(self) -> str:
        """What it does, put together from what its parts say of themselves."""
        sentences = [f"Voxel score: {words(self.score)}.", f"Patch: {words(self.aggregation)}."]
        if self.beta is not None:
            noisy = "ln(score)" if self.perturbation == "power" else "-ln(rank in the pool)"
            strength = f"{self.beta:g}" if isinstance(self.beta, float | int) else str(self.beta)
            sentences.append(f"Ranked by {noisy} + Gumbel(0, 1/beta), beta = {strength}.")
        if self.alpha > 0:
            blocked = ", which block each other within an image" if self.blocking == "image" else ""
            sentences.append(f"Strata: {self.alpha:.0%} of the query spread over the classes by p_c x voxel score{blocked}.")
            if self.unpredicted == "own":
                sentences.append("Classes that no member predicts have their share, too.")
            if self.needs_earned:
                sentences.append("A class has the part of its share that it has earned: that of its last patches that held it.")
        if self.overlap > 0:
            sentences.append(f"Patches may overlap by {self.overlap:.0%}.")
        if self.stride != (1, 1, 1):
            sentences.append(f"Stride {'x'.join(map(str, self.stride))}.")
        return " ".join(sentences)

    def rank(self, case: ScoredCase, request: Request) -> Ranking:
        """The candidates of one case, best first in each stratum, overlapping each other and ``case.annotated`` as allowed,
        among the windows that are ``case.open``.

        Noise is drawn for each stratum, case and cycle of its own. A case without a free window has no candidates. Candidates
        below ``case.floors`` are left out, and a stratum that has no others is not ranked.
        NaN in the statistics, and a score that cannot be used as the method says, are NnActiveErrors.
        """
        check(case)
        size = clipped_size(case.patch_size, case.shape)
        blocked = [(patch.start, patch.size) for patch in case.annotated]
        beta = beta_at(self.beta, request.cycle, request.queries) if self.perturbation == "power" else None
        voxel_map = self._voxel_map(case)

        def ranked(stratum: tuple[str, np.ndarray | None]) -> _Ranked:
            return self._ranked(case, request, voxel_map, size, *stratum, blocked, beta)

        if self.blocking == "image":
            found = []
            for stratum in self._strata(case, request):
                found.append(ranked(stratum))
                blocked += [(one.patch.start, one.patch.size) for one in found[-1].candidates]
        else:
            found = at_once(ranked, self._strata(case, request), voxel_map.size)
        candidates = tuple(candidate for one in found for candidate in one.candidates)
        left_out = {one.stratum: one.left_out for one in found if one.left_out is not None}
        return Ranking(candidates, case.statistics.predicted & frozenset(request.classes), left_out=left_out)

    def usable(self, request: Request) -> Mapping[str, int] | None:
        """How many candidates of each stratum, over all cases, a query can use; None where all count."""
        if self.perturbation == "softrank" or self.blocking == "image":
            return None  # noisy ranks are those among all candidates; each candidate blocks others before anything is chosen
        return selection.usable(request, self.alpha)

    def _ranked(
        self,
        case: ScoredCase,
        request: Request,
        voxel_map: np.ndarray,
        size: Triple,
        stratum: str,
        weight: np.ndarray | None,
        blocked: Sequence[Box],
        beta: float | None,
    ) -> _Ranked:
        """The candidates of one stratum."""
        floor = case.floors.get(stratum, -math.inf)
        noise = request.rng(f"noise/{stratum}", case.name)
        most = math.inf if floor == -math.inf else self._largest_key(voxel_map, weight, size, beta, deepcopy(noise))
        if most < floor:
            return _Ranked(stratum, [], most)
        try:
            scores = self._patch_scores(case, voxel_map, weight, size)
            picks = select(
                scores,
                size,
                self._keep(stratum, request),
                blocked=blocked,
                allowed=case.open,
                beta=beta,
                rng=noise,
                overlap=self.overlap,
                stride=self.stride,
                overwrite_scores=not np.may_share_memory(scores, voxel_map),
            )
        except ValueError as error:
            name = getattr(self.aggregation, "__name__", repr(self.aggregation))
            raise NnActiveError(f"{case.name}: the aggregation {name} cannot be used: {error}.") from error
        found = [ScoredPatch(Patch(case.name, start, size), score, key, stratum) for start, score, key in picks]
        useful = [one for one in found if one.key >= floor]
        return _Ranked(stratum, useful, found[len(useful)].key if len(useful) < len(found) else None)

    def _largest_key(
        self, voxel_map: np.ndarray, weight: np.ndarray | None, size: Triple, beta: float | None, noise: np.random.Generator
    ) -> float:
        """A key that no candidate of a stratum exceeds; infinite if it is not known. ``noise`` is drawn from."""
        if self.aggregation not in (mean, total, above_threshold) and not isinstance(self.aggregation, Largest):
            return math.inf
        best = float(voxel_map.max()) if weight is None else largest_product(weight, voxel_map)
        best += abs(best) * _ROUNDING
        if self.aggregation is total:
            best *= math.prod(size)
        if beta is None:
            return best
        windows = math.prod(n - s + 1 for n, s in zip(voxel_map.shape, size, strict=True))
        return most_of_a_race(best, windows, beta, noise)

    def merge(self, rankings: Mapping[str, Ranking], pool: Mapping[str, PoolCase], request: Request) -> Query:
        """See :func:`selection.merge`."""
        softrank = beta_at(self.beta, request.cycle, request.queries) if self.perturbation == "softrank" else None
        fill_gaps = self.patches_per_case is None
        own = self.unpredicted == "own"
        return selection.merge(rankings, pool, request, self.alpha, self.overlap, softrank, fill_gaps, own, self.needs_earned)

    def _voxel_map(self, case: ScoredCase) -> np.ndarray:
        voxel_map = self.score(case.statistics)
        name = self._score_name()
        if voxel_map.shape != case.shape:
            raise NnActiveError(f"{case.name}: the score {name} has shape {voxel_map.shape}, the image {case.shape}.")
        lowest = voxel_map.min()
        if not (np.isfinite(lowest) and np.isfinite(voxel_map.max())):
            raise NnActiveError(f"{case.name}: the score {name} is NaN or infinite in some voxel. Correct the score.")
        if lowest < 0 and (why := self._needs_no_sign()):
            raise NnActiveError(f"{case.name}: the score {name} is {lowest:.4g} in some voxel, and {why}.")
        return voxel_map

    def _score_name(self) -> str:
        return getattr(self.score, "__name__", repr(self.score))

    def _patch_scores(self, case: ScoredCase, voxel_map: np.ndarray, weight: np.ndarray | None, size: Triple) -> np.ndarray:
        scores = self.aggregation(voxel_map, weight, size, case.statistics)
        expected = tuple(n - s + 1 for n, s in zip(case.shape, size, strict=True))
        if scores.shape != expected:
            raise ValueError(f"its result has shape {scores.shape}, not {expected}, one score per start of a patch of {size}")
        return scores

    def _needs_no_sign(self) -> str:
        """Why the voxel score may not be negative, and what to do about it; empty if it may."""
        if self.alpha > 0:
            return "a weight p_c would turn it upside down: set alpha=0, or another score"
        if self.beta is not None and self.perturbation == "power":
            return "power noise needs its logarithm: set perturbation=softrank or beta=none, or another score"
        if self.aggregation is above_threshold:
            return "patches without a voxel above the threshold, which score 0, would be best: set another aggregation or score"
        return ""

    def _strata(self, case: ScoredCase, request: Request) -> Iterator[tuple[str, np.ndarray | None]]:
        """Each stratum with the weight of its voxels (None: 1), in the order in which they are ranked."""
        if self.alpha > 0 and selection.REST in request.classes.values():
            raise NnActiveError(
                f"A class may not be called {selection.REST!r}, which stands for the patches chosen without regard to "
                "class; rename it in dataset.json or set alpha=0."
            )
        classes = sorted(request.classes) if self.alpha > 0 else []
        if self.blocking == "image":
            shuffled = request.rng("blocking", case.name).permutation(classes).tolist()
            classes = [c for c in shuffled if self.unpredicted == "own" or c in case.statistics.predicted]
        for c in classes:
            yield request.classes[c], case.statistics.mean[c]
        yield selection.REST, None

    def _keep(self, stratum: str, request: Request) -> int:
        """How many candidates of one case could be used."""
        if self.patches_per_case is not None:
            return self.patches_per_case
        stratified = round(self.alpha * request.n)
        if self.blocking == "image":
            return request.n if stratum == selection.REST else math.ceil(stratified / len(request.classes))
        if stratum != selection.REST:
            # Twice a class's share, for what the other classes block; where that is too few, the rest makes up for it.
            return min(request.n, max(100, 2 * math.ceil(stratified / len(request.classes))))
        # The classes choose first and like the same places: what they overlap must not leave this list short.
        if self.overlap == 0:
            return request.n + (selection.MOST_OVERLAPPED - 1) * stratified
        # Each candidate has 1 - overlap of its voxels for itself, or those before it would cover too much.
        return request.n + math.ceil(NEIGHBOURHOOD / (1 - self.overlap)) * stratified
