"""What a query method is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from nnactive_ext.engine.body import Body
from nnactive_ext.geometry.patch import Patch, Triple
from nnactive_ext.randomness import generator


@dataclass(frozen=True)
class Request:
    """What is asked of a method.

    ``n`` patches; ``classes`` maps each foreground class (index of its channel in the probabilities; for region-based
    training 0-based, otherwise the label value) to its name; ``cycle`` is the cycle whose members score (0 for the
    first query); ``queries`` is the number of queries of the planned experiment (cycles - 1). ``labels`` maps each
    foreground value of the reference label maps (not ignore) to its name; None where these are the ``classes``, which
    only region-based training separates. ``cases`` is how many cases the pool has. ``earned``: class -> the part of its equal
    share of a stratified query that it has earned (0 to 1); classes of which nothing is known are missing. It is known when
    cases are merged, and only to methods with an attribute ``needs_earned``.
    """

    n: int
    classes: Mapping[int, str]
    seed: int = 0
    cycle: int = 0
    queries: int = 4
    labels: Mapping[int, str] | None = None
    cases: int = field(default=1, repr=False)  # not in the text by which candidates are stored: most methods ignore it
    earned: Mapping[int, float] = field(default_factory=dict, repr=False)  # nor this: no candidate depends on it

    @property
    def foreground(self) -> Mapping[int, str]:
        """The foreground values of the reference label maps and their names."""
        return self.classes if self.labels is None else self.labels

    def rng(self, purpose: str, case: str = "") -> np.random.Generator:
        return generator(self.seed, self.cycle, purpose, case)


@dataclass(frozen=True)
class Relevance:
    """How much a case belongs to what is looked for: ``score``, the higher the more. ``texts``: id of a relevant text -> the
    score by this text alone; empty without texts."""

    score: float
    texts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolCase:
    """A pool case on its image grid.

    ``shape`` in voxels (z, y, x); ``patch_size`` already clipped to it; ``annotated`` are the patches annotated so
    far; ``load_reference`` gives the reference labels (z, y, x), int, and is only called by methods with
    ``needs_reference``. ``load_body`` gives the body in the image, outside of which no patch is queried; None where the image
    has no air or air is queried, too. ``relevance``: None where nobody asked for it.
    """

    name: str
    shape: Triple
    patch_size: Triple
    annotated: Sequence[Patch] = ()
    load_reference: Callable[[], np.ndarray] | None = None
    load_body: Callable[[], Body | None] | None = None
    relevance: Relevance | None = None


EXPECTED_ENTROPY, ENERGY = "expected_entropy", "energy"
EVERYTHING = frozenset({EXPECTED_ENTROPY, ENERGY})
"""What a method may need of :class:`Statistics` beside the mean, which is always there."""


def needs_of(part: object) -> frozenset[str]:
    """What a method, score, aggregation or choice needs beside the mean: its attribute ``needs``; without one, everything."""
    needs: frozenset[str] = getattr(part, "needs", EVERYTHING)
    return needs


@dataclass(frozen=True)
class Statistics:
    """What the ensemble says about one case, on the network's grid.

    ``mean``: (channels, z, y, x) float32 or float16, the mean over members of the softmax (of the sigmoid where
    ``regions``);
    ``expected_entropy``: (z, y, x) float32, the mean of the members' entropies in nat; None where the method does not need it;
    ``predicted``: the channels that at least one member predicts in at least one voxel;
    ``energy``: (z, y, x) float32, the mean over members of -log sum_c exp(logit_c), for regions of the sum over regions
    of -log(1 + exp(logit)); None where it is not known or not needed.
    """

    mean: np.ndarray
    expected_entropy: np.ndarray | None
    predicted: frozenset[int]
    regions: bool = False
    energy: np.ndarray | None = None

    @cached_property
    def foreground_share(self) -> float:
        """The share of voxels that the mean assigns to a class; for regions, in which any of them is above 1/2."""
        foreground = np.zeros(self.mean.shape[1:], dtype=bool)
        for channel in self.mean if self.regions else self.mean[1:]:
            foreground |= channel > (0.5 if self.regions else self.mean[0])
        return np.count_nonzero(foreground) / foreground.size


@dataclass(frozen=True)
class Content:
    """Voxels of a patch: of each foreground class (regions may overlap), of all ``foreground``, and ``known``: not ignore."""

    voxels: Sequence[int]
    foreground: int
    known: int

    def label(self, least: float = 0.01) -> int:
        """The class of the patch: 0 for background, i + 1 for the i-th foreground class, -1 if none of its voxels is known.

        If at least the share ``least`` of the known voxels is foreground, it is the class with most voxels, the first of equal
        ones.
        """
        if not self.known:
            return -1
        return int(np.argmax(self.voxels)) + 1 if self.foreground and self.foreground >= least * self.known else 0


@dataclass(frozen=True)
class ScoredCase:
    """A pool case on the network's grid; ``patch_size`` is clipped to its shape, ``annotated`` in its voxels. ``open``: bool,
    one per window start, False where a patch is nearly all air and may not be chosen; None: all may. ``labelled``: what
    the labels say of each annotated patch; empty where the method describes no patches. ``floors``: stratum -> a key that so
    many candidates of other cases have that lower ones cannot enter the query; a method may leave these out
    (:attr:`Ranking.left_out`)."""

    name: str
    statistics: Statistics
    patch_size: Triple
    annotated: Sequence[Patch] = ()
    open: np.ndarray | None = None
    labelled: Sequence[Content] = ()
    floors: Mapping[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> Triple:
        z, y, x = self.statistics.mean.shape[1:]
        return z, y, x


@dataclass(frozen=True)
class ScoredPatch:
    """A candidate or a choice: ``score`` is the patch score, ``key`` what it was ranked by, ``stratum`` where it ran.

    ``stratum`` is a class name, or a word for the rest (``"all"``, ``"random"``, ``"foreground"``, ``"border"``).
    """

    patch: Patch
    score: float
    key: float
    stratum: str


FEATURES = ("encoder", "decoder", "gradient", "pretrained", "layers")


@dataclass(frozen=True)
class Description:
    """What the descriptors of patches are made of.

    ``features``: of the first member, pooled over the patch: ``encoder``, the activations of the encoder stage that fits the
    query patch; ``decoder``, the input of the last layer; ``gradient``, the gradient of that layer (BADGE); ``layers``, the
    activations times their gradients in so many ``layers`` (SISOM); ``pretrained``, as ``encoder``, with the weights that all
    members start from. Or ``file:FOLDER``: no member is asked, and FOLDER/CASE.npz holds descriptors.
    """

    features: str
    layers: int = 4

    def __post_init__(self) -> None:
        if self.features not in FEATURES and not self.folder:
            raise ValueError(f"expected features of {', '.join(FEATURES[:-1])} or file:FOLDER, not {self.features!r}")

    @property
    def folder(self) -> str:
        """The folder of ``file:FOLDER``; empty for descriptors by a member."""
        kind, _, folder = self.features.partition(":")
        return folder if kind == "file" else ""


@dataclass(frozen=True)
class Described:
    """What is known of the N candidates of one case and of its M annotated patches, beside where they lie.

    ``vectors``: float32 (N, D) and (M, D), the descriptors of candidates and annotated patches; None before they are made.
    ``sections``: how many of the D belong to each layer. ``labelled``: int (M,), the class of an annotated patch by its labels,
    -1 where all of it is ignore; ``predicted``: int (N,) and (M,), by the members' mean (:meth:`Content.label`). ``entropy``
    (N,) and ``energy`` (N,) and (M,): patch means of the members' predictive entropy and energy, float32. ``dropped``: the
    candidates that were left out because no descriptor in a file is of a box that touches them.
    """

    predicted: tuple[np.ndarray, np.ndarray]
    labelled: np.ndarray
    entropy: np.ndarray
    energy: tuple[np.ndarray, np.ndarray]
    vectors: tuple[np.ndarray, np.ndarray] | None = None
    sections: tuple[int, ...] = ()
    dropped: int = 0


@dataclass(frozen=True)
class Ranking:
    """The candidates of one case, best first within each stratum, and the classes predicted in it. ``described``: what methods
    that compare patches know of them, in their order. ``left_out``: stratum -> the largest key that a candidate which was left
    out may have; without those of which all are there."""

    candidates: Sequence[ScoredPatch]
    predicted: frozenset[int]
    described: Described | None = field(default=None, compare=False)
    left_out: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """The choice: at most ``n`` patches in the order chosen, how many are ``missing``, what to tell the user."""

    patches: tuple[ScoredPatch, ...]
    missing: int = 0
    warnings: tuple[str, ...] = field(default=())


@runtime_checkable
class RankedMethod(Protocol):
    """A method that scores each case on its own (in any order, on any machine) and then merges.

    An attribute ``needs`` (:func:`needs_of`) spares the statistics that the method does not look at.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs_reference(self) -> bool: ...

    def rank(self, case: ScoredCase, request: Request) -> Ranking: ...

    def merge(self, rankings: Mapping[str, Ranking], pool: Mapping[str, PoolCase], request: Request) -> Query:
        """``rankings`` hold patches already mapped to the image grid of ``pool``."""
        ...


@runtime_checkable
class DescribedMethod(RankedMethod, Protocol):
    """A ranked method that compares patches by descriptors: ``describe`` says which; None for one that needs none.

    ``rank`` gives its ranking :class:`Described` without vectors, which are added before ``merge``.
    """

    @property
    def describe(self) -> Description | None: ...


@runtime_checkable
class DrawnMethod(Protocol):
    """A method that needs no members: it draws patches from the pool."""

    @property
    def name(self) -> str: ...

    @property
    def needs_reference(self) -> bool: ...

    def draw(self, pool: Mapping[str, PoolCase], request: Request) -> Query: ...
