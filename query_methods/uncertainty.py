"""The methods that ask the ensemble: a voxel score, a perturbation and a stratification, put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nnactive_ext.engine import box_means, greedy
from nnactive_ext.errors import NnActiveError
from nnactive_ext.patch import Patch, clipped_size
from nnactive_ext.query_methods import selection
from nnactive_ext.query_methods.base import PoolCase, Query, Ranking, Request, ScoredCase, ScoredPatch
from nnactive_ext.query_methods.perturbation import Beta, beta_at, perturbed
from nnactive_ext.query_methods.scores import Score, check, class_weighted

MOST_OVERLAPPED = 8
"""A box overlaps at most this many boxes of its own size that are apart from each other (its corners')."""


@dataclass(frozen=True)
class Uncertainty:
    """A ranked method: patch score = mean of the voxel ``score`` over the patch (thesis 7.3).

    ``beta``: strength of the noise on patch scores (None: no noise). ``alpha``: share of the query that is spread over
    the classes, each by its own map u_c = p_c u (0: no stratification). ``patches_per_case``: at most this many
    candidates per case and stratum (None: as many as could be used).
    """

    name: str
    score: Score
    beta: Beta = None
    alpha: float = 0.0
    patches_per_case: int | None = None

    @property
    def needs_reference(self) -> bool:
        return False

    def rank(self, case: ScoredCase, request: Request) -> Ranking:
        """The candidates of one case, best first in each stratum; those of one stratum do not overlap each other.

        They overlap nothing in ``case.annotated`` either. Noise is drawn for each stratum, case and cycle of its own.
        A case without a free window has no candidates. NaN in the statistics is an NnActiveError.
        """
        check(case)
        size = clipped_size(case.patch_size, case.shape)
        blocked = [(patch.start, patch.size) for patch in case.annotated]
        beta = beta_at(self.beta, request.cycle, request.queries)

        candidates: list[ScoredPatch] = []
        for stratum, voxel_map in self._maps(case, request):
            scores = box_means(voxel_map, size)
            keys = perturbed(scores, beta, request.rng(f"noise/{stratum}", case.name))
            candidates += [
                ScoredPatch(Patch(case.name, start, size), float(scores[start]), key, stratum)
                for start, key in greedy(keys, size, blocked, self._keep(stratum, request))
            ]
        return Ranking(tuple(candidates), case.statistics.predicted & frozenset(request.classes))

    def merge(self, rankings: Mapping[str, Ranking], pool: Mapping[str, PoolCase], request: Request) -> Query:
        """See :func:`selection.merge`."""
        return selection.merge(rankings, pool, request, self.alpha)

    def _maps(self, case: ScoredCase, request: Request) -> Iterator[tuple[str, np.ndarray]]:
        """Each stratum and its voxel map, one at a time."""
        if self.alpha > 0 and selection.REST in request.classes.values():
            raise NnActiveError(
                f"A class may not be called {selection.REST!r}, which stands for the patches chosen without regard to "
                "class; rename it in dataset.json or set alpha=0."
            )
        voxel_map = self.score(case.statistics)
        yield selection.REST, voxel_map
        if self.alpha > 0:
            for channel, name in sorted(request.classes.items()):
                yield name, class_weighted(case.statistics, channel, voxel_map)

    def _keep(self, stratum: str, request: Request) -> int:
        if self.patches_per_case is not None:
            return self.patches_per_case
        if stratum != selection.REST:
            return request.n
        # The classes choose first and like the same places: what they overlap must not leave this list short.
        return request.n + (MOST_OVERLAPPED - 1) * round(self.alpha * request.n)
