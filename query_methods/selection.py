"""Selection: the rankings of all cases, stratum by stratum, become one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods.base import PoolCase, Query, Ranking, Request, ScoredPatch
from nnactive_ext.query_methods.occupancy import Occupancy
from nnactive_ext.query_methods.perturbation import softrank_keys
from nnactive_ext.query_methods.random_patches import draw_uniform
from nnactive_ext.query_methods.stratification import class_shares

REST = "all"
"""The stratum of the unstratified part."""


def merge(
    rankings: Mapping[str, Ranking],
    pool: Mapping[str, PoolCase],
    request: Request,
    alpha: float = 0.0,
    overlap: float = 0.0,
    softrank: float | None = None,
    fill_gaps: bool = True,
    own: bool = False,
) -> Query:
    """Best first over all cases, skipping what overlaps something annotated or already chosen (thesis Algorithm 3).

    The classes are filled in random order, each up to its share and with candidates that score more than 0; then the
    unstratified part, which also makes up for what the classes lack, and last, should that run dry, whatever candidates
    the classes still have. Equal keys go by case name, then position. A class that is predicted in no ranking gives its
    share to the unstratified part, and a warning names it; with ``own`` its candidates count like those of the others.

    Candidates do not overlap those of their own stratum, so a list may run dry while windows between the chosen ones are
    free: with ``fill_gaps`` what is still missing is drawn from these, uniformly over cases, then over windows, with a
    warning. ``missing`` then says that nowhere is room for another patch.

    ``overlap``: the share of a patch's voxels that the union of the annotated and the chosen patches of its case may
    cover. ``softrank``: the beta of noise on the ranks that the candidates have in their stratum, over the whole pool.

    The result depends on the order of neither mapping. A ranking of a case that is not in the pool raises ValueError.
    """
    if strangers := sorted(set(rankings) - set(pool)):
        raise ValueError(f"rankings of cases that are not in the pool: {', '.join(strangers)}")
    strata = _by_stratum(rankings.values())
    if softrank is not None:
        strata = {stratum: _softranked(strata[stratum], softrank, request.rng(f"softrank/{stratum}")) for stratum in strata}
    predicted = frozenset().union(*(ranking.predicted for ranking in rankings.values()))
    shares = class_shares(request.n, alpha, request.classes, request.rng("shares"))
    unpredicted = [] if own else [c for c, share in shares.items() if share and c not in predicted]
    warnings = [
        f"No member predicts class {request.classes[c]!r} anywhere in the pool, so its {shares[c]} patch(es) are chosen "
        "without regard to class. Annotating some voxels of it by other means would help; with unpredicted=own they are "
        "chosen by the probability of the class all the same."
        for c in unpredicted
    ]
    order = [c for c in request.rng("classes").permutation(sorted(shares)).tolist() if own or c in predicted]

    occupied = Occupancy(pool, overlap)
    chosen: list[ScoredPatch] = []
    for c in order:
        useful = [candidate for candidate in strata.get(request.classes[c], []) if candidate.score > 0]
        chosen += fill(useful, shares[c], occupied)
    for stratum in [REST] + [request.classes[c] for c in order]:
        chosen += fill(strata.get(stratum, []), request.n - len(chosen), occupied)

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


def _by_stratum(rankings: Iterable[Ranking]) -> dict[str, list[ScoredPatch]]:
    """All candidates of each stratum, best first."""
    strata: dict[str, list[ScoredPatch]] = {}
    for ranking in rankings:
        for candidate in ranking.candidates:
            strata.setdefault(candidate.stratum, []).append(candidate)
    for candidates in strata.values():
        candidates.sort(key=_best_first)
    return strata


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
