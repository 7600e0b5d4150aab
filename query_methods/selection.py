"""Selection: the rankings of all cases, stratum by stratum, become one query."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnactive_ext.geometry.patch import Patch, triple
from nnactive_ext.query_methods.base import PoolCase, Query, Ranking, Request, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.perturbation import softrank_keys
from nnactive_ext.query_methods.random_patches import draw_uniform
from nnactive_ext.query_methods.stratification import class_shares, earned_shares

REST = "all"
"""The stratum of the unstratified part."""
MOST_OVERLAPPED = 8
"""A box overlaps at most this many boxes of its own size that are apart from each other (its corners')."""


def merge(
    rankings: Mapping[str, Ranking],
    pool: Mapping[str, PoolCase],
    request: Request,
    alpha: float = 0.0,
    overlap: float = 0.0,
    softrank: float | None = None,
    fill_gaps: bool = True,
    own: bool = False,
    earned: bool = False,
) -> Query:
    """Best first over all cases, skipping what overlaps something annotated or already chosen (thesis Algorithm 3).

    The classes are filled in random order, each up to its share and with candidates that score more than 0; then the
    unstratified part, which also makes up for what the classes lack, and last, should that run dry, whatever candidates
    the classes still have. Equal keys go by case name, then position. A class that is predicted in no ranking gives its
    share to the unstratified part, and a warning names it; with ``own`` its candidates count like those of the others. With
    ``earned`` each class keeps the part of its share that ``request.earned`` says; the unstratified part gets the rest.

    Candidates do not overlap those of their own stratum, so a list may run dry while windows between the chosen ones are
    free: with ``fill_gaps`` what is still missing is drawn from these, uniformly over cases, then over windows, with a
    warning. ``missing`` then says that nowhere is room for another patch.

    ``overlap``: the share of a patch's voxels that the union of the annotated and the chosen patches of its case may
    cover. ``softrank``: the beta of noise on the ranks that the candidates have in their stratum, over the whole pool.

    The result depends on the order of neither mapping. A ranking of a case that is not in the pool raises ValueError, and
    :class:`LeftOut` where candidates are needed that rankings leave out.
    """
    if strangers := sorted(set(rankings) - set(pool)):
        raise ValueError(f"rankings of cases that are not in the pool: {', '.join(strangers)}")
    shares = class_shares(request.n, alpha, request.classes, request.rng("shares"))
    if earned:
        shares = earned_shares(shares, request.earned, request.rng("earned"))
    kept = None if softrank is not None else usable(request, alpha)  # noisy ranks are those among all candidates
    strata = Strata.of(rankings, kept)
    if softrank is not None:
        for name, candidates in strata.candidates.items():
            strata.candidates[name] = _softranked(candidates, softrank, request.rng(f"softrank/{name}"))
    unpredicted = [] if own else [c for c, share in shares.items() if share and c not in strata.predicted]
    warnings = [
        f"No member predicts class {request.classes[c]!r} anywhere in the pool, so its {shares[c]} patch(es) are chosen "
        "without regard to class. Annotating some voxels of it by other means would help; with unpredicted=own they are "
        "chosen by the probability of the class all the same."
        for c in unpredicted
    ]
    order = [c for c in request.rng("classes").permutation(sorted(shares)).tolist() if own or c in strata.predicted]
    chosen, occupied = _choose(strata, shares, order, Occupancy(pool, overlap), request)
    if strata.dry:
        strata = Strata.of(rankings)
        chosen, occupied = _choose(strata, shares, order, Occupancy(pool, overlap), request)
    if strata.dry:
        raise LeftOut(strata.dry)
    return completed(chosen, occupied, request, warnings, fill_gaps)


def completed(
    chosen: Sequence[ScoredPatch], occupied: Occupancy, request: Request, warnings: Sequence[str], fill_gaps: bool = True
) -> Query:
    """The query of the ``chosen`` patches, which are taken in ``occupied``, and what is missing drawn at random in the gaps;
    with the ``warnings`` and those about gaps."""
    gaps = draw_uniform(occupied, request.n - len(chosen), request.rng("gaps")) if fill_gaps else []
    warnings = list(warnings)
    if gaps:
        warnings.append(
            f"{len(gaps)} of {request.n} patches are drawn at random between the others: all candidates are used up or "
            "overlap what is annotated or chosen by more than allowed. The pool is nearly used up."
        )
    missing = request.n - len(chosen) - len(gaps)
    if missing:
        why = "no case has room for another" if fill_gaps else "all candidates are used up (patches_per_case limits them)"
        warnings.append(f"{missing} of {request.n} patches are missing: {why} that overlaps nothing by more than allowed.")
    return Query((*chosen, *gaps), missing, tuple(warnings))


class Candidates(Sequence[ScoredPatch]):
    """The candidates of one case, each made when it is asked for: a query uses few of them.

    ``rows``: stratum, start (z, y, x), size, score and key of each.
    """

    def __init__(self, case: str, rows: Sequence[Sequence[Any]]):
        self._case, self._rows = case, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        rows = self._rows[index]
        return tuple(map(self._made, rows)) if isinstance(index, slice) else self._made(rows)

    def at_least(self, lowest: Mapping[str, float]) -> Iterator[ScoredPatch]:
        """Those whose key is not below the ``lowest`` of their stratum."""
        return (self._made(row) for row in self._rows if row[4] >= lowest.get(row[0], -math.inf))

    @property
    def keys(self) -> Iterator[tuple[str, float]]:
        """Stratum and key of each."""
        return ((row[0], float(row[4])) for row in self._rows)

    def _made(self, row: Sequence[Any]) -> ScoredPatch:
        stratum, start, size, score, key = row
        return ScoredPatch(Patch(self._case, triple(start), triple(size)), float(score), float(key), stratum)


def stratum_keys(candidates: Sequence[ScoredPatch]) -> Iterator[tuple[str, float]]:
    """Stratum and key of each candidate of a case."""
    return candidates.keys if isinstance(candidates, Candidates) else ((one.stratum, one.key) for one in candidates)


@dataclass
class Strata:
    """The candidates of each stratum, best first, from the rankings of all cases, and the classes ``predicted`` in any of them.

    Of a stratum in ``cut``, the best candidates only, because others were left out here or in a ranking. ``dry``: strata of
    these that were used up.
    """

    candidates: dict[str, list[ScoredPatch]] = field(default_factory=dict)
    predicted: frozenset[int] = frozenset()
    cut: set[str] = field(default_factory=set)
    dry: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, rankings: Mapping[str, Ranking], kept: Mapping[str, int] | None = None) -> Strata:
        """One case after another, so memory does not grow with the number of cases.

        ``kept``: how many candidates of each stratum are kept (None: all).
        """
        found = cls()
        lowest: dict[str, float] = {}
        left_out: dict[str, float] = {}
        for ranking in rankings.values():
            found.predicted |= ranking.predicted
            for stratum, key in ranking.left_out.items():
                left_out[stratum] = max(key, left_out.get(stratum, -math.inf))
            candidates = ranking.candidates
            for candidate in candidates.at_least(lowest) if isinstance(candidates, Candidates) else candidates:
                stratum = candidate.stratum
                if candidate.key < lowest.get(stratum, -math.inf):
                    continue
                own = found.candidates.setdefault(stratum, [])
                own.append(candidate)
                if kept and len(own) >= 2 * kept[stratum]:
                    lowest[stratum] = found._cut(stratum, kept[stratum])
        for stratum, own in found.candidates.items():
            own.sort(key=_best_first)
            if kept and len(own) > kept[stratum]:
                found._cut(stratum, kept[stratum])
        for stratum, key in left_out.items():
            # Where nothing that was left out can come before a candidate, all that come before it are there.
            found.candidates[stratum] = [one for one in found.candidates.get(stratum, ()) if one.key > key]
            found.cut.add(stratum)
        return found

    def _cut(self, stratum: str, kept: int) -> float:
        """Keep the best; the key of the last one."""
        own = self.candidates[stratum]
        own.sort(key=_best_first)
        del own[kept:]
        self.cut.add(stratum)
        return own[-1].key

    def fill(self, stratum: str, count: int, occupied: Occupancy, useful: bool = False) -> list[ScoredPatch]:
        """Take up to ``count`` candidates that are still free; ``useful``: only those that score more than 0."""
        own = self.candidates.get(stratum, [])
        taken = fill((one for one in own if one.score > 0) if useful else own, count, occupied)
        if len(taken) < count and stratum in self.cut:
            self.dry.add(stratum)
        return taken


