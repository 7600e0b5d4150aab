"""LaSeR: the cases that are most relevant by the user's texts and by verdicts, and in each the most uncertain patch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods.base import PoolCase, Query, Ranking, Relevance, Request, ScoredCase, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.scores import Score, predictive_entropy
from nnactive_ext.query_methods.selection import REST, completed
from nnactive_ext.query_methods.uncertainty import Uncertainty

NOTHING = Relevance(0.0)
"""Of a case about which nothing is known."""


@dataclass(frozen=True)
class Laser:
    """A ranked method that chooses cases by :class:`Relevance`, and in each the patch with the largest mean of ``score``.

    Of n patches, each of K relevant texts gets ceil(n / K) cases, those with the largest relevance by it alone: first the best
    of each text (in the order of their ids), then the second, and so on; no case twice. The rest of the cases follow by their
    relevance. When every case has a patch, they begin again. (LaSeR, Algorithm 1; 4.1 calls K M, and its b / M would select K
    times too many.) Cases of equal relevance go by name.
    """

    name: str
    score: Score = predictive_entropy
    cite: str = field(default="", compare=False)

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def needs_relevance(self) -> bool:
        """Whether :attr:`PoolCase.relevance` must be there."""
        return True

    @property
    def needs(self) -> frozenset[str]:
        return self._within.needs

    @property
    def words(self) -> str:
        return f"Cases: most relevant by the user's texts and by verdicts. Patch: {self._within.words}"

    @property
    def _within(self) -> Uncertainty:
        return Uncertainty(self.name, self.score)

    def rank(self, case: ScoredCase, request: Request) -> Ranking:
        """The patches of a case, the most uncertain first; NaN in the statistics is an NnActiveError."""
        return self._within.rank(case, request)

    def merge(self, rankings: Mapping[str, Ranking], pool: Mapping[str, PoolCase], request: Request) -> Query:
        """The best patches of the most relevant cases; gaps as in :func:`selection.completed`.

        A ranking of a case that is not in the pool raises ValueError.
        """
        if strangers := sorted(set(rankings) - set(pool)):
            raise ValueError(f"rankings of cases that are not in the pool: {', '.join(strangers)}")
        occupied = Occupancy(pool)
        left: dict[str, Iterator[ScoredPatch] | None] = dict.fromkeys(rankings)  # most cases are never asked
        chosen: list[ScoredPatch] = []
        for name in self._cases({name: pool[name].relevance or NOTHING for name in left}, request.n):
            if len(chosen) == request.n or not left:
                break
            if name in left and left[name] is None:
                left[name] = iter(rankings[name].candidates)
            found = next((one for one in left.get(name) or () if not occupied.overlaps(one.patch)), None)
            if found is None:
                left.pop(name, None)
                continue
            occupied.take(found.patch)
            score = (pool[name].relevance or NOTHING).score
            chosen.append(replace(found, key=score, stratum=REST))
        return completed(chosen, occupied, request, ())

    def start(self, pool: Mapping[str, PoolCase], request: Request) -> Query:
        """The first patches of all, before any member is trained: in each case one at a random place."""
        occupied = Occupancy(pool)
        chosen: list[ScoredPatch] = []
        known = {name: case.relevance or NOTHING for name, case in pool.items()}
        left = set(pool)
        for turn, name in enumerate(self._cases(known, request.n)):
            if len(chosen) == request.n or not left:
                break
            start = occupied.draw_start(name, request.rng(f"start/{turn}", name)) if name in left else None
            if start is None:
                left.discard(name)
                continue
            patch = Patch(name, start, occupied.patch_size(name))
            occupied.take(patch)
            chosen.append(ScoredPatch(patch, 0.0, known[name].score, REST))
        return completed(chosen, occupied, request, ())

    def _cases(self, known: Mapping[str, Relevance], n: int) -> Iterator[str]:
        """Cases in the order in which they give a patch; without end where there are some."""
        order = sorted(known, key=lambda name: (-known[name].score, name))
        first = list(dict.fromkeys(_by_texts(known, n)))
        yield from (*first, *(name for name in order if name not in set(first)))
        while order:
            yield from order


def _by_texts(known: Mapping[str, Relevance], n: int) -> Sequence[str]:
    """The cases of each relevant text: the best of each, then the second of each, and so on."""
    texts = sorted({text for relevance in known.values() for text in relevance.texts})
    if not texts:
        return []
    each = math.ceil(n / len(texts))
    lists = [sorted(known, key=lambda name: (-known[name].texts.get(text, -math.inf), name))[:each] for text in texts]
    return [names[rank] for rank in range(each) for names in lists if rank < len(names)]
