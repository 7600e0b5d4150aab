"""What is known of the patches that a method compares: classes and means by the members, and their descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.geometry.patch import Patch
from nnactive_ext.query_methods.base import Content, Described, Ranking, Request, ScoredCase, Statistics
from nnactive_ext.query_methods.scores import energy, predictive_entropy


def described(case: ScoredCase, candidates: Sequence[Patch], request: Request, theta: float) -> Described:
    """What the members, and the labels, say of the candidates and annotated patches of a case; without descriptors.

    ``theta``: the share of foreground from which a patch has a foreground class.
    """
    annotated, statistics, classes = list(case.annotated), case.statistics, sorted(request.classes)
    every = [*candidates, *annotated]
    predicted = np.array([_label(statistics, patch, classes, theta) for patch in every], int)
    energies = np.zeros(len(every), np.float32)
    if statistics.energy is not None:
        energies = _means(energy(statistics), every)
    n, labelled = len(candidates), [content.label(theta) for content in case.labelled] or [-1] * len(annotated)
    return Described(
        predicted=(predicted[:n], predicted[n:]),
        labelled=np.array(labelled, int),
        entropy=_means(predictive_entropy(statistics), candidates),
        energy=(energies[:n], energies[n:]),
    )


def only(ranking: Ranking, kept: np.ndarray) -> Ranking:
    """The ranking of the candidates that are ``kept`` (bool, one for each)."""
    described = ranking.described
    if described is not None:
        described = replace(
            described,
            predicted=(described.predicted[0][kept], described.predicted[1]),
            entropy=described.entropy[kept],
            energy=(described.energy[0][kept], described.energy[1]),
            vectors=described.vectors and (described.vectors[0][kept], described.vectors[1]),
        )
    candidates = tuple(one for one, good in zip(ranking.candidates, kept.tolist(), strict=True) if good)
    return replace(ranking, candidates=candidates, described=described)


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
    return replace(ranking, candidates=tuple(kept), described=cut)


def check_vectors(case: str, described: Described | None) -> None:
    """NnActiveError with the case's name if a descriptor is NaN or infinite."""
    assert described is not None
    assert described.vectors is not None
    if not all(np.isfinite(vectors).all() for vectors in described.vectors):
        raise NnActiveError(
            f"{case}: a descriptor holds NaN or infinite values. Look for a diverged training (NaN loss) or for NaN in "
            "the image."
        )


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
