"""From measurements of images to scores, robust z, conformal p and flags."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnactive_ext.geometry.windows import MOST
from nnactive_ext.ood import (
    TooFew,
    geometry_scores,
    histogram_distances,
    histogram_scores,
    judge,
    mahalanobis_squared,
    window_scores,
)
from nnactive_ext.ood.flags import FEWEST, LIMIT
from nnactive_ext.screening import names
from nnactive_ext.screening.images import Image
from nnactive_ext.screening.measuring import Measured
from nnactive_ext.screening.ratios import ratio_scores
from nnactive_ext.selection import sisom_ood

FEW = 10
"""Cases of the reference below which people are warned of false flags: of phantoms compared with about seven, 15 of 60."""


@dataclass(frozen=True)
class Options:
    """``scores``: names, in the order of columns; None: those that there are of :data:`names.DEFAULT`. ``limit``: robust z
    above which a case is flagged. ``windows``: of an image, at most. ``worst``: a case's score is that of its strangest window
    instead of their mean. ``aggregation``: of voxel maps. ``everything``: the whole pool is the reference."""

    scores: Sequence[str] | None = None
    limit: float = LIMIT
    windows: int = MOST
    worst: bool = False
    aggregation: str = "mean"
    everything: bool = False


@dataclass(frozen=True)
class Judged:
    """One score of all images: ``values``, robust ``z`` and conformal ``p`` float64 (N,), NaN where unknown; ``flagged`` bool
    (N,)."""

    name: str
    values: np.ndarray
    z: np.ndarray
    p: np.ndarray
    flagged: np.ndarray


@dataclass(frozen=True)
class Screening:
    """What was found.

    ``title``: of the experiment or model. ``measured``: all images, those of the reference too; ``images``: how each is read,
    None where it is not at hand; ``shown`` bool (N,): those that are screened; ``reference`` bool (N,). ``compared``: the
    reference in words. ``notes``: what people should know, such as scores that could not be computed. ``facts``: how it was
    made, for the JSON file. ``new``: images that are not the pool's. ``relevant``: cases that people called so.
    """

    title: str
    measured: Sequence[Measured]
    images: Sequence[Image | None]
    shown: np.ndarray
    reference: np.ndarray
    scores: Sequence[Judged]
    compared: str
    options: Options
    notes: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    new: bool = False
    relevant: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with new images that could not be screened, by name."""

    def strangest(self, case: int) -> float:
        """The largest z of a case; -inf if none is known."""
        return max((float(one.z[case]) for one in self.scores if not math.isnan(one.z[case])), default=-math.inf)

    @property
    def order(self) -> list[int]:
        """The images that are shown, the strangest first."""
        return sorted(np.flatnonzero(self.shown).tolist(), key=lambda i: (-self.strangest(i), self.measured[i].name))

    @property
    def flagged(self) -> list[int]:
        """The images that are flagged, the strangest first; a case that people called relevant is flagged no more."""
        return [case for case in self.order if self.by(case) and self.measured[case].name not in self.relevant]

    def by(self, case: int) -> list[Judged]:
        """The scores that flagged an image, that with the largest z first."""
        found = [one for one in self.scores if one.flagged[case]]
        return sorted(found, key=lambda one: -one.z[case])

    def nearest(self, case: int) -> int | None:
        """The image of the reference, not flagged if there is one, that is most like a case: by its content where that
        flagged it, else by its intensities, else by its lengths."""
        others = self.reference.copy()
        others[case] = False
        calm = others & ~np.array([bool(self.by(i)) for i in range(len(self.measured))])
        chosen = np.flatnonzero(calm if calm.any() else others)
        if not len(chosen):
            return None
        by_content = any(one.name in names.WINDOWS for one in self.by(case)[:1])
        return int(chosen[np.argmin(_distances(self.measured, case, chosen, by_content))])


def beside(one: Judged) -> dict[str, np.ndarray]:
    """What is reported beside a score and judges nothing, by name, float64 (N,): r_OOD (Eq 9) of SISOM's ratios."""
    return {"r_ood": sisom_ood(one.values)} if one.name == names.SISOM else {}