def usable(request: Request, alpha: float) -> Mapping[str, int]:
    """How many candidates of each stratum a query looks at, over all cases.

    A box overlaps few of a stratum's candidates, which do not overlap each other. So the classes, which choose first, use up
    at most their share and what all their patches overlap; a query of n patches uses up at most 9 n of the others. Where that
    is not enough all the same, :func:`merge` looks at all: rounding to the image's grid may let candidates overlap, and a
    nearly used up pool needs the classes' candidates again.
    """
    shares = class_shares(request.n, alpha, request.classes, request.rng("shares"))
    kept: defaultdict[str, int] = defaultdict(lambda: (1 + MOST_OVERLAPPED) * request.n)
    overlapped = MOST_OVERLAPPED * sum(shares.values())
    return kept | {request.classes[c]: max(1, share + overlapped) for c, share in shares.items()}


class LeftOut(Exception):
    """Candidates that were left out of rankings (:attr:`Ranking.left_out`) are needed, of these strata."""

    def __init__(self, strata: Iterable[str]):
        self.strata = frozenset(strata)


@dataclass
class Floors:
    """The keys that candidates need to enter a query, from the rankings that are there: of each stratum the least of so many
    best keys as are ``usable``."""

    usable: Mapping[str, int]
    lowest: dict[str, float] = field(default_factory=dict)
    _keys: dict[str, list[float]] = field(default_factory=dict)

    def add(self, stratum: str, keys: Iterable[float]) -> None:
        """Note the keys of one more case; those of a case count once."""
        own, most = self._keys.setdefault(stratum, []), self.usable[stratum]
        own.extend(keys)
        if len(own) >= most:
            self._keys[stratum] = own = heapq.nlargest(most, own)
            self.lowest[stratum] = own[-1]


