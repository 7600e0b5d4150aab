"""How methods that compare patches choose among candidates: each is a value with its options, before a selection of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from nnactive_ext.errors import NnActiveError
from nnactive_ext.selection import (
    Ratios,
    automatic_steepness,
    bank_subset,
    k_center,
    k_means_plus_plus,
    largest,
    probcover,
    searched_steepness,
    sisom_ratios,
    sisome_score,
    typiclust,
    weighted_activations,
)

BANK = 2000
"""More annotated patches than this are thinned out before SISOM compares with them."""


@dataclass(frozen=True)
class Compared:
    """The N candidates of the pool and its M annotated patches, sorted by case and place.

    ``n``: patches in the query. ``candidates`` (N, D) and ``annotated`` (M, D): float32 descriptors, whose dimensions belong to
    layers of ``sections`` dimensions each. ``candidate_class`` (N,) and ``annotated_predicted`` (M,): int, by the members;
    ``annotated_class`` (M,): by the labels, -1 where all are ignore. 0 is the background, and there are ``classes`` others.
    ``entropy`` (N,), ``energy`` (N,), ``annotated_energy`` (M,): patch means.
    """

    n: int
    candidates: np.ndarray
    annotated: np.ndarray
    sections: tuple[int, ...]
    candidate_class: np.ndarray
    annotated_class: np.ndarray
    annotated_predicted: np.ndarray
    classes: int
    entropy: np.ndarray
    energy: np.ndarray
    annotated_energy: np.ndarray


class Choice(Protocol):
    """Chooses candidates; ``features`` is what it works on (empty: any), ``labelled`` whether it compares with annotated
    patches (None: as the user likes). A choice that never looks at energies says so with an attribute ``energy = False``."""

    features: ClassVar[str]
    labelled: ClassVar[bool | None]

    def __call__(self, compared: Compared, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """Indices of ``n`` candidates in the order of choice, the first ones the same for every ``n``; and what each of the N
        candidates was ranked by, None where they have no such number."""
        ...


@dataclass(frozen=True)
class Farthest:
    """k-center greedy, the candidate farthest from everything annotated or chosen (thesis Eq 3.6)"""

    first: Literal["mean", "longest"] = "mean"
    features: ClassVar[str] = ""
    labelled: ClassVar[bool | None] = None
    energy: ClassVar[bool] = False

    def __call__(self, compared: Compared, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        return k_center(compared.candidates, compared.annotated, n, rng, first=self.first), None


@dataclass(frozen=True)
class PlusPlus:
    """k-means++, drawn with probability proportional to the squared distance to the nearest choice (thesis Eq 3.7)"""

    features: ClassVar[str] = ""
    labelled: ClassVar[bool | None] = False
    energy: ClassVar[bool] = False

    def __call__(self, compared: Compared, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        return k_means_plus_plus(compared.candidates, n, rng), None


@dataclass(frozen=True)
class Typical:
    """the most typical candidates of the clusters in which least is annotated"""

    clusters: int = 500
    features: ClassVar[str] = ""
    labelled: ClassVar[bool | None] = None
    energy: ClassVar[bool] = False

    def __call__(self, compared: Compared, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        clusters = min(self.clusters, len(compared.annotated) + compared.n)
        return typiclust(compared.candidates, compared.annotated, n, rng, clusters=clusters), None


@dataclass(frozen=True)
class Covering:
    """maximum coverage by balls around what is chosen"""

    delta: float | Literal["auto"] = "auto"
    purity: float = 0.95
    theta: float = 0.01
    features: ClassVar[str] = ""
    labelled: ClassVar[bool | None] = None
    energy: ClassVar[bool] = False

    def __call__(self, compared: Compared, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        known = compared.annotated_class
        order = probcover(
            compared.candidates,
            compared.annotated,
            n,
            rng,
            candidate_class=compared.candidate_class,
            annotated_class=np.where(known >= 0, known, compared.annotated_predicted),
            classes=compared.classes,
            delta=self.delta,
            purity=self.purity,
        )
        return order, None


@dataclass(frozen=True)
class Ratio:
    """SISOM, and SISOMe with ``energy``: compares with annotated patches by activations times gradients of several layers."""

    energy: bool = False
    origin: Literal["query", "neighbour"] = "query"
    theta: float = 0.01
    steepness: Literal["auto", "search"] | tuple[float, ...] = "auto"
    layers: int = 4
    features: ClassVar[str] = "layers"
    labelled: ClassVar[bool | None] = True

    @property
    def words(self) -> str:
        ratio = "largest ratio of the distances to the nearest annotated patch of the same and of another class (SISOM Eq 2-13)"
        return f"{ratio}, with the energy, by how far apart annotated classes are (Eq 11)" if self.energy else ratio

    def __call__(self, compared: Compared, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        known = np.flatnonzero(compared.annotated_class >= 0)
        own = compared.annotated_class[known]
        candidates, bank = (
            _layers(compared.candidates, compared.sections),
            _layers(compared.annotated[known], compared.sections),
        )
        if len(known) > BANK:
            vectors = weighted_activations(bank, automatic_steepness(bank))
            kept = bank_subset(vectors, own, BANK, compared.classes, rng)
            known, own, bank = known[kept], own[kept], [layer[kept] for layer in bank]
        steepness = self._steepness(bank, own)
        z = weighted_activations(candidates, steepness), weighted_activations(bank, steepness)
        ratios = sisom_ratios(*z, compared.candidate_class, own, origin=self.origin)
        score = self._score(ratios, compared, known)
        return largest(score, ratios, compared.entropy, n), score

    def _steepness(self, bank: Sequence[np.ndarray], own: np.ndarray) -> Sequence[float]:
        if self.steepness == "auto":
            return automatic_steepness(bank)
        if self.steepness == "search":
            return searched_steepness(bank, own, origin=self.origin)
        if len(self.steepness) != len(bank):
            given = ",".join(f"{value:g}" for value in self.steepness)
            raise NnActiveError(
                f"steepness={given} has {len(self.steepness)} numbers, and the members have {len(bank)} layers to compare. "
                "Give one number for each layer, or steepness=auto."
            )
        return [float(value) for value in self.steepness]

    def _score(self, ratios: Ratios, compared: Compared, known: np.ndarray) -> np.ndarray:
        if not self.energy or not len(known):
            return ratios.r
        return sisome_score(ratios, compared.energy, compared.annotated_energy[known])


def _layers(vectors: np.ndarray, sections: Sequence[int]) -> list[np.ndarray]:
    return np.split(vectors, np.cumsum(sections)[:-1].astype(int), axis=1)