def judged(
    measured: Sequence[Measured], reference: np.ndarray, scores: Sequence[str], options: Options
) -> tuple[list[Judged], list[str]]:
    """Judge images by scores.

    Args:
        measured: all images, N of them.
        reference: bool (N,), those with which each is compared; one of them is compared with the others.
        scores: names.
        options: see :class:`Options`.

    Returns:
        The scores that could be computed, and a sentence for each one that could not.
    """
    found, notes = [], []
    for name in scores:
        try:
            values = _values(name, measured, reference, options)
        except TooFew as error:
            notes.append(f"{name} is not computed: {error}")
            continue
        if np.isnan(values).all():
            notes.append(f"{name} is not computed: the reference has too few cases.")
            continue
        result = judge(values, reference, options.limit)
        z = values if name == names.GEOMETRY else result.z
        with np.errstate(invalid="ignore"):
            found.append(Judged(name, values, z, result.p, z > options.limit))
    if reference.sum() < FEWEST:
        notes.append(f"The reference has {int(reference.sum())} cases; nothing is flagged with fewer than {FEWEST}.")
    elif reference.sum() < FEW:
        notes.append(
            f"The reference has only {int(reference.sum())} cases. With fewer than {FEW}, expect false flags: of phantoms that "
            "were compared with about seven, every fourth was flagged. Screen again when more cases are annotated or called "
            "relevant."
        )
    return found, notes


def _values(name: str, measured: Sequence[Measured], reference: np.ndarray, options: Options) -> np.ndarray:
    if name == names.GEOMETRY:
        spacing, extent = (np.array([getattr(one, part) for one in measured]) for part in ("spacing", "extent"))
        return geometry_scores(spacing, extent, np.array([one.channels for one in measured]), reference)
    if name == names.HISTOGRAM:
        return _where([one.quantiles for one in measured], reference, lambda q, r: histogram_scores(np.stack(q), r))
    if name in names.WINDOWS:
        distance = mahalanobis_squared if name == names.MAHALANOBIS else None
        worst = options.worst
        return _where([one.windows for one in measured], reference, lambda w, r: window_scores(w, r, distance, worst))
    if name in names.RATIOS:
        known = np.array([one.layered is not None for one in measured])
        found = np.full(len(measured), np.nan)
        if known.any():
            layered = [one.layered for one in measured if one.layered is not None]
            found[known] = ratio_scores(layered, reference[known], name == names.SISOME)
        return found
    return np.array([one.values.get(name, math.nan) for one in measured])


def _where(parts: Sequence[np.ndarray | None], reference: np.ndarray, score: Any) -> np.ndarray:
    """The scores of images of which the part is known and finite; NaN for others."""
    known = np.array([part is not None and bool(np.isfinite(part).all()) for part in parts])
    found = np.full(len(parts), np.nan)
    if known.any():
        found[known] = score([part for part, there in zip(parts, known, strict=True) if there], reference[known])
    return found


def _distances(measured: Sequence[Measured], case: int, chosen: np.ndarray, by_content: bool) -> np.ndarray:
    own, others = measured[case], [measured[i] for i in chosen]
    if by_content and own.windows is not None:
        centres = [one.windows.mean(0) if one.windows is not None else np.full(own.windows.shape[1], np.inf) for one in others]
        return np.asarray(np.linalg.norm(np.stack(centres) - own.windows.mean(0), axis=1))
    quantiles = [one.quantiles for one in others]
    if own.quantiles is not None and all(q is not None for q in quantiles):
        distances = histogram_distances(own.quantiles[None], np.stack([q for q in quantiles if q is not None]))[0]
        if np.isfinite(distances).any():
            return np.asarray(np.nan_to_num(distances, nan=np.inf))
    lengths = np.log([[*one.spacing, *one.extent] for one in (own, *others)])
    return np.asarray(np.abs(lengths[1:] - lengths[0]).sum(1))