def _choose(
    strata: Strata, shares: Mapping[int, int], order: Sequence[int], occupied: Occupancy, request: Request
) -> tuple[list[ScoredPatch], Occupancy]:
    """The classes in ``order``, each up to its share; then the unstratified part; last, whatever the classes still have."""
    chosen: list[ScoredPatch] = []
    for c in order:
        chosen += strata.fill(request.classes[c], shares[c], occupied, useful=True)
    for stratum in [REST, *(request.classes[c] for c in order)]:
        chosen += strata.fill(stratum, request.n - len(chosen), occupied)
    return chosen, occupied


def _softranked(candidates: Iterable[ScoredPatch], beta: float, rng: np.random.Generator) -> list[ScoredPatch]:
    """The candidates of one stratum, given best first, by their noisy ranks."""
    candidates = list(candidates)
    keys = softrank_keys(len(candidates), beta, rng).tolist()
    keyed = [replace(candidate, key=key) for candidate, key in zip(candidates, keys, strict=True)]
    return sorted(keyed, key=_best_first)


def _best_first(candidate: ScoredPatch) -> tuple[float, Patch]:
    return -candidate.key, candidate.patch


def fill(candidates: Iterable[ScoredPatch], count: int, occupied: Occupancy) -> list[ScoredPatch]:
    """Take up to ``count`` candidates that are still free, in their order."""
    taken: list[ScoredPatch] = []
    for candidate in candidates:
        if len(taken) >= count:
            break
        if not occupied.overlaps(candidate.patch):
            occupied.take(candidate.patch)
            taken.append(candidate)
    return taken
