"""The relevance of each case of a pool, from whatever is known: texts, verdicts, or nothing but intensities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nnactive_ext.ood import histogram_scores, robust_z
from nnactive_ext.query_methods.base import Relevance
from nnactive_ext.relevance.mixing import mixed
from nnactive_ext.relevance.reading import Similarity
from nnactive_ext.relevance.similarity import text_scores


@dataclass(frozen=True)
class Decided:
    """``cases``: case -> its relevance S. ``texts`` and ``detector``: S_vlm and S_det of each case, empty where there are none;
    ``delta``: the detector's weight. ``by``: in words, from what."""

    cases: Mapping[str, Relevance]
    by: str
    texts: Mapping[str, float] = field(default_factory=dict)
    detector: Mapping[str, float] = field(default_factory=dict)
    delta: float = 0.0


def by_texts(
    cases: Sequence[str],
    similarity: Similarity,
    detector: np.ndarray | None = None,
    delta: float = 0.0,
    standardise: bool = False,
) -> Decided:
    """S = (1 - delta) S_vlm + delta S_det, and the same by each relevant text alone.

    Args:
        cases: of the pool.
        similarity: of at least these cases to texts.
        detector: S_det, float (N,); None or delta = 0 before it exists.
        delta: the detector's weight.
        standardise: see :func:`nnactive_ext.relevance.mixing.mixed`.
    """
    of_texts = text_scores(similarity.rows(cases), similarity.texts.relevant)
    margins = np.zeros(len(cases)) if detector is None else detector
    weight = 0.0 if detector is None else delta
    total = mixed(of_texts, margins, weight, standardise)
    ids = [text.id for text in similarity.texts.texts if text.relevant]
    return Decided(
        {
            case: Relevance(float(row.max()), dict(zip(ids, map(float, row), strict=True)))
            for case, row in zip(cases, total, strict=True)
        },
        "texts" if detector is None else "texts and verdicts",
        dict(zip(cases, map(float, of_texts.max(axis=1)), strict=True)),
        {} if detector is None else dict(zip(cases, map(float, margins), strict=True)),
        weight,
    )


def by_verdicts(cases: Sequence[str], detector: np.ndarray) -> Decided:
    """S = S_det, where there are no texts.

    Args:
        cases: of the pool.
        detector: S_det, float (N,).
    """
    scores = dict(zip(cases, map(float, detector), strict=True))
    return Decided({case: Relevance(score) for case, score in scores.items()}, "verdicts", {}, scores, 1.0)


def by_intensities(cases: Sequence[str], quantiles: np.ndarray, in_reference: np.ndarray) -> Decided:
    """S = - z of ``histogram``, before there are texts or verdicts: cases whose intensities are unlike the others come last.

    Args:
        cases: of the pool.
        quantiles: float (N, channels, 101). A case with NaN, that is a channel without a finite voxel, comes last, and no
            other is compared with it.
        in_reference: bool (N,), the cases that others are compared with; fewer than three: all of them.
    """
    known = np.isfinite(quantiles).all(axis=(1, 2))
    chosen = np.asarray(in_reference, bool) & known
    chosen = chosen if chosen.sum() >= 3 else known
    z = np.full(len(cases), np.inf)
    if known.any():
        scores = histogram_scores(quantiles[known], chosen[known])
        z[known] = robust_z(scores, scores[chosen[known]])
    z[np.isnan(z)] = 0  # fewer than three cases: their distances are equal, or there is one
    return Decided({case: Relevance(-float(one)) for case, one in zip(cases, z, strict=True)}, "intensities")
